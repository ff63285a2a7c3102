"""How exactly a pretrained encoder computes: in single or half precision, and of which frames.

Features count as the same, and their fingerprint does not tell them apart: in bfloat16, or taken from a frame that
hardly differs, all that were measured had a cosine above 0.998 with those of single precision (docs/benchmarks.md).
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt
import torch

from mttsg_core.encoders.base import Precision
from mttsg_core.errors import ConfigError
from mttsg_core.utils.devices import half_precision

_BLOCK = 8  # pixels per side of the blocks that are compared
_SMALL_CHANGE = 8.0  # of the mean of a block, of 255; below, the cosine of DINOv2's features was 0.9987 or more


def parse_precision(name: str) -> Precision:
    """Return the precision of a name. Raises ConfigError if there is none.

    >>> parse_precision("bfloat16")
    'bfloat16'
    """
    for precision in get_args(Precision):
        if precision == name:
            known: Precision = precision
            return known
    raise ConfigError(f"unknown precision {name!r}; available: {', '.join(get_args(Precision))}")


def half_type(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type to compute in, or None for single precision.

    `auto` is half precision where the device computes in it natively: on CUDA, and on CPUs with bfloat16 instructions
    (AVX512-BF16, AMX). Elsewhere bfloat16 is emulated and slower.

    >>> half_type("bfloat16", torch.device("cpu"))
    torch.bfloat16
    """
    if precision == "auto":
        if device.type == "cuda":
            return half_precision(device)
        return torch.bfloat16 if device.type == "cpu" and _cpu_has_bfloat16() else None
    return torch.bfloat16 if precision == "bfloat16" else None


def stand_ins(frames: npt.NDArray[np.uint8], *, exact: bool) -> npt.NDArray[np.int64]:
    """Return for each of B consecutive clips the one whose features it takes: itself, or one before that looks alike.

    If `exact`, only equal frames look alike. Otherwise the mean of no block of 8 x 8 pixels, in no colour, may
    differ by more than 8 of 255, so that a change is noticed in however small a part of the picture it is. A clip is
    compared with the one whose features it would take, so that slow changes do not add up.

    >>> frames = np.zeros((4, 1, 16, 16, 3), dtype=np.uint8)
    >>> frames[2] += 5
    >>> frames[3] += 10
    >>> stand_ins(frames, exact=False).tolist(), stand_ins(frames, exact=True).tolist()
    ([0, 0, 0, 3], [0, 0, 2, 3])

    Args:
        frames: (B, F, H, W, 3) RGB.
        exact: whether frames that differ at all look different.
    """
    pictures = frames if exact else _block_means(frames)
    chosen = np.arange(len(frames))
    for clip in range(1, len(frames)):
        source = chosen[clip - 1]
        if exact:
            alike = np.array_equal(pictures[clip], pictures[source])
        else:
            alike = bool(np.abs(pictures[clip] - pictures[source]).max() <= _SMALL_CHANGE)
        if alike:
            chosen[clip] = source
    return chosen


def _block_means(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the means of blocks (B, F, rows, columns, 3) of frames (B, F, H, W, 3); the last ones may be smaller."""
    height, width = frames.shape[2:4]
    starts = [np.arange(0, side, _BLOCK) for side in (height, width)]
    sums = np.add.reduceat(frames, starts[0], axis=2, dtype=np.uint16)  # at most 8 x 8 x 255, which 16 bits hold
    sums = np.add.reduceat(sums, starts[1], axis=3, dtype=np.uint16)  # (B, F, rows, columns, 3)
    rows, columns = (np.diff(np.append(start, side)) for start, side in zip(starts, (height, width), strict=True))
    pixels = (rows[:, None, None] * columns[:, None]).astype(np.float32)  # (rows, columns, 1)
    return np.divide(sums, pixels, dtype=np.float32)


def _cpu_has_bfloat16() -> bool:
    tell = getattr(torch.cpu, "get_capabilities", None)  # which earlier releases of torch lack
    capabilities = {} if tell is None else tell()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
