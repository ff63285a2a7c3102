"""Where a network runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mttsg_core.errors import ConfigError

_ALL_THREADS = torch.get_num_threads()  # before anything here changed it
_CPU_THREADS = 2  # more seldom help matrices as small as this network's, and hurt where other programs run


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: if the device is unknown or not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError(f"device {name!r} is not there")
    return device


def limit_threads(device: torch.device) -> None:
    """Let torch use few threads on the CPU, for the whole process, unless OMP_NUM_THREADS says how many."""
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(_CPU_THREADS, torch.get_num_threads()))


def half_precision(device: torch.device) -> torch.dtype:
    """The type of 16 bits that a GPU computes in: bfloat16, unless it only imitates that."""
    real = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if real else torch.float16


@contextmanager
def all_threads() -> Iterator[None]:
    """Undo `limit_threads` for a while: the matrices of a pretrained model are large."""
    before = torch.get_num_threads()
    torch.set_num_threads(_ALL_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
