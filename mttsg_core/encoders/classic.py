"""The built-in video encoder: colour, oriented gradients and motion on a grid of regions. Nothing to download.

Colour is a soft histogram over hue and grey level; shape is a histogram of oriented gradients (Dalal & Triggs, CVPR
2005); motion is the least-squares flow of each region between the two frames of a clip (Lucas & Kanade, IJCAI 1981).

The histograms need no angles: they are means of differences, minima and absolute values of whole images. Clips are
encoded one by one, so that these images stay in the processor's cache.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mttsg_core.encoders.base import Array, ClipFeatures, Settings
from mttsg_core.video.resize import FrameTransform

_GRID = 7  # regions per side
_CELL = 16  # pixels per side of a region
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green and blue (ITU-R BT.601)
_ORIENTATIONS = 12
_STEP = np.pi / _ORIENTATIONS  # radians between neighbouring orientations
_SINES, _COSINES = (wave(_STEP * np.arange(_ORIENTATIONS)).astype(np.float32) for wave in (np.sin, np.cos))
_PREVIOUS, _NEXT = (np.roll(np.arange(_ORIENTATIONS), by) for by in (1, -1))  # the neighbours of each orientation


class ClassicEncoder:
    """An encoder of two frames per clip: 49 regions of 34 values each, and their mean, maximum and spread per clip.

    >>> features = ClassicEncoder().encode(np.zeros((3, 2, 112, 112, 3), dtype=np.uint8))
    >>> features.clips.shape, features.regions.shape
    ((3, 102), (3, 49, 34))
    """

    id: ClassVar[str] = "classic"
    frame_transform: ClassVar[FrameTransform] = FrameTransform((_GRID * _CELL, _GRID * _CELL))
    frames_per_clip: ClassVar[int] = 2
    clip_batch_size: ClassVar[int] = 32
    runs_in_workers: ClassVar[bool] = True

    @property
    def settings(self) -> Settings:
        """Id and version; the version increases whenever the same frames would give other values."""
        return {"encoder": self.id, "version": 2}

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        """Encode frames (B, 2, 112, 112, 3) into clips (B, 102) and regions (B, 49, 34). See `Encoder.encode`."""
        regions = np.stack([_encode_regions(clip) for clip in frames])  # (B, 49, 34)
        clips = np.concatenate([regions.mean(axis=1), regions.max(axis=1), regions.std(axis=1)], axis=-1)
        return ClipFeatures(clips, regions)


def _encode_regions(frames: npt.NDArray[np.uint8]) -> Array:
    """Encode the frames (2, H, W, 3) of one clip into (R, D)."""
    red, green, blue = np.ascontiguousarray(np.moveaxis(frames, -1, 0), dtype=np.float32) / np.float32(255)
    blurred = _blur(_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)  # (2, H, W)
    down, right = (_by_region(np.gradient(blurred, axis=axis)) for axis in (1, 2))  # (2, R, P)
    grey = _by_region(blurred)  # (2, R, P)
    level = _mean(grey)  # (2, R)
    contrast = grey - level.mean(axis=1)[:, None, None]
    colours = [_by_region(colour) for colour in (red, green, blue)]
    parts = [
        np.sqrt(_hue_histogram(*colours)).mean(axis=0),
        np.sqrt(_grey_histogram(*colours)).mean(axis=0),
        np.sqrt(_orientation_histogram(down, right)).mean(axis=0),
        _motion(grey[1] - grey[0], (down[0] + down[1]) / 2, (right[0] + right[1]) / 2),
        level.mean(axis=0)[:, None],
        np.sqrt(_mean(contrast, contrast)).mean(axis=0)[:, None],
        np.abs(level[1] - level[0])[:, None],
    ]
    return np.concatenate(parts, axis=-1, dtype=np.float32)


def _hue_histogram(red: Array, green: Array, blue: Array) -> Array:
    """Return a soft histogram of hue, weighted by chroma: (2, R, P) each to (2, R, 12), from red over orange on.

    On the HSV hexagon, a colour's chroma is shared between the two nearest hues in proportion to nearness.
    """
    zero = np.zeros_like(red)
    hues = []
    for first, second, third in ((red, green, blue), (green, blue, red), (blue, red, green)):
        first_second, second_third, first_third = first - second, second - third, first - third
        hues += [
            _mean(np.maximum(np.minimum(first_second, first_third) - np.abs(second_third), zero)),  # `first`
            2 * _mean(np.maximum(np.minimum(first_second, second_third), zero)),  # `first` and half of `second`
            _mean(np.maximum(np.minimum(first_third, second_third) - np.abs(first_second), zero)),  # equal parts
            2 * _mean(np.maximum(np.minimum(-first_second, first_third), zero)),  # `second` and half of `first`
        ]
    return np.stack(hues, axis=-1)


def _grey_histogram(red: Array, green: Array, blue: Array) -> Array:
    """Return a soft histogram of black, grey and white, weighted by lack of chroma: (2, R, P) each to (2, R, 3)."""
    high = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    colourless = 1 - (high - low)
    value = 2 * high - 1  # -1 is black, 0 grey, 1 white
    magnitude = np.abs(value)
    shares = ((magnitude - value) / 2, 1 - magnitude, (magnitude + value) / 2)
    return np.stack([_mean(colourless, share) for share in shares], axis=-1)


def _orientation_histogram(down: Array, right: Array) -> Array:
    """Return a soft histogram of unsigned gradient orientation, weighted by strength: (2, R, P) each to (2, R, 12).

    A gradient is shared between the two nearest orientations, about in proportion to nearness. Across orientation k its
    length is r |sin(angle - k step)|, and the second difference of that over k vanishes except at those two.
    """
    lengths = [_mean(np.abs(cosine * down - sine * right)) for sine, cosine in zip(_SINES, _COSINES, strict=True)]
    across = np.stack(lengths, axis=-1).astype(np.float64)  # (2, R, 12)
    kinks = across[..., _PREVIOUS] + across[..., _NEXT] - 2 * np.cos(_STEP) * across
    scale = _STEP / (4 - 4 * np.cos(_STEP))  # the shares add up to the strength, on average
    shares: Array = (np.maximum(kinks, 0) * scale).astype(np.float32)
    return shares


def _motion(change: Array, down: Array, right: Array) -> Array:
    """Return the least-squares flow of each region and the strength of change and gradient: (R, P) each to (R, 4)."""
    xx, yy, xy = _mean(right, right), _mean(down, down), _mean(right, down)
    xt, yt = _mean(right, change), _mean(down, change)
    xx, yy = xx + 1e-4, yy + 1e-4  # keeps the flow of a uniform region at zero
    determinant = xx * yy - xy * xy
    flow_x = (xy * yt - yy * xt) / determinant
    flow_y = (xy * xt - xx * yt) / determinant
    mean_change = _mean(np.abs(change))
    return np.stack([np.tanh(flow_x / 4), np.tanh(flow_y / 4), np.sqrt(mean_change), np.sqrt(xx + yy)], axis=-1)


def _by_region(image: Array) -> Array:
    """Group the pixels of each region: (2, H, W) to (2, R, P)."""
    cells = image.reshape(-1, _GRID, _CELL, _GRID, _CELL).swapaxes(2, 3)
    return cells.reshape(-1, _GRID * _GRID, _CELL * _CELL)


def _mean(*factors: Array) -> Array:
    """Average an image, or the product of two, over the pixels of each region: (..., P) to (...)."""
    mean: Array = np.einsum(",".join(["...p"] * len(factors)) + "->...", *factors) / np.float32(_CELL**2)
    return mean


def _blur(image: Array) -> Array:
    """Blur (2, H, W) with a 3 x 3 binomial filter, edges repeated, so that noise makes no gradients."""
    for axis in (1, 2):
        lines = np.moveaxis(image, axis, 0)
        blurred = 2 * lines
        blurred[1:] += lines[:-1]
        blurred[:-1] += lines[1:]
        blurred[0] += lines[0]
        blurred[-1] += lines[-1]
        image = np.moveaxis(blurred, 0, axis)
    return image / np.float32(16)
