"""The PyAV back end: one sequential pass with FFmpeg's own frame threads."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Set
from contextlib import ExitStack, closing
from itertools import chain

import av
import av.error

from mttsg_core.errors import UnsupportedVideoError
from mttsg_core.moments import FloatArray
from mttsg_core.video.container import open_video, packets, time_base_of, timestamp
from mttsg_core.video.probe import VideoInfo, to_seconds
from mttsg_core.video.resize import Scaling
from mttsg_core.video.rgb import RGB, PictureMaker
from mttsg_core.video.watchdog import Decode, StalledError, WatchedDecoder

_MAY_STALL = {"hevc"}  # see watch.py
_FEW_PIXELS = 400 * 300  # in a smaller picture frame threads wait for each other more than they work
_MARKS_UNNEEDED = {"h264"}  # frames to which no other refers; in HEVC the mark is about some of the others only


def read_frames(
    info: VideoInfo, wanted: FloatArray, size: tuple[int, int], scaling: Scaling, threads: int | None
) -> Iterator[tuple[float, RGB]]:
    """The frames at the times `wanted`, as (time, picture (H, W, 3)), as they are decoded.

    The file is read in order up to the last wanted frame, for no seek is right on every file. Frames that are neither
    wanted nor needed for others are left out. A frame that cannot be decoded does not come.

    Args:
        info: of the video.
        wanted: (N,) seconds, ascending, each one of `info.frame_times`.
        size: width and height of the pictures.
        scaling: see `Framing`.
        threads: of the decoder; None is one per core, or one for small pictures.

    Raises:
        UnsupportedVideoError: the pictures cannot be turned into RGB.
        VideoError: the file cannot be read any more.
    """
    make_picture = PictureMaker(size, scaling)
    missing = set(wanted.tolist())
    latest = float("-inf")
    threads = threads or (1 if info.width * info.height < _FEW_PIXELS else 0)
    for thread_count in (threads, 1):
        with closing(_decode(info, missing, thread_count)) as frames:
            for time, frame in frames:
                latest = max(latest, time)
                if time in missing:
                    missing.remove(time)
                    try:
                        picture = make_picture(frame)
                    except av.error.FFmpegError as error:
                        reason = f"pictures of format {frame.format.name} cannot be turned into RGB"
                        raise UnsupportedVideoError(info.path, reason) from error
                    yield time, picture
                if not missing:
                    return
        # When a damaged frame is among the last, PyAV cannot empty the decoder of the frames behind it, as many as
        # there are threads; and threads can stall. A second pass with one thread gets the rest. A single frame is the
        # damaged one itself.
        behind = info.frame_times[info.frame_times > latest]
        missing.intersection_update(behind.tolist())
        if len(behind) < 2 or threads == 1 or not missing:
            return


def _decode(info: VideoInfo, wanted: Set[float], threads: int) -> Generator[tuple[float, av.VideoFrame], None, None]:
    """The frames at the times `wanted`, and others, that can be decoded up to a stall; `threads` 0 is one per core."""
    with open_video(info.path) as (container, stream):
        decoder, time_base = stream.codec_context, time_base_of(stream)
        decoder.thread_type = "AUTO"
        decoder.thread_count = threads
        with ExitStack() as cleanup:
            decode: Decode = decoder.decode
            if info.codec in _MAY_STALL and threads != 1:
                decode = cleanup.enter_context(closing(WatchedDecoder(decode)))
            for packet in chain(packets(info.path, container, stream), [None]):  # None empties the decoder
                if info.codec in _MARKS_UNNEEDED and packet is not None:
                    unwanted = packet.pts is not None and float(to_seconds(packet.pts, time_base)) not in wanted
                    decoder.skip_frame = "NONREF" if unwanted else "DEFAULT"
                try:
                    frames = decode(packet)
                except StalledError:
                    return
                except av.error.FFmpegError:
                    continue  # the frame of a damaged packet stays missing
                for frame in frames:
                    stamp = timestamp(frame)
                    if stamp is not None:
                        yield float(to_seconds(stamp, time_base)), frame
