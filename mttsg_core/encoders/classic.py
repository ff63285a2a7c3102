"""The built-in video encoder: colour, oriented gradients and motion on a grid of regions. Nothing to download.

Colour is a soft histogram over hue and grey level, shape a histogram of oriented gradients (Dalal & Triggs, CVPR
2005), motion the least-squares flow of each region between the two frames of a clip (Lucas & Kanade, IJCAI 1981).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mttsg_core.encoders.base import Array, ClipFeatures, Settings
from mttsg_core.video.framing import Framing

_GRID = 7  # regions a side
_CELL = 16  # pixels a side of a region
_HUES = 12
_GREYS = 3
_ORIENTATIONS = 12
_BLOCK = 64  # clips encoded at a time: bounds the memory of the intermediate images


class ClassicEncoder:
    """Clips of two frames to (49 regions x 34) values and a clip vector of their mean, largest value and spread."""

    id: ClassVar[str] = "classic"
    framing: ClassVar[Framing] = Framing((_GRID * _CELL, _GRID * _CELL))
    frames_per_clip: ClassVar[int] = 2
    clips_at_once: ClassVar[int] = 32
    in_every_worker: ClassVar[bool] = True

    @property
    def settings(self) -> Settings:
        """Id and version; the version is raised whenever the same frames would give other values."""
        return {"encoder": self.id, "version": 1}

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        """See `Encoder.encode`. Frames are (B, 2, 112, 112, 3); clips (B, 102), regions (B, 49, 34)."""
        blocks = [frames[i : i + _BLOCK] for i in range(0, len(frames), _BLOCK)]
        regions = np.concatenate([_regions(block) for block in blocks])
        clips = np.concatenate([regions.mean(axis=1), regions.max(axis=1), regions.std(axis=1)], axis=-1)
        return ClipFeatures(clips.astype(np.float32), regions)


def _regions(frames: npt.NDArray[np.uint8]) -> Array:
    """(B, 2, H, W, 3) to (B, R, D)."""
    rgb = frames.astype(np.float32) / 255.0
    grey = _blur(rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32))  # (B, 2, H, W)
    down = np.gradient(grey, axis=2)
    right = np.gradient(grey, axis=3)
    parts = [
        _colour(rgb).mean(axis=1),
        _oriented_gradients(down, right).mean(axis=1),
        _motion(grey, down.mean(axis=1), right.mean(axis=1)),
        _pool(grey).mean(axis=1)[..., None],
        np.sqrt(_pool(np.square(grey - grey.mean(axis=(2, 3), keepdims=True)))).mean(axis=1)[..., None],
        np.abs(_pool(grey[:, 1]) - _pool(grey[:, 0]))[..., None],
    ]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def _colour(rgb: Array) -> Array:
    """Soft histogram of hue (weighted by chroma) and of grey level (by its absence): (B, F, R, hues + greys)."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    high: Array = np.maximum(np.maximum(red, green), blue)  # 30 times as fast as rgb.max(axis=-1)
    low: Array = np.minimum(np.minimum(red, green), blue)
    chroma = high - low
    safe = np.maximum(chroma, 1e-6)
    hue = np.where(
        high == red,
        (green - blue) / safe % 6.0,
        np.where(high == green, (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    hues = _soft_histogram(hue / 6.0 * _HUES, chroma, _HUES, circular=True)
    greys = _soft_histogram(high * (_GREYS - 1), 1.0 - chroma, _GREYS, circular=False)
    return np.sqrt(np.concatenate([hues, greys], axis=-1))


def _oriented_gradients(down: Array, right: Array) -> Array:
    """Histogram of gradient orientation (sign ignored), weighted by strength: (B, F, R, orientations)."""
    strength = np.hypot(down, right)
    angle = (np.arctan2(down, right) / np.pi % 1.0).astype(np.float32)
    histogram = _soft_histogram(angle * _ORIENTATIONS, strength, _ORIENTATIONS, circular=True)
    return np.sqrt(histogram)


def _motion(grey: Array, down: Array, right: Array) -> Array:
    """Flow between the two frames by least squares in each region, and the mean change: (B, R, 4)."""
    change = grey[:, 1] - grey[:, 0]  # (B, H, W)
    xx, yy, xy = _pool(right * right), _pool(down * down), _pool(right * down)
    xt, yt = _pool(right * change), _pool(down * change)
    xx, yy = xx + 1e-4, yy + 1e-4  # a flat region does not move
    determinant = xx * yy - xy * xy
    flow_x = (xy * yt - yy * xt) / determinant
    flow_y = (xy * xt - xx * yt) / determinant
    amount = _pool(np.abs(change))
    return np.stack([np.tanh(flow_x / 4), np.tanh(flow_y / 4), np.sqrt(amount), np.sqrt(xx + yy)], axis=-1)


def _soft_histogram(position: Array, weight: Array, bins: int, *, circular: bool) -> Array:
    """Mean weight that falls on each bin in each region, shared between the two nearest bins.

    Args:
        position: (B, F, H, W) in bins: bin k is centred on k.
        weight: (B, F, H, W).

    Returns:
        (B, F, R, bins).
    """
    lower = np.floor(position)
    share = position - lower
    first = lower.astype(np.int64)
    second = first + 1
    first, second = (
        (first % bins, second % bins) if circular else (np.minimum(first, bins - 1), np.minimum(second, bins - 1))
    )
    *lead, height, width = position.shape
    region = (np.arange(height)[:, None] // _CELL) * _GRID + np.arange(width)[None, :] // _CELL  # (H, W)
    image = np.arange(int(np.prod(lead))).reshape(*lead, 1, 1)
    base = (image * _GRID * _GRID + region) * bins
    size = int(np.prod(lead)) * _GRID * _GRID * bins
    total = np.bincount((base + first).ravel(), (weight * (1 - share)).ravel(), size)
    total += np.bincount((base + second).ravel(), (weight * share).ravel(), size)
    return (total / _CELL**2).astype(np.float32).reshape(*lead, _GRID * _GRID, bins)


def _pool(image: Array) -> Array:
    """Mean over each region: (..., H, W) to (..., R)."""
    *lead, _, _ = image.shape
    return image.reshape(*lead, _GRID, _CELL, _GRID, _CELL).mean(axis=(-3, -1)).reshape(*lead, _GRID * _GRID)


def _blur(image: Array) -> Array:
    """Binomial 3 x 3 blur of (..., H, W), edges repeated: gradients of noise are no shape."""
    for axis in (-2, -1):
        pad = [(0, 0)] * image.ndim
        pad[axis] = (1, 1)
        padded = np.pad(image, pad, mode="edge")
        n = image.shape[axis]
        take = [padded.take(range(i, i + n), axis=axis) for i in range(3)]
        image = ((take[0] + 2 * take[1] + take[2]) / 4).astype(np.float32)
    return image
