"""Conversion of decoded frames to upright RGB pictures of one size."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from mttsg_core.video.resize import Scaling
from mttsg_core.video.rotation import Orientation

RGB = npt.NDArray[np.uint8]

# FFmpeg's numbers of YUV matrices. swscale raises an error for those it does not support.
_OTHER_MATRICES = {1, 4, 7, 9}  # BT.709, FCC, SMPTE 240M, BT.2020
_DEFAULT_MATRICES = {2, 5, 6}  # unspecified, and both variants of BT.601


class RGBConverter:
    """Converter of the frames of one video to upright RGB pictures of one size.

    Colour matrix and range are those that the frame declares, else swscale's default (BT.601, limited range).

    Args:
        size: width and height of the pictures.
        scaling: the filter, applied over all source pixels that a target pixel covers.
    """

    def __init__(self, size: tuple[int, int], scaling: Scaling) -> None:
        self._size = size
        self._filter = Interpolation[scaling.upper()]
        self._reformatter = VideoReformatter()  # keeps swscale's tables from frame to frame
        self._orientations: dict[int, Orientation] = {}  # by rotation angle

    def __call__(self, frame: av.VideoFrame) -> RGB:
        """Return the frame as a picture (height, width, 3).

        Raises:
            av.error.FFmpegError: if swscale does not support the pixel format or colour space.
        """
        # Read once per angle: PyAV ties a frame and its side data into a reference cycle, which keeps the whole frame
        # in memory until Python's garbage collector happens to run.
        if frame.rotation not in self._orientations:
            self._orientations[frame.rotation] = Orientation.from_frame(frame)
        orientation = self._orientations[frame.rotation]
        width, height = self._size[::-1] if orientation.transpose else self._size
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=self._filter, **_colour_arguments(frame)
        )
        return orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))


def _colour_arguments(frame: av.VideoFrame) -> dict[str, int]:
    """Return the arguments of `reformat` that describe the frame's YUV; none for swscale's default.

    PyAV before 17 ignores what the frame itself declares, and reads these arguments only if source and target differ.
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
