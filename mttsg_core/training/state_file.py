"""The files that hold the state of a training: the newest one, and the one before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mttsg_core.checkpoints.runs import PREVIOUS, STATE
from mttsg_core.errors import ModelError
from mttsg_core.utils.atomic import write_atomically

_NOTES, _DIGEST = "mttsg", "digest"  # in the metadata of the file


class SavedState(NamedTuple):
    """What a state file holds.

    Attributes:
        path: of the file.
        tensors: by name.
        notes: plain values.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any]


def write_state(folder: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write the state of the training in a folder, in one step. The state before is kept beside it.

    Args:
        folder: of the model.
        tensors: by name, on any device.
        notes: plain values.

    Raises:
        OSError: if it cannot be written.
    """
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    text = json.dumps(notes)
    metadata = {_NOTES: text, _DIGEST: _digest(copies, text)}

    def write(part: Path) -> None:
        save_file(copies, part, metadata)
        if _is_complete(folder / STATE):
            _keep_as(folder / PREVIOUS, folder / STATE)

    write_atomically(folder / STATE, write, durable=True)


def read_state(folder: Path) -> SavedState:
    """Read the state of the training in a folder: the newest, or the one before if that is damaged.

    Raises:
        ModelError: if there is none, or both are damaged.
    """
    paths = [folder / name for name in (STATE, PREVIOUS) if (folder / name).is_file()]
    first: ModelError | None = None
    for path in paths:
        try:
            return _read(path)
        except ModelError as error:
            first = first or error
    raise first or ModelError(f"{folder}: nothing to resume (no {STATE} in it)")


def _read(path: Path) -> SavedState:
    """Read a state file.

    Raises:
        ModelError: if its content is not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copied: the tensors of the file are mapped to it, and would change with it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        text = metadata[_NOTES]
        notes = json.loads(text)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: damaged ({error})") from error
    # Versions before 0.1 wrote no digest.
    if _DIGEST in metadata and metadata[_DIGEST] != _digest(tensors, text):
        raise ModelError(f"{path}: damaged (its content is not what was written)")
    if not isinstance(notes, dict):
        raise ModelError(f"{path}: damaged (no settings)")
    return SavedState(path, tensors, notes)


def _digest(tensors: Mapping[str, Tensor], notes: str) -> str:
    """Return a digest of all names, types, shapes and values."""
    digest = hashlib.sha256(notes.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def _is_complete(path: Path) -> bool:
    """Return whether a file is a state, complete to its last byte, without reading it."""
    try:
        with safe_open(path, framework="pt") as file:
            return _NOTES in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _keep_as(previous: Path, state: Path) -> None:
    """Keep a state under a second name, so that a stop before the new one is in place leaves it under both."""
    previous.unlink(missing_ok=True)
    try:
        previous.hardlink_to(state)
    except OSError:  # this disk has no hard links
        state.replace(previous)
