"""The weights of a model folder: compared with the network by the header of their file, then read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from mttsg_core.checkpoints.migration import present_weight_names
from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.mktn import MKTN, build_network_shape
from mttsg_core.utils.text import shorten

_FLOATS = ("F32", "F64", "F16", "BF16")  # as the header of a file calls them; computed with in single precision
_INTEGERS = ("I64",)


def load_network(path: Path, config: NetworkConfig, *, upgrade: bool = False) -> MKTN:
    """Build the network of a config, with the weights of a file.

    The network is built without memory for its weights and compared with the header of the file, before any weights are
    read: no config asks for more memory than the file has bytes.

    Args:
        path: a safetensors file.
        config: of the network.
        upgrade: whether the weights have the names of format 5.

    Raises:
        ValueError: if the weights are not those of the network, or not finite; the message says which.
        SafetensorError, OSError: if the file is damaged or cannot be read.
        RuntimeError, TypeError, OverflowError: if the network has sizes beyond any memory.
    """
    network = build_network_shape(config)
    expected = network.state_dict()
    with safe_open(path, framework="pt") as file:
        stored = list(file.keys())
        stored_names = present_weight_names(stored) if upgrade else {name: name for name in stored}
        _check_names(expected, stored_names)
        for name, tensor in expected.items():
            header = file.get_slice(stored_names[name])
            _check_type(name, tensor, tuple(header.get_shape()), header.get_dtype())
        # Copied: the tensors of the file are mapped to it, and would change with it.
        weights = {
            name: file.get_tensor(stored_names[name]).to(tensor.dtype, copy=True) for name, tensor in expected.items()
        }
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not _is_finite(tensor):
            raise ValueError(f"the weights {name} are not finite")
    network.load_state_dict(weights, assign=True)
    return network


def _check_names(expected: Mapping[str, Tensor], given: Mapping[str, str]) -> None:
    """Raise ValueError if the weights do not have the names of the network's."""
    for name in expected:
        if name not in given:
            raise ValueError(f"the weights {name} are missing")
    for name in given:
        if name not in expected:
            raise ValueError(f"the network has no weights {shorten(name)}")


def _check_type(name: str, expected: Tensor, shape: tuple[int, ...], kind: str) -> None:
    """Raise ValueError if weights of a file have another shape or type than the network's."""
    if shape != tuple(expected.shape):
        raise ValueError(f"the weights {name} have shape {shape} instead of {tuple(expected.shape)}")
    if kind not in (_FLOATS if expected.is_floating_point() else _INTEGERS):
        wanted = "floating-point numbers" if expected.is_floating_point() else "whole numbers"
        raise ValueError(f"the weights {name} are {kind} instead of {wanted}")


def _is_finite(tensor: Tensor) -> bool:
    """Tell whether all numbers are finite. The extremes of a tensor are several times as fast as a look at each."""
    if not tensor.numel():
        return True
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
