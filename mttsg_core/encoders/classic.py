"""The built-in video encoder: colour, oriented gradients and motion on a grid of regions. Nothing to download.

Colour is a soft histogram over hue and grey level, shape a histogram of oriented gradients (Dalal & Triggs, CVPR
2005), motion the least-squares flow of each region between the two frames of a clip (Lucas & Kanade, IJCAI 1981).

The histograms need no angles: they are means of differences, smaller values and absolute values of whole images. Clips
are encoded one by one, so that these images stay in the processor's cache.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mttsg_core.encoders.base import Array, ClipFeatures, Settings
from mttsg_core.video.resize import Framing

_GRID = 7  # regions a side
_CELL = 16  # pixels a side of a region
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green and blue (ITU-R BT.601)
_ORIENTATIONS = 12
_STEP = np.pi / _ORIENTATIONS  # radians between two directions
_SINES, _COSINES = (wave(_STEP * np.arange(_ORIENTATIONS)).astype(np.float32) for wave in (np.sin, np.cos))
_BEFORE, _AFTER = (np.roll(np.arange(_ORIENTATIONS), by) for by in (1, -1))  # the neighbours of each direction


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
        return {"encoder": self.id, "version": 2}

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        """See `Encoder.encode`. Frames are (B, 2, 112, 112, 3); clips (B, 102), regions (B, 49, 34)."""
        regions = np.stack([_regions(clip) for clip in frames])
        clips = np.concatenate([regions.mean(axis=1), regions.max(axis=1), regions.std(axis=1)], axis=-1)
        return ClipFeatures(clips, regions)


def _regions(frames: npt.NDArray[np.uint8]) -> Array:
    """(2, H, W, 3) to (R, D)."""
    red, green, blue = np.ascontiguousarray(np.moveaxis(frames, -1, 0), dtype=np.float32) / np.float32(255)
    blurred = _blur(_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)  # (2, H, W)
    down, right = (_by_region(np.gradient(blurred, axis=axis)) for axis in (1, 2))  # (2, R, P)
    grey = _by_region(blurred)
    level = _mean(grey)  # (2, R)
    contrast = grey - level.mean(axis=1)[:, None, None]
    colours = [_by_region(colour) for colour in (red, green, blue)]
    parts = [
        np.sqrt(_hues(*colours)).mean(axis=0),
        np.sqrt(_greys(*colours)).mean(axis=0),
        np.sqrt(_orientations(down, right)).mean(axis=0),
        _motion(grey[1] - grey[0], (down[0] + down[1]) / 2, (right[0] + right[1]) / 2),
        level.mean(axis=0)[:, None],
        np.sqrt(_mean(contrast, contrast)).mean(axis=0)[:, None],
        np.abs(level[1] - level[0])[:, None],
    ]
    return np.concatenate(parts, axis=-1, dtype=np.float32)


def _hues(red: Array, green: Array, blue: Array) -> Array:
    """Soft histogram of hue, weighted by chroma: (2, R, P) each to (2, R, 12), red, orange, yellow and so on.

    On the hexagon of HSV a colour's chroma is shared between the two hues beside it in proportion to nearness.
    """
    zero = np.zeros_like(red)
    hues = []
    for one, two, three in ((red, green, blue), (green, blue, red), (blue, red, green)):
        first, second, both = one - two, two - three, one - three
        hues += [
            _mean(np.maximum(np.minimum(first, both) - np.abs(second), zero)),  # `one`
            2 * _mean(np.maximum(np.minimum(first, second), zero)),  # `one` with half of `two`
            _mean(np.maximum(np.minimum(both, second) - np.abs(first), zero)),  # `one` and `two`
            2 * _mean(np.maximum(np.minimum(-first, both), zero)),  # `two` with half of `one`
        ]
    return np.stack(hues, axis=-1)


def _greys(red: Array, green: Array, blue: Array) -> Array:
    """Soft histogram of black, grey and white, weighted by the absence of chroma: (2, R, P) each to (2, R, 3)."""
    high = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    colourless = 1 - (high - low)
    place = 2 * high - 1  # -1 is black, 0 grey, 1 white
    distance = np.abs(place)
    shares = ((distance - place) / 2, 1 - distance, (distance + place) / 2)
    return np.stack([_mean(colourless, share) for share in shares], axis=-1)


def _orientations(down: Array, right: Array) -> Array:
    """Soft histogram of gradient orientation (sign ignored), weighted by strength: (2, R, P) each to (2, R, 12).

    A gradient is shared between the two directions beside it, about in proportion to nearness. Across direction k its
    length is r |sin(angle - k step)|, and the second difference of that over k is zero but for these two.
    """
    lengths = [_mean(np.abs(cosine * down - sine * right)) for sine, cosine in zip(_SINES, _COSINES, strict=True)]
    across = np.stack(lengths, axis=-1).astype(np.float64)  # (2, R, 12)
    kinks = across[..., _BEFORE] + across[..., _AFTER] - 2 * np.cos(_STEP) * across
    scale = _STEP / (4 - 4 * np.cos(_STEP))  # all shares add up to the strength, on average
    shares: Array = (np.maximum(kinks, 0) * scale).astype(np.float32)
    return shares


def _motion(change: Array, down: Array, right: Array) -> Array:
    """Flow between the two frames by least squares in each region, and the mean change: (R, P) each to (R, 4)."""
    xx, yy, xy = _mean(right, right), _mean(down, down), _mean(right, down)
    xt, yt = _mean(right, change), _mean(down, change)
    xx, yy = xx + 1e-4, yy + 1e-4  # a flat region does not move
    determinant = xx * yy - xy * xy
    flow_x = (xy * yt - yy * xt) / determinant
    flow_y = (xy * xt - xx * yt) / determinant
    amount = _mean(np.abs(change))
    return np.stack([np.tanh(flow_x / 4), np.tanh(flow_y / 4), np.sqrt(amount), np.sqrt(xx + yy)], axis=-1)


def _by_region(image: Array) -> Array:
    """(2, H, W) to (2, R, P), the pixels of each region side by side."""
    cells = image.reshape(-1, _GRID, _CELL, _GRID, _CELL).swapaxes(2, 3)
    return cells.reshape(-1, _GRID * _GRID, _CELL * _CELL)


def _mean(*factors: Array) -> Array:
    """Mean over the pixels of each region of an image, or of the product of two: (..., P) to (...)."""
    mean: Array = np.einsum(",".join(["...p"] * len(factors)) + "->...", *factors) / np.float32(_CELL**2)
    return mean


def _blur(image: Array) -> Array:
    """Binomial 3 x 3 blur of (2, H, W), edges repeated: gradients of noise are no shape."""
    for axis in (1, 2):
        lines = np.moveaxis(image, axis, 0)
        blurred = 2 * lines
        blurred[1:] += lines[:-1]
        blurred[:-1] += lines[1:]
        blurred[0] += lines[0]
        blurred[-1] += lines[-1]
        image = np.moveaxis(blurred, 0, axis)
    return image / np.float32(16)
