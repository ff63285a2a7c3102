"""Resizing and cropping: the arithmetic that brings frames of any shape to one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mttsg_core.errors import ConfigError

Scaling = Literal["bilinear", "bicubic", "lanczos"]
_MAX_ASPECT = 16  # a longer frame is squeezed to this aspect ratio; scaling it in full could take gigabytes


@dataclass(frozen=True)
class FrameTransform:
    """A resize, optionally followed by a centre crop.

        >>> transform = FrameTransform((224, 224), shorter_side=256)
        >>> transform.resized_size(640, 360)
        (455, 256)
        >>> transform.center_crop(455, 256)
        (slice(16, 240, None), slice(115, 339, None))
        >>> FrameTransform((112, 112)).resized_size(640, 360)
        (112, 112)

    Attributes:
        size: width and height of the result.
        shorter_side: length to which the shorter side is scaled, keeping the aspect ratio, before the centre crop; None
            stretches the frame to `size` instead.
        scaling: the filter, applied over all source pixels that a target pixel covers. Only the PyAV reader honours it.

    Raises:
        ConfigError: if a length is below 1, the filter is unknown, or the crop is larger than the resized frame.
    """

    size: tuple[int, int]
    shorter_side: int | None = None
    scaling: Scaling = "bilinear"

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ConfigError(f"frame width and height must be at least 1, not {self.size}")
        if self.shorter_side is not None and self.shorter_side < max(self.size):
            raise ConfigError(f"a shorter side of {self.shorter_side} pixels is too short for a crop of {self.size}")
        if self.scaling not in get_args(Scaling):
            raise ConfigError(f"unknown scaling {self.scaling!r}; available: {', '.join(get_args(Scaling))}")

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height to which a frame of the given size is resized, before the crop."""
        if self.shorter_side is None:
            return self.size
        longer_side = self.shorter_side * min(max(width, height) / min(width, height), _MAX_ASPECT)
        # Truncated, not rounded, as Hugging Face's image processors do.
        return (self.shorter_side, int(longer_side)) if width <= height else (int(longer_side), self.shorter_side)

    def center_crop(self, width: int, height: int) -> tuple[slice, slice]:
        """Return the rows and columns to keep of a resized frame."""
        left, top = (width - self.size[0]) // 2, (height - self.size[1]) // 2
        return slice(top, top + self.size[1]), slice(left, left + self.size[0])
