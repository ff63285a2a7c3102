"""The decord back end: available by name, never chosen by `auto`.

decord 0.6 bundles FFmpeg 4.1, from 2018. Read in order from the first frame, as here, it has shown no wrong frame where
its timestamps are right, but it is slower than PyAV (benchmarks/video_reading.py) and has these faults
(tests/video/test_decord.py):

- it cannot open AV1, nor anything else that its FFmpeg lacks;
- it counts time from the first frame, so a late first frame and most transport streams, AVI and FLV are off;
- it counts frames that an edit list cuts off (`ffmpeg -ss ... -c copy`) and those before the first complete group;
- it repeats neighbouring frames in place of damaged ones, or gives up at the first;
- it takes the video stream with the highest bit rate, not the default one;
- it shows high dynamic range in wrong colours, and transparent pixels in the colour behind them.

So its timestamps are compared with those of `probe` before any frame is read, and a frame that it had to replace is an
error: a file that decord reads wrongly is refused, with the advice to use pyav.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from mttsg_core.errors import ConfigError, VideoError
from mttsg_core.moments import FloatArray
from mttsg_core.video.container import open_video
from mttsg_core.video.probe import VideoInfo
from mttsg_core.video.resize import Scaling
from mttsg_core.video.rgb import RGB
from mttsg_core.video.tone_mapping import is_hdr

_NO_REPAIR = 1e-9  # share of frames that decord may replace by neighbours before it raises; 0 would mean any share


def read_frames(
    info: VideoInfo, wanted: FloatArray, size: tuple[int, int], scaling: Scaling, threads: int | None
) -> Iterator[tuple[float, RGB]]:
    """Yield the frames at the times `wanted` as (time, picture (H, W, 3)), reading in order from the first frame.

    Args:
        info: the probed video.
        wanted: (N,) seconds, ascending, each one of `info.frame_times`.
        size: width and height of the pictures.
        scaling: ignored; decord has a filter of its own.
        threads: decoder threads; None leaves the number to decord.

    Raises:
        ConfigError: if decord is not installed.
        VideoError: if decord cannot read this file, or reads it wrongly.
    """
    decord = _import_decord()
    failures = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError, StopIteration)
    with open_video(info.path) as (_, stream):
        if is_hdr(stream.codec_context.color_trc):
            raise VideoError(info.path, "high dynamic range, which decord does not convert; use reader pyav")
    wanted_rows = set(np.searchsorted(info.frame_times, wanted).tolist())
    try:
        # The size is set from the start: a reader opened without one keeps full-size frames and grows by gigabytes.
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
        raise VideoError(info.path, "decord reads wrong frame times from it; use reader pyav")
    for row in range(max(wanted_rows, default=-1) + 1):
        try:
            picture = _to_array(reader.next())
        except failures as error:
            raise VideoError(info.path, "decord failed partway through it; use reader pyav") from error
        if row in wanted_rows:
            yield float(info.frame_times[row]), picture


def _import_decord() -> Any:
    already_imported = "decord" in sys.modules
    try:
        import decord
    except (ImportError, OSError) as error:  # OSError: its shared library cannot be loaded
        raise ConfigError("reader decord is not installed; use reader auto or pyav") from error
    if not already_imported:  # else its log level is up to the program that imported it
        decord.logging.set_level(decord.logging.QUIET)
    return decord


def _agree(times: FloatArray, expected: FloatArray) -> bool:
    """Return whether each of decord's times is within half the shortest frame interval of the true time.

    >>> _agree(np.array([0.0, 0.04, 0.08]), np.array([0.0, 0.041, 0.08]))
    True
    >>> _agree(np.array([0.0, 0.04, 0.08]), np.array([1.2, 1.24, 1.28]))
    False
    """
    if len(times) != len(expected):
        return False
    shortest = float(np.diff(expected).min()) if len(expected) > 1 else 1e-3
    return bool((np.abs(times - expected) < shortest / 2).all())


def _to_array(frame: Any) -> RGB:
    """Convert a frame from decord's own array type, or from that of the bridge the calling program has set."""
    return np.asarray(frame.asnumpy() if hasattr(frame, "asnumpy") else frame, dtype=np.uint8)
