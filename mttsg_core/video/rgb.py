"""Decoded frames to upright RGB pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from mttsg_core.video.resize import Scaling

RGB = npt.NDArray[np.uint8]

# FFmpeg's numbers of YUV matrices. Of those that swscale does not know it says so.
_OTHER_MATRICES = {1, 4, 7, 9}  # BT.709, FCC, SMPTE 240M, BT.2020
_DEFAULT_MATRICES = {2, 5, 6}  # not said, and both variants of BT.601
_WIDEST_PIXEL = 16  # a stranger pixel aspect is damage, and could ask for a gigantic picture


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is brought upright: rows and columns exchanged first, then mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """From the frame's display matrix, to the nearest quarter turn; upright without one."""
        data = cast("Mapping[str, Any]", frame.side_data).get("DISPLAYMATRIX")
        if data is None:
            return cls()
        # x' = a x + c y, y' = b x + d y, as 16.16 fixed point numbers in the machine's byte order.
        a, b, _, c, d = np.frombuffer(memoryview(data), dtype=np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
        return cls(mirror_x=a < 0, mirror_y=d < 0)

    def apply(self, picture: RGB) -> RGB:
        """An upright view of a stored picture (H, W, 3)."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


def display_size(width: int, height: int, aspect: Fraction, orientation: Orientation) -> tuple[int, int]:
    """Width and height of a stored picture when shown: pixels made square by width, then upright."""
    if 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
        width = max(1, round(width * aspect))
    return (height, width) if orientation.transpose else (width, height)


def _colour_marks(frame: av.VideoFrame) -> dict[str, int]:
    """How the frame's YUV is to be read, in arguments of `reformat`; none for swscale's default.

    PyAV before 17 does not look at the frame's own marks, and looks at the arguments only if source and target differ.
    """
    full_range = frame.color_range == ColorRange.JPEG
    if frame.colorspace in _OTHER_MATRICES:
        matrix = frame.colorspace
    elif full_range and frame.colorspace in _DEFAULT_MATRICES:
        matrix = Colorspace.ITU601
    else:
        return {}
    return {
        "src_colorspace": int(matrix),
        "dst_colorspace": int(Colorspace.ITU601),
        "src_color_range": int(ColorRange.JPEG if full_range else ColorRange.MPEG),
    }


class PictureMaker:
    """Turns frames of one video into upright pictures of one size.

    The colour matrix and range are those that the frame is marked with, else swscale's default (BT.601, limited range).

    Args:
        size: width and height of the result.
        scaling: the filter, over all source pixels that a target pixel covers.
    """

    def __init__(self, size: tuple[int, int], scaling: Scaling) -> None:
        self._size = size
        self._filter = Interpolation[scaling.upper()]
        self._reformatter = VideoReformatter()  # keeps swscale's tables from frame to frame
        self._orientations: dict[int, Orientation] = {}

    def __call__(self, frame: av.VideoFrame) -> RGB:
        """The picture, (height, width, 3) RGB.

        Raises:
            av.error.FFmpegError: swscale does not know the pixel format or colour space.
        """
        # Looked up once for each angle: PyAV ties a frame and its side data into a cycle, which keeps a whole picture
        # in memory until Python's garbage collector happens to run.
        if frame.rotation not in self._orientations:
            self._orientations[frame.rotation] = Orientation.of(frame)
        orientation = self._orientations[frame.rotation]
        width, height = self._size[::-1] if orientation.transpose else self._size
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=self._filter, **_colour_marks(frame)
        )
        return orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))
