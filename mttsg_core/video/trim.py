"""Trimming: writes a span of a video to a file of its own (an excerpt), exact to the frame."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from mttsg_core.errors import CorruptVideoError, UnsupportedVideoError
from mttsg_core.video.container import open_video, read_packets, time_base_of, timestamp
from mttsg_core.video.mp4_writer import PictureForm, open_mp4_writer
from mttsg_core.video.probe import VideoInfo, scan
from mttsg_core.video.timeline import Clock, FrameDater, SoundDater

_SEEK_MARGINS = (1.0, 20.0, None)  # seconds before the span at which to look for a keyframe; None: read from the start
_AUDIO_DELAY = 3.0  # seconds by which audio may be stored behind the frames it belongs to

_Decoded = tuple[float | None, "av.VideoFrame | av.AudioFrame"]


@dataclass(frozen=True)
class Trimmed:
    """What was written, and what it was made of.

    Attributes:
        form: of the pictures that were written.
        size: width and height at which the source shows its pictures.
        has_sound: whether the source has sound.
    """

    form: PictureForm
    size: tuple[int, int]
    has_sound: bool


def trim(
    video: VideoInfo | str | Path,
    start: float,
    end: float,
    target: Path,
    *,
    threads: int | None = None,
    form: PictureForm | None = None,
    lossless_sound: bool = False,
) -> Trimmed:
    """Re-encode the seconds `start` .. `end` of a video, so that the excerpt begins and ends there, not at keyframes.

    The first frame is the one on screen at `start`, each frame keeps its own time, and the last one stays until `end`.
    Audio keeps its times too; gaps in it are filled with silence.

    Args:
        video: a file, or the result of `probe`.
        start: seconds on the video's own timeline.
        end: likewise, greater than `start`.
        target: the MP4 file to write, whatever its suffix.
        threads: decoder and encoder threads; None lets them choose.
        form: of the pictures, which black beside them brings to its sides; None for the video's own.
        lossless_sound: write the sound without loss, for excerpts that are to be joined.

    Raises:
        CorruptVideoError: if no frame of the span can be decoded.
        UnsupportedVideoError: if its frames or its audio cannot be encoded.
        VideoError: if the video cannot be read.
        OSError: if the target cannot be written.
    """
    info = video if isinstance(video, VideoInfo) else scan(video)
    path = info.path
    for margin in _SEEK_MARGINS:
        with open_video(path) as (container, stream):
            audio = container.streams.best("audio", related=stream)
            audio = audio if isinstance(audio, AudioStream) and audio.codec_context is not None else None
            dating = _begin(container, stream, audio, info.clock, None if margin is None else start - margin)
            if dating is None:
                continue
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = threads or 0
            with closing(_decode(path, container, stream, audio, end, dating)) as frames:
                head = list(_through_first_picture(frames))
                time, picture = head[-1] if head else (None, None)
                if not isinstance(picture, av.VideoFrame) or (margin is not None and (time is None or time > start)):
                    continue  # decoding began too late
                try:
                    with open_mp4_writer(
                        target, stream, audio, picture, (start, end), threads, form=form, lossless_sound=lossless_sound
                    ) as writer:
                        for time, frame in chain(head, frames):
                            writer.add(time, frame)
                except av.error.FFmpegError as error:
                    if isinstance(error, OSError):
                        raise
                    raise UnsupportedVideoError(path, f"cannot be re-encoded ({error.strerror})") from error
                return Trimmed(writer.form, writer.size, audio is not None)
    raise CorruptVideoError(path, "truncated or damaged: no frame of the span can be decoded")


class _Dating(Protocol):
    """How packets and frames are dated."""

    def label(self, packet: Packet[Any]) -> float | None:
        """Prepare the next packet of the file; return the time of its frame, or None if that is unknown."""

    def is_needed(self, packet: Packet[Any]) -> bool:
        """Return whether a packet that was labelled must be decoded."""

    def time(self, frame: av.VideoFrame | av.AudioFrame, time_base: Fraction) -> float | None:
        """Return the time of a decoded frame, or None if that is unknown; `time_base` is that of its stream."""


class _BySeeking:
    """Dating by the frames' own timestamps, from any position in the file."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def label(self, packet: Packet[Any]) -> float | None:
        stamp = timestamp(packet)
        return None if stamp is None else self._clock.seconds(stamp, packet.time_base)

    def is_needed(self, packet: Packet[Any]) -> bool:
        return True

    def time(self, frame: av.VideoFrame | av.AudioFrame, time_base: Fraction) -> float | None:
        stamp = timestamp(frame)
        return None if stamp is None else self._clock.seconds(stamp, time_base)


class _ByNumber:
    """Dating by the number of the packet: all packets of the file are read, and decoded from some row on."""

    def __init__(self, clock: Clock, audio: AudioStream | None, first_row: int) -> None:
        self._clock, self._first_row = clock, first_row
        self._frames = FrameDater(clock)
        self._sound = None if audio is None else SoundDater(clock, time_base_of(audio))

    def label(self, packet: Packet[Any]) -> float | None:
        if not isinstance(packet.stream, AudioStream):
            return self._frames.label(packet, skipped=self._frames.row < self._first_row)
        if self._sound is not None:
            self._sound.label(packet)
        stamp = timestamp(packet)
        return None if stamp is None else self._clock.seconds(stamp, packet.time_base)

    def is_needed(self, packet: Packet[Any]) -> bool:
        return self._frames.row > self._first_row

    def time(self, frame: av.VideoFrame | av.AudioFrame, time_base: Fraction) -> float | None:
        if isinstance(frame, av.VideoFrame):
            return self._frames.time(frame)
        return None if frame.pts is None else self._clock.seconds(frame.pts, time_base)


def _begin(
    container: InputContainer, stream: VideoStream, audio: AudioStream | None, clock: Clock, seconds: float | None
) -> _Dating | None:
    """Go to a keyframe before the given time, or stay at the start of the file if it is None.

    Return how frames are dated from there, or None if that position cannot be reached.
    """
    if not clock.is_linear:
        return _ByNumber(clock, audio, 0 if seconds is None else clock.row_before(seconds))
    if seconds is not None:
        if seconds <= 0:
            return None
        try:
            container.seek(clock.stamp(seconds, time_base_of(stream)), stream=stream)
        except av.error.FFmpegError:
            return None
    return _BySeeking(clock)


def _decode(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    audio: AudioStream | None,
    end: float,
    dating: _Dating,
) -> Generator[_Decoded, None, None]:
    """Yield video and audio frames with their times, from the container's current position to a little past `end`."""
    sources = {source.index: source for source in (stream, audio) if source is not None}
    finished = set()  # indices of the streams that have reached `end`
    for packet in read_packets(path, container):
        source = sources.get(packet.stream_index)
        if source is None:
            continue
        latest = dating.label(packet)
        if not dating.is_needed(packet):
            continue
        for time, frame in _decode_packet(source, packet, dating):
            if time is not None and time >= end:
                finished.add(source.index)
                latest = max(latest or time, time)
            yield time, frame
        far_past_end = latest is not None and latest > end + _AUDIO_DELAY
        if finished == sources.keys() or (far_past_end and stream.index in finished):
            return
    for source in sources.values():
        yield from _decode_packet(source, None, dating)  # flushes the decoder


def _decode_packet(
    source: VideoStream | AudioStream, packet: Packet[Any] | None, dating: _Dating
) -> Iterator[_Decoded]:
    try:
        frames = source.codec_context.decode(packet)
    except av.error.FFmpegError:
        return  # damaged frames are left out
    for frame in frames:
        time = dating.time(frame, time_base_of(source))
        if time is not None or isinstance(frame, av.AudioFrame):
            yield time, frame


def _through_first_picture(frames: Iterator[_Decoded]) -> Iterator[_Decoded]:
    """Yield frames up to and including the first video frame."""
    for time, frame in frames:
        yield time, frame
        if isinstance(frame, av.VideoFrame):
            return
