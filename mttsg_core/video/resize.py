"""How pictures of any shape become pictures of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mttsg_core.errors import ConfigError

Scaling = Literal["bilinear", "bicubic", "lanczos"]
_LONGEST_SHAPE = 16  # a picture of a stranger shape is squeezed to this one, or its scaling could ask for gigabytes


@dataclass(frozen=True)
class Framing:
    """How pictures of any shape become pictures of one size.

    Attributes:
        size: width and height of the result.
        shorter_side: length to which the shorter side is scaled, keeping the shape, before the middle is cut out; None
            stretches the picture.
        scaling: the filter, over all source pixels that a target pixel covers. Only the PyAV reader has a choice.

    Raises:
        ConfigError: if a length is below 1, the filter is unknown, or the middle is larger than the whole.
    """

    size: tuple[int, int]
    shorter_side: int | None = None
    scaling: Scaling = "bilinear"

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ConfigError(f"a picture's width and height must be at least 1, not {self.size}")
        if self.shorter_side is not None and self.shorter_side < max(self.size):
            raise ConfigError(f"a shorter side of {self.shorter_side} pixels is too short to cut out {self.size}")
        if self.scaling not in get_args(Scaling):
            raise ConfigError(f"unknown scaling {self.scaling!r}; there are {', '.join(get_args(Scaling))}")

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which a picture of that size is scaled, before its middle is cut out."""
        if self.shorter_side is None:
            return self.size
        longer = self.shorter_side * min(max(width, height) / min(width, height), _LONGEST_SHAPE)
        # A fraction of a pixel is dropped, as image processors do.
        return (self.shorter_side, int(longer)) if width <= height else (int(longer), self.shorter_side)

    def middle(self, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of a scaled picture that are kept."""
        left, top = (width - self.size[0]) // 2, (height - self.size[1]) // 2
        return slice(top, top + self.size[1]), slice(left, left + self.size[0])
