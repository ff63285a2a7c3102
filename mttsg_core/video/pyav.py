"""The PyAV back end: one sequential pass over the file with FFmpeg's own frame threads."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Set
from contextlib import ExitStack, closing
from itertools import chain

import av
import av.error

from mttsg_core.errors import UnsupportedVideoError
from mttsg_core.moments import FloatArray
from mttsg_core.video.alpha import decoder_of
from mttsg_core.video.container import open_video, read_packets
from mttsg_core.video.probe import VideoInfo
from mttsg_core.video.resize import Scaling
from mttsg_core.video.rgb import RGB, RGBConverter
from mttsg_core.video.timeline import FrameDater
from mttsg_core.video.watchdog import Decode, StalledError, WatchedDecoder

_MAY_STALL = {"hevc"}  # codecs whose decoder needs a watchdog
_SMALL_FRAME = 400 * 300  # pixels; below this, frame threads wait for each other more than they work
# Codecs whose non-reference frames may be skipped when they are not wanted. In HEVC the flag does not cover all
# references, so such frames may still be needed.
_SKIPS_NON_REFERENCES = {"h264"}

_log = logging.getLogger("mttsg")


def read_frames(
    info: VideoInfo, wanted: FloatArray, size: tuple[int, int], scaling: Scaling, threads: int | None
) -> Iterator[tuple[float, RGB]]:
    """Yield the frames at the times `wanted` as (time, picture (H, W, 3)), in the order in which they are decoded.

    The file is read from its beginning up to the last wanted frame, because seeking is not exact in every file. Frames
    that are neither wanted nor needed to decode others are skipped. A frame that cannot be decoded is left out.

    Args:
        info: the probed video.
        wanted: (N,) seconds, ascending, each one of `info.frame_times`.
        size: width and height of the pictures.
        scaling: see `FrameTransform`.
        threads: decoder threads; None uses one per core, or a single one for small frames.

    Raises:
        UnsupportedVideoError: if the frames cannot be converted to RGB.
        VideoError: if the file can no longer be read.
    """
    to_rgb = RGBConverter(size, scaling)
    missing = set(wanted.tolist())
    latest = float("-inf")
    threads = threads or (1 if info.width * info.height < _SMALL_FRAME else 0)
    for thread_count in (threads, 1):
        with closing(_decode(info, missing, thread_count)) as frames:
            for time, frame in frames:
                latest = max(latest, time)
                if time in missing:
                    missing.remove(time)
                    try:
                        picture = to_rgb(frame)
                    except av.error.FFmpegError as error:
                        reason = f"pixel format {frame.format.name} cannot be converted to RGB"
                        raise UnsupportedVideoError(info.path, reason) from error
                    yield time, picture
                if not missing:
                    return
        # If one of the last frames is damaged, PyAV cannot flush the frames behind it out of the decoder, as many as
        # there are threads; and threads can stall. A second pass with one thread reads the rest. If only one frame is
        # left, it is the damaged one itself.
        remaining = info.frame_times[info.frame_times > latest]
        missing.intersection_update(remaining.tolist())
        if len(remaining) < 2 or threads == 1 or not missing:
            return


def _decode(info: VideoInfo, wanted: Set[float], threads: int) -> Generator[tuple[float, av.VideoFrame], None, None]:
    """Yield the frames at the times `wanted`, and some others, up to the end or a stall; 0 threads is one per core."""
    with open_video(info.path) as (container, stream):
        decoder, dater = decoder_of(stream), FrameDater(info.clock)
        decoder.thread_type = "AUTO"
        decoder.thread_count = threads
        with ExitStack() as cleanup:
            decode: Decode = decoder.decode
            if info.codec in _MAY_STALL and threads != 1:
                decode = cleanup.enter_context(closing(WatchedDecoder(decode)))
            for packet in chain(read_packets(info.path, container, stream), [None]):  # None flushes the decoder
                time = None if packet is None else dater.label(packet)
                if info.codec in _SKIPS_NON_REFERENCES and time is not None:
                    decoder.skip_frame = "DEFAULT" if time in wanted else "NONREF"
                try:
                    frames = decode(packet)
                except StalledError:
                    _log.info("%s: the decoder stalled; reading the rest with a single thread", info.path)
                    return
                except av.error.FFmpegError:  # the frame of a damaged packet is lost
                    if threads == 1 and packet is not None:  # else the error may be that of an earlier one
                        dater.lost()
                    continue
                for frame in frames:
                    time = dater.time(frame)
                    if time is not None:
                        yield time, frame
