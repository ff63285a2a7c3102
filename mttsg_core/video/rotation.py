"""Display orientation: the rotation and mirroring that phones store beside a video, and its size when shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

_MAX_PIXEL_ASPECT = 16  # a more extreme pixel aspect ratio is damage, and could ask for a gigantic picture


@dataclass(frozen=True)
class Orientation:
    """The steps that bring a stored frame upright: first transpose it, then mirror it.

    A quarter turn anticlockwise is a transpose followed by a vertical flip:

        >>> stored = np.array([[1, 2], [3, 4]], dtype=np.uint8)[..., None]  # (H, W, 1)
        >>> Orientation(transpose=True, flip_vertical=True).apply(stored)[..., 0]
        array([[2, 4],
               [1, 3]], dtype=uint8)

    Attributes:
        transpose: exchange rows and columns.
        flip_horizontal: mirror left and right.
        flip_vertical: mirror top and bottom.
    """

    transpose: bool = False
    flip_horizontal: bool = False
    flip_vertical: bool = False

    @classmethod
    def from_frame(cls, frame: av.VideoFrame) -> Orientation:
        """Read a frame's display matrix, rounded to quarter turns; a frame without one is upright."""
        data = cast("Mapping[str, Any]", frame.side_data).get("DISPLAYMATRIX")
        if data is None:
            return cls()
        # x' = a x + c y, y' = b x + d y, as 16.16 fixed-point numbers in the machine's byte order.
        a, b, _, c, d = np.frombuffer(memoryview(data), dtype=np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, flip_horizontal=c < 0, flip_vertical=b < 0)
        return cls(flip_horizontal=a < 0, flip_vertical=d < 0)

    def apply(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return an upright view of a stored picture (H, W, 3)."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.flip_vertical else 1, :: -1 if self.flip_horizontal else 1]


def display_size(width: int, height: int, pixel_aspect: Fraction, orientation: Orientation) -> tuple[int, int]:
    """Return the width and height at which a stored frame is shown: pixels made square, then upright.

    >>> display_size(1440, 1080, Fraction(4, 3), Orientation())
    (1920, 1080)
    >>> display_size(1920, 1080, Fraction(1), Orientation(transpose=True, flip_vertical=True))
    (1080, 1920)
    """
    if 1 / _MAX_PIXEL_ASPECT <= pixel_aspect <= _MAX_PIXEL_ASPECT:
        width = max(1, round(width * pixel_aspect))
    return (height, width) if orientation.transpose else (width, height)
