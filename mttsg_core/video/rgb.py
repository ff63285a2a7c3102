"""Conversion of decoded frames to upright, opaque RGB pictures of one size and of standard dynamic range."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from mttsg_core.video.resize import Scaling
from mttsg_core.video.rotation import Orientation
from mttsg_core.video.tone_mapping import is_hdr, tone_map

RGB = npt.NDArray[np.uint8]

# FFmpeg's numbers of YUV matrices. swscale raises an error for those it does not support.
_OTHER_MATRICES = {1, 4, 7, 9}  # BT.709, FCC, SMPTE 240M, BT.2020
_DEFAULT_MATRICES = {2, 5, 6}  # unspecified, and both variants of BT.601
_BT709, _BT2020 = 1, 9


class RGBConverter:
    """Converter of the frames of one video to upright RGB pictures of one size.

    Colour matrix and range are those that the frame declares, else swscale's default (BT.601, limited range). Frames of
    high dynamic range are tone-mapped, transparent ones are laid on black.

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
        opaque = on_black(frame) if has_transparency(frame.format.name) else frame
        if is_hdr(transfer := transfer_of(frame)):
            deep = self._reformatter.reformat(
                opaque, width, height, "rgb48le", interpolation=self._filter, **_hdr_arguments(opaque)
            )
            picture = tone_map(deep.to_ndarray(), transfer, _primaries_of(frame))
            return orientation.apply(picture)
        rgb = self._reformatter.reformat(
            opaque, width, height, "rgb24", interpolation=self._filter, **_colour_arguments(opaque)
        )
        return orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))


def standard_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame as an excerpt shows it: opaque, and of standard dynamic range.

    An ordinary frame is returned as it is, with its orientation. One of high dynamic range, or of a pixel format with
    transparency, becomes an upright frame with the same timestamp, in 8-bit YUV of Rec. 709 that is marked as such.

    Raises:
        av.error.FFmpegError: if swscale does not support the pixel format or colour space.
    """
    if not is_hdr(transfer_of(frame)) and not has_transparency(frame.format.name):
        return frame
    size = (frame.width, frame.height)
    picture = RGBConverter(size[::-1] if frame.rotation % 180 else size, "bilinear")(frame)
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    standard = rgb.reformat(
        format="yuv444p",
        src_colorspace=int(Colorspace.ITU601),
        dst_colorspace=int(Colorspace.ITU709),
        src_color_range=int(ColorRange.JPEG),
        dst_color_range=int(ColorRange.MPEG),
    )
    standard.colorspace, standard.color_range = _BT709, ColorRange.MPEG
    if hasattr(standard, "color_trc"):
        standard.color_trc = standard.color_primaries = _BT709
    standard.pts = frame.pts
    if frame.time_base is not None:
        standard.time_base = frame.time_base
    return standard


def transfer_of(frame: av.VideoFrame) -> int:
    """Return FFmpeg's number of the transfer characteristic; 2, unspecified, with PyAV before 17, which hides it."""
    return int(getattr(frame, "color_trc", 2))


def _primaries_of(frame: av.VideoFrame) -> int | None:
    return getattr(frame, "color_primaries", None)


@lru_cache(maxsize=64)
def has_transparency(pixel_format: str) -> bool:
    """Return whether pixels of a format, by FFmpeg's name, may be transparent.

    >>> has_transparency("yuva420p"), has_transparency("yuv420p"), has_transparency("pal8")
    (True, False, True)
    """
    return pixel_format == "pal8" or any(part.is_alpha for part in av.VideoFormat(pixel_format).components)


def on_black(frame: av.VideoFrame) -> av.VideoFrame:
    """Lay a frame with transparency on black; a frame without transparent pixels is returned as it is.

    Raises:
        av.error.FFmpegError: if swscale does not support the pixel format or colour space.
    """
    deep = is_hdr(transfer_of(frame))
    arguments = _hdr_arguments(frame) if deep else _colour_arguments(frame)
    pixels = frame.reformat(format="rgba64le" if deep else "rgba", **arguments).to_ndarray()  # (H, W, 4)
    highest = 65535 if deep else 255
    alpha = pixels[..., 3:]
    if alpha.min() == highest:
        return frame
    colours: npt.NDArray[Any] = pixels[..., :3] * (alpha.astype(np.float32) / highest) + np.float32(0.5)
    colours = colours.astype(pixels.dtype)
    return av.VideoFrame.from_ndarray(colours, format="rgb48le" if deep else "rgb24")


def _hdr_arguments(frame: av.VideoFrame) -> dict[str, int]:
    """Return the arguments of `reformat` for high dynamic range: the matrix is that of Rec. 2020 unless declared."""
    if frame.format.is_rgb:
        return {}
    matrix = frame.colorspace if frame.colorspace in _OTHER_MATRICES else _BT2020
    full_range = frame.color_range == ColorRange.JPEG
    return _matrix_arguments(matrix, full_range=full_range)


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
    return _matrix_arguments(matrix, full_range=full_range)


def _matrix_arguments(matrix: int, *, full_range: bool) -> dict[str, int]:
    return {
        "src_colorspace": int(matrix),
        "dst_colorspace": int(Colorspace.ITU601),
        "src_color_range": int(ColorRange.JPEG if full_range else ColorRange.MPEG),
    }
