"""The decord back end: selectable, never chosen by `auto`.

decord 0.6 carries FFmpeg 4.1, of 2018. Read in order from the first frame, as here, it has shown no wrong frame where
its time stamps are right, but it is slower than PyAV (benchmarks/video_reading.py), and by tests/test_video_decord.py

- it cannot open AV1, nor anything else that its FFmpeg lacks;
- it counts time from the first frame, so that a late first frame and most transport streams, AVI and FLV are off;
- it counts frames that an edit list cuts off (`ffmpeg -ss ... -c copy`) and those before the first whole group;
- it repeats neighbours in place of damaged frames, or gives up at the first;
- it takes the video stream with the highest bit rate, not the first default one.

So its time stamps are compared with the probe's before anything is read, and a frame that it had to repair is an error:
a file that it reads wrongly is refused with the advice to use pyav.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from mttsg_core.errors import ConfigError, VideoError
from mttsg_core.moments import FloatArray
from mttsg_core.video.probe import VideoInfo
from mttsg_core.video.resize import Scaling
from mttsg_core.video.rgb import RGB

_NO_REPAIR = 1e-9  # share of frames that decord may replace by neighbours before it raises; 0 would mean any


def read_frames(
    info: VideoInfo, wanted: FloatArray, size: tuple[int, int], scaling: Scaling, threads: int | None
) -> Iterator[tuple[float, RGB]]:
    """The frames at the times `wanted`, as (time, picture (H, W, 3)), read in order from the first.

    Args:
        info: of the video.
        wanted: (N,) seconds, ascending, each one of `info.frame_times`.
        size: width and height of the pictures.
        scaling: not looked at; decord has one of its own.
        threads: of the decoder; None leaves it to decord.

    Raises:
        ConfigError: decord is not installed.
        VideoError: decord cannot read this file, or reads it wrongly.
    """
    decord = _import_decord()
    failures = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError, StopIteration)
    rows = set(np.searchsorted(info.frame_times, wanted).tolist())
    try:
        # The size is set from the start: a reader that is opened without one keeps whole frames and grows by gigabytes.
        reader = decord.VideoReader(
            str(info.path.absolute()),
            ctx=decord.cpu(0),
            width=size[0],
            height=size[1],
            num_threads=threads or 0,
            fault_tol=_NO_REPAIR,
        )
        times = np.asarray(reader.get_frame_timestamp(range(len(reader))), dtype=np.float64)[:, 0]
    except failures as error:
        raise VideoError(info.path, "decord cannot open it; use reader pyav") from error
    if not _agree(times, info.frame_times):
        raise VideoError(info.path, "decord gives its frames other times than the file has; use reader pyav")
    for row in range(max(rows, default=-1) + 1):
        try:
            picture = _to_array(reader.next())
        except failures as error:
            raise VideoError(info.path, "decord fails in the middle of it; use reader pyav") from error
        if row in rows:
            yield float(info.frame_times[row]), picture


def _import_decord() -> Any:
    loaded = "decord" in sys.modules
    try:
        import decord
    except (ImportError, OSError) as error:  # OSError: its library does not load
        raise ConfigError("reader decord is not installed here; use reader auto or pyav") from error
    if not loaded:  # else the log level is the business of the program around us
        decord.logging.set_level(decord.logging.QUIET)
    return decord


def _agree(times: FloatArray, expected: FloatArray) -> bool:
    """Whether decord dates each frame nearer to its true time than half the shortest frame."""
    if len(times) != len(expected):
        return False
    shortest = float(np.diff(expected).min()) if len(expected) > 1 else 1e-3
    return bool((np.abs(times - expected) < shortest / 2).all())


def _to_array(frame: Any) -> RGB:
    """A frame from decord's own array type, or whatever its bridge was set to by the program around us."""
    return np.asarray(frame.asnumpy() if hasattr(frame, "asnumpy") else frame, dtype=np.uint8)
