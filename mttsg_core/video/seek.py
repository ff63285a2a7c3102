"""One picture of a video, from the keyframe before it; `stills` is exact, and reads the file from its beginning."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error

from mttsg_core.errors import CorruptVideoError
from mttsg_core.video.container import open_video, time_base_of
from mttsg_core.video.rgb import RGB, RGBConverter
from mttsg_core.video.rotation import Orientation, display_size


def read_still(path: Path, seconds: float, height: int) -> RGB:
    """Return the picture (H, W, 3) on screen at a time; past the end, the last one.

    The time is that of the file's own stamps from their start on: where a clock restarts, or an edit list leaves out
    frames, it is another one than that of `sampling`, which reads the whole file for it.

    Args:
        path: the video.
        seconds: the time.
        height: of the picture, in pixels; its width follows.

    Raises:
        CorruptVideoError: if no frame can be decoded there.
        VideoError: if the video cannot be read.
    """
    with open_video(path) as (container, stream):
        base = time_base_of(stream)
        first = stream.start_time or 0
        wanted = first + round(max(0.0, seconds) / base)
        stream.codec_context.thread_type = "AUTO"
        for position in (wanted, first):  # a seek beyond the last keyframe of a damaged file finds nothing
            try:
                container.seek(position, stream=stream)
                shown = _last_until(container.decode(stream), wanted)
            except av.error.FFmpegError as error:
                raise CorruptVideoError(path, f"no picture at {seconds:.1f} s ({error.strerror})") from error
            if shown is not None:
                return _picture(shown, stream.sample_aspect_ratio or Fraction(1), height)
    raise CorruptVideoError(path, f"no picture at {seconds:.1f} s")


def _last_until(frames: Iterator[av.VideoFrame], stamp: int) -> av.VideoFrame | None:
    """Return the last frame that is not later than a stamp, else the first one."""
    shown = None
    for frame in frames:
        if shown is not None and frame.pts is not None and frame.pts > stamp:
            break
        shown = frame
    return shown


def _picture(frame: av.VideoFrame, aspect: Fraction, height: int) -> RGB:
    shown = display_size(frame.width, frame.height, aspect, Orientation.from_frame(frame))
    return RGBConverter((max(2, round(shown[0] / shown[1] * height)), height), "bilinear")(frame)
