"""Choice of the device that a network runs on, and of the CPU threads that it uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mttsg_core.errors import ConfigError
from mttsg_core.utils.launch import Launch

_ALL_THREADS = torch.get_num_threads()  # before `limit_threads` changes it
_CPU_THREADS = 2  # more rarely help with matrices as small as this network's, and slow other programs down

_KEPT_BLOCK = (32 << 20) - (64 << 10)  # bytes, just below the largest limit of glibc


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name.

    Args:
        name: `cpu`, `cuda`, `cuda:N` or `mps`; `auto` is CUDA if available, else MPS, else the CPU.

    Raises:
        ConfigError: if the device is unknown or not available.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise ConfigError(f"device {name!r} is not available")
    return device


def device_of_rank(name: str, launch: Launch | None) -> torch.device:
    """Return the device of one of several processes: on GPUs each has its own, by its number on its machine.

    Raises:
        ConfigError: as `choose_device`, and if there are not as many GPUs as processes, or one of them is named.
    """
    device = choose_device(name)
    if launch is None or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ConfigError(f"--device {device.type}: several processes train on CUDA or on the CPU (--device cpu)")
    if ":" in name:
        raise ConfigError(f"--device {name}: each process takes a GPU of its own; use --device cuda")
    if launch.local_world > torch.cuda.device_count():
        raise ConfigError(f"{torch.cuda.device_count()} GPUs for {launch.local_world} processes of this machine")
    device = torch.device("cuda", launch.local_rank)
    torch.cuda.set_device(device)
    return device


def limit_threads(device: torch.device) -> None:
    """Limit torch to a few CPU threads, for the whole process, unless the environment sets OMP_NUM_THREADS."""
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(_CPU_THREADS, torch.get_num_threads()))


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for the next ones, in place of asking for it anew every time.

    Memory that is new to a process costs about as much time as the arithmetic on a tensor of this network. Freeing one
    block raises the limits: blocks up to its size then come from memory that was freed, of which twice its size is kept
    (M_MMAP_THRESHOLD in mallopt(3)). The block itself is never touched; elsewhere this does nothing.
    """
    torch.empty(_KEPT_BLOCK, dtype=torch.uint8)


def half_precision(device: torch.device) -> torch.dtype:
    """Return the 16-bit type to compute in: bfloat16 if the GPU supports it natively, else float16."""
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device; a GPU takes it from page-locked memory, while the CPU goes on."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def at_once(limit: int, device: torch.device) -> int:
    """Return how many entries to compute at once, of which at most `limit` fit in a processor's cache; on a GPU all."""
    return max(1, limit) if device.type == "cpu" else sys.maxsize


@contextmanager
def deterministic_algorithms(device: torch.device, *, required: bool) -> Iterator[None]:
    """Let a GPU compute the same bits for the same input within a `with` block, if that is required.

    A CPU does so anyway. An operation that has no such algorithm raises RuntimeError.
    """
    if not required or device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def all_threads() -> Iterator[None]:
    """Lift the limit of `limit_threads` within a `with` block, for the large matrices of pretrained models."""
    before = torch.get_num_threads()
    torch.set_num_threads(_ALL_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
