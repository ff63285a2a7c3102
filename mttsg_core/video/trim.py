"""Trimming: writes a span of a video to a file of its own (an excerpt), exact to the frame."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from mttsg_core.errors import CorruptVideoError, UnsupportedVideoError
from mttsg_core.video.container import open_video, read_packets, time_base_of, timestamp
from mttsg_core.video.mp4_writer import open_mp4_writer
from mttsg_core.video.probe import to_seconds

_SEEK_MARGINS = (1.0, 20.0, None)  # seconds before the span at which to look for a keyframe; None: read from the start
_AUDIO_DELAY = 3.0  # seconds by which audio may be stored behind the frames it belongs to

_Decoded = tuple[float | None, "av.VideoFrame | av.AudioFrame"]


def trim(path: Path, start: float, end: float, target: Path, *, threads: int | None = None) -> None:
    """Re-encode the seconds `start` .. `end` of a video, so that the excerpt begins and ends there, not at keyframes.

    The first frame is the one on screen at `start`, each frame keeps its own time, and the last one stays until `end`.
    Audio keeps its times too; gaps in it are filled with silence.

    Args:
        path: the video.
        start: seconds on the video's own timeline.
        end: likewise, greater than `start`.
        target: the MP4 file to write, whatever its suffix.
        threads: decoder and encoder threads; None lets them choose.

    Raises:
        CorruptVideoError: if no frame of the span can be decoded.
        UnsupportedVideoError: if its frames or its audio cannot be encoded.
        VideoError: if the video cannot be read.
        OSError: if the target cannot be written.
    """
    for margin in _SEEK_MARGINS:
        with open_video(path) as (container, stream):
            if margin is not None and not _seek(container, stream, start - margin):
                continue
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = threads or 0
            audio = container.streams.best("audio", related=stream)
            audio = audio if isinstance(audio, AudioStream) and audio.codec_context is not None else None
            with closing(_decode(path, container, stream, audio, end)) as frames:
                head = list(_through_first_picture(frames))
                time, picture = head[-1] if head else (None, None)
                if not isinstance(picture, av.VideoFrame) or (margin is not None and (time is None or time > start)):
                    continue  # decoding began too late
                try:
                    with open_mp4_writer(target, stream, audio, picture, (start, end), threads) as writer:
                        for time, frame in chain(head, frames):
                            writer.add(time, frame)
                except av.error.FFmpegError as error:
                    if isinstance(error, OSError):
                        raise
                    raise UnsupportedVideoError(path, f"cannot be re-encoded ({error.strerror})") from error
                return
    raise CorruptVideoError(path, "truncated or damaged: no frame of the span can be decoded")


def _seek(container: InputContainer, stream: VideoStream, seconds: float) -> bool:
    """Seek to a keyframe before the given time; return False if that is not possible."""
    if seconds <= 0:
        return False
    try:
        container.seek(int(seconds / time_base_of(stream)), stream=stream)
    except av.error.FFmpegError:
        return False
    return True


def _decode(
    path: Path, container: InputContainer, stream: VideoStream, audio: AudioStream | None, end: float
) -> Generator[_Decoded, None, None]:
    """Yield video and audio frames with their times, from the container's current position to a little past `end`."""
    sources = {source.index: source for source in (stream, audio) if source is not None}
    finished = set()  # indices of the streams that have reached `end`
    for packet in read_packets(path, container):
        source = sources.get(packet.stream_index)
        if source is None:
            continue
        for time, frame in _decode_packet(source, packet):
            if time is not None and time >= end:
                finished.add(source.index)
            yield time, frame
        stamp = timestamp(packet)
        far_past_end = stamp is not None and _to_seconds(stamp, source) > end + _AUDIO_DELAY
        if finished == sources.keys() or (far_past_end and stream.index in finished):
            return
    for source in sources.values():
        yield from _decode_packet(source, None)  # flushes the decoder


def _decode_packet(source: VideoStream | AudioStream, packet: Packet[Any] | None) -> Iterator[_Decoded]:
    try:
        frames = source.codec_context.decode(packet)
    except av.error.FFmpegError:
        return  # damaged frames are left out
    for frame in frames:
        stamp = timestamp(frame)
        yield None if stamp is None else _to_seconds(stamp, source), frame


def _through_first_picture(frames: Iterator[_Decoded]) -> Iterator[_Decoded]:
    """Yield frames up to and including the first video frame."""
    for time, frame in frames:
        yield time, frame
        if isinstance(frame, av.VideoFrame):
            return


def _to_seconds(stamp: int, source: VideoStream | AudioStream) -> float:
    return float(to_seconds(stamp, time_base_of(source)))
