"""A span of a video as a file of its own, exact to the frame."""

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
from mttsg_core.video.container import open_video, packets, time_base_of, timestamp
from mttsg_core.video.mp4_writer import open_mp4_writer
from mttsg_core.video.probe import to_seconds

_STEPS_BACK = (1.0, 20.0, None)  # seconds before the span from which to look for a keyframe; None: the file's beginning
_SOUND_BEHIND = 3.0  # seconds by which sound may lie behind its pictures in the file

_Decoded = tuple[float | None, "av.VideoFrame | av.AudioFrame"]


def trim(path: Path, start: float, end: float, target: Path, *, threads: int | None = None) -> None:
    """Write the seconds `start` .. `end` of a video, encoded anew, so that it begins and ends there and at no keyframe.

    The first picture is the one on screen at `start`, each keeps its own time, and the last stays until `end`. Sound
    keeps its time too; where there is none in the midst of it, it is silence.

    Args:
        path: the video.
        start: seconds on its own time line.
        end: likewise, more than `start`.
        target: an MP4 file, whatever its suffix.
        threads: of the decoder and the encoder; None lets them choose.

    Raises:
        CorruptVideoError: if no picture of that span can be decoded.
        UnsupportedVideoError: if its pictures or its sound cannot be encoded.
        VideoError: if it cannot be read.
        OSError: if the target cannot be written.
    """
    for back in _STEPS_BACK:
        with open_video(path) as (container, stream):
            if back is not None and not _seek(container, stream, start - back):
                continue
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = threads or 0
            sound = container.streams.best("audio", related=stream)
            sound = sound if isinstance(sound, AudioStream) and sound.codec_context is not None else None
            with closing(_decode(path, container, stream, sound, end)) as frames:
                begin = list(_up_to_a_picture(frames))
                time, picture = begin[-1] if begin else (None, None)
                if not isinstance(picture, av.VideoFrame) or (back is not None and (time is None or time > start)):
                    continue  # it began too late
                try:
                    with open_mp4_writer(target, stream, sound, picture, (start, end), threads) as writer:
                        for time, frame in chain(begin, frames):
                            writer.add(time, frame)
                except av.error.FFmpegError as error:
                    if isinstance(error, OSError):
                        raise
                    raise UnsupportedVideoError(path, f"cannot be encoded anew ({error.strerror})") from error
                return
    raise CorruptVideoError(path, "truncated or damaged: no frame of it can be decoded")


def _seek(container: InputContainer, stream: VideoStream, seconds: float) -> bool:
    """Go to a keyframe before that time; false where that is not possible."""
    if seconds <= 0:
        return False
    try:
        container.seek(int(seconds / time_base_of(stream)), stream=stream)
    except av.error.FFmpegError:
        return False
    return True


def _decode(
    path: Path, container: InputContainer, stream: VideoStream, sound: AudioStream | None, end: float
) -> Generator[_Decoded, None, None]:
    """Pictures and sound with their times, from where the container stands to a little behind `end`."""
    used = {one.index: one for one in (stream, sound) if one is not None}
    seen_end = set()  # of these streams
    for packet in packets(path, container):
        source = used.get(packet.stream_index)
        if source is None:
            continue
        for time, frame in _frames(source, packet):
            if time is not None and time >= end:
                seen_end.add(source.index)
            yield time, frame
        stamp = timestamp(packet)
        behind = stamp is not None and _seconds(stamp, source) > end + _SOUND_BEHIND
        if seen_end == used.keys() or (behind and stream.index in seen_end):
            return
    for source in used.values():
        yield from _frames(source, None)  # empties the decoder


def _frames(source: VideoStream | AudioStream, packet: Packet[Any] | None) -> Iterator[_Decoded]:
    try:
        frames = source.codec_context.decode(packet)
    except av.error.FFmpegError:
        return  # what is damaged stays missing
    for frame in frames:
        stamp = timestamp(frame)
        yield None if stamp is None else _seconds(stamp, source), frame


def _up_to_a_picture(frames: Iterator[_Decoded]) -> Iterator[_Decoded]:
    """Frames up to and with the first picture."""
    for time, frame in frames:
        yield time, frame
        if isinstance(frame, av.VideoFrame):
            return


def _seconds(stamp: int, source: VideoStream | AudioStream) -> float:
    return float(to_seconds(stamp, time_base_of(source)))
