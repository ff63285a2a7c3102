"""Joining: excerpts one after the other as one film. Their pictures are copied, their sound is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from mttsg_core.errors import UnsupportedVideoError
from mttsg_core.video.container import time_base_of
from mttsg_core.video.mp4_writer import TICKS_PER_SECOND, AudioTrack


class Piece(NamedTuple):
    """An excerpt that `trim` wrote, and its length in seconds."""

    path: Path
    seconds: float

    @property
    def ticks(self) -> int:
        """The length in units of the writer's video timestamps."""
        return max(1, round(self.seconds * TICKS_PER_SECOND))


def join(pieces: Sequence[Piece], target: Path) -> None:
    """Write pieces of one `PictureForm` one after the other.

    Args:
        pieces: at least one. If some have sound, the others are silent.
        target: the MP4 file to write, whatever its suffix.

    Raises:
        UnsupportedVideoError: if the pieces differ in how their pictures are encoded, or the sound cannot be encoded.
        OSError: if a file cannot be read or written.
    """
    try:
        with (
            ExitStack() as first_ones,
            av.open(str(target.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as film,
        ):
            _join(pieces, film, first_ones)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise UnsupportedVideoError(target, f"the excerpts cannot be joined ({error.strerror})") from error


def _join(pieces: Sequence[Piece], film: OutputContainer, stack: ExitStack) -> None:
    first = stack.enter_context(av.open(str(pieces[0].path.absolute())))
    pictures = film.add_stream_from_template(first.streams.video[0])
    pictures.time_base = Fraction(1, TICKS_PER_SECOND)
    header = first.streams.video[0].codec_context.extradata
    total = sum(piece.ticks for piece in pieces) / TICKS_PER_SECOND
    sound = _first_sound(pieces, stack)
    audio = None if sound is None else AudioTrack(film, sound, (0.0, total))
    offset = 0  # ticks
    for piece in pieces:
        with av.open(str(piece.path.absolute())) as container:
            if container.streams.video[0].codec_context.extradata != header:
                raise UnsupportedVideoError(piece.path, "its pictures are encoded in another way than the first ones")
            _append(container, film, pictures, audio, offset)
        offset += piece.ticks
        if audio is not None:
            audio.fill(offset / TICKS_PER_SECOND)
    if audio is not None:
        audio.finish()


def _first_sound(pieces: Sequence[Piece], stack: ExitStack) -> AudioStream | None:
    """Return the first audio stream of the pieces; the stack keeps its file open."""
    for piece in pieces:
        container = av.open(str(piece.path.absolute()))
        if container.streams.audio:
            return stack.enter_context(container).streams.audio[0]
        container.close()
    return None


def _append(
    container: InputContainer, film: OutputContainer, pictures: VideoStream, audio: AudioTrack | None, offset: int
) -> None:
    """Copy the pictures of a piece, and encode its sound, `offset` ticks later."""
    start = offset / TICKS_PER_SECOND
    for packet in container.demux():
        if isinstance(packet.stream, AudioStream):
            time_base = time_base_of(packet.stream)
            for frame in packet.decode():
                if audio is not None and isinstance(frame, av.AudioFrame):
                    audio.add(None if frame.pts is None else start + float(frame.pts * time_base), frame)
        elif packet.pts is not None and packet.dts is not None:
            ticks = packet.time_base * TICKS_PER_SECOND
            packet.pts, packet.dts = round(packet.pts * ticks) + offset, round(packet.dts * ticks) + offset
            packet.duration = round((packet.duration or 0) * ticks)
            packet.time_base = Fraction(1, TICKS_PER_SECOND)
            packet.stream = pictures
            film.mux(packet)
