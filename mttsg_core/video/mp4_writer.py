"""Writes decoded pictures and sound into a clip that every player takes: MP4 with H.264 and AAC, upright."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import OutputContainer
from av.filter import Graph
from av.video.stream import VideoStream

from mttsg_core.video.rgb import Orientation, display_size

# Encoders and their options, the best first; a FFmpeg built without the first has the last.
VIDEO_ENCODERS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"crf": "20", "preset": "veryfast", "bf": "0"},  # no B-frames: no time stamps for players to shift
    "libopenh264": {"b": "8M"},
    "mpeg4": {"b": "8M"},
}
AUDIO_ENCODERS: Mapping[str, Mapping[str, str]] = {"aac": {"b": "160k"}, "libmp3lame": {"b": "160k"}}
_TICKS = 60_000  # a second in the time stamps of pictures; mpeg4 allows no more than 65535
_FRAME_RATES = (1, 120)  # frames a second that an encoder is told, whatever a file says
_SOUND_RATE = 48_000  # samples a second, at most, and where the encoder does not take those of the video
_SOUND_SLACK = 0.02  # seconds by which sound may be off its time stamps before it is moved

_Samples = npt.NDArray[np.float32]


class Mp4Writer:
    """Takes decoded frames of a video in their order and writes those of one span. Made by `open_mp4_writer`."""

    def __init__(self, pictures: _Pictures, sound: _Sound | None) -> None:
        self._pictures, self._sound = pictures, sound

    def add(self, time: float | None, frame: av.VideoFrame | av.AudioFrame) -> None:
        """Take a frame that is shown or heard at that time, in seconds; None where the file does not say."""
        if isinstance(frame, av.AudioFrame):
            if self._sound is not None:
                self._sound.add(time, frame)
        elif time is not None:
            self._pictures.add(time, frame)

    def finish(self) -> None:
        """There are no more frames."""
        self._pictures.finish()
        if self._sound is not None:
            self._sound.finish()


@contextmanager
def open_mp4_writer(
    target: Path,
    stream: VideoStream,
    sound: AudioStream | None,
    picture: av.VideoFrame,
    span: tuple[float, float],
    threads: int | None,
) -> Iterator[Mp4Writer]:
    """A clip to be filled; finished on leaving.

    Args:
        target: the file.
        stream: the video's pictures.
        sound: its sound, or None.
        picture: one of its pictures.
        span: start and end in seconds.
        threads: of the encoder; None lets it choose.
    """
    with av.open(str(target.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        pictures = _Pictures(container, stream, picture, span, threads)
        clip = Mp4Writer(pictures, None if sound is None else _Sound(container, sound, span))
        yield clip
        clip.finish()


class _Pictures:
    """The pictures of a clip."""

    def __init__(
        self,
        container: OutputContainer,
        source: VideoStream,
        picture: av.VideoFrame,
        span: tuple[float, float],
        threads: int | None,
    ) -> None:
        name, options = _encoder(VIDEO_ENCODERS)
        aspect = source.sample_aspect_ratio or Fraction(1)
        size = display_size(picture.width, picture.height, aspect, Orientation.of(picture))
        low, high = _FRAME_RATES
        rate = min(max(source.average_rate or source.guessed_rate or Fraction(25), Fraction(low)), Fraction(high))
        self._stream = cast("VideoStream", container.add_stream(name, rate=rate, options=dict(options)))
        self._stream.width, self._stream.height = (max(2, round(side / 2) * 2) for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream.codec_context.thread_count = threads or 0
        self._container = container
        self._start = span[0]
        self._ticks = max(1, round((span[1] - span[0]) * _TICKS))  # in the whole clip
        self._upright = _Upright(self._stream.width, self._stream.height)
        self._held: tuple[int, av.VideoFrame] | None = None  # waits to be told how long it is shown
        self._shown: dict[int, int] = {}  # time stamps of pictures in the encoder, and how long they are shown

    def add(self, time: float, frame: av.VideoFrame) -> None:
        tick = max(0, round((time - self._start) * _TICKS))
        if tick >= self._ticks:
            return
        if self._held is not None and tick < self._held[0]:
            return  # out of order, from a damaged file
        if self._held is not None and tick > self._held[0]:
            self._encode(*self._held, tick - self._held[0])
        self._held = (tick, frame)

    def finish(self) -> None:
        if self._held is not None:
            self._encode(*self._held, self._ticks - self._held[0])
        self._mux(self._stream.encode(None))

    def _encode(self, tick: int, frame: av.VideoFrame, shown: int) -> None:
        upright = self._upright(frame)
        if not self._stream.codec_context.is_open:
            for mark in ("color_range", "colorspace", "color_primaries", "color_trc"):
                setattr(self._stream.codec_context, mark, getattr(upright, mark))
        upright.pts, upright.time_base = tick, Fraction(1, _TICKS)
        self._shown[tick] = shown
        self._mux(self._stream.encode(upright))

    def _mux(self, found: list[av.Packet[VideoStream]]) -> None:
        for packet in found:
            if packet.pts is not None:
                packet.duration = self._shown.pop(packet.pts, packet.duration or 0)
            self._container.mux(packet)


class _Upright:
    """Turns pictures upright, makes their pixels square and their sides even, whatever size or format each has."""

    def __init__(self, width: int, height: int) -> None:
        self._scale = f"{width}:{height}"
        self._graphs: dict[tuple[int, int, str, int], Graph] = {}

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        key = (frame.width, frame.height, frame.format.name, frame.rotation)
        if key not in self._graphs:
            self._graphs[key] = self._graph(frame)
        graph = self._graphs[key]
        graph.vpush(frame)
        return graph.vpull()

    def _graph(self, frame: av.VideoFrame) -> Graph:
        orientation = Orientation.of(frame)
        graph = Graph()
        nodes = [
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, _TICKS))
        ]
        if orientation.transpose:
            nodes.append(graph.add("transpose", "cclock_flip"))  # rows and columns exchanged
        if orientation.mirror_x:
            nodes.append(graph.add("hflip"))
        if orientation.mirror_y:
            nodes.append(graph.add("vflip"))
        nodes += [graph.add("scale", self._scale), graph.add("setsar", "1"), graph.add("format", "yuv420p")]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph


class _Sound:
    """The sound of a clip, of its whole length: silence where the video has none."""

    def __init__(self, container: OutputContainer, source: AudioStream, span: tuple[float, float]) -> None:
        name, options = _encoder(AUDIO_ENCODERS)
        allowed = Codec(name, "w").audio_rates or []
        wanted = source.codec_context.sample_rate
        self._rate = wanted if wanted in allowed and wanted < _SOUND_RATE else _SOUND_RATE
        self._layout = "mono" if source.codec_context.channels == 1 else "stereo"
        added = container.add_stream(name, rate=self._rate, options=dict(options), layout=self._layout)
        self._stream = cast("AudioStream", added)
        self._container = container
        self._start = span[0]
        self._samples = max(1, round((span[1] - span[0]) * self._rate))  # in the whole clip
        self._written = 0
        self._resamplers: dict[tuple[str, str, int], AudioResampler] = {}

    def add(self, time: float | None, frame: av.AudioFrame) -> None:
        for samples in self._resample(frame):
            first = self._written if time is None else round((time - self._start) * self._rate)
            if self._written and abs(first - self._written) <= _SOUND_SLACK * self._rate:
                first = self._written
            self._silence(first)
            self._write(samples[:, max(0, self._written - first) :])
            time = None  # more of the same frame follows on it

    def finish(self) -> None:
        self._silence(self._samples)
        self._container.mux(self._stream.encode(None))

    def _resample(self, frame: av.AudioFrame) -> Iterator[_Samples]:
        """(channels, samples) as the encoder takes them; the format may change within a video."""
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if key not in self._resamplers:
            self._resamplers[key] = AudioResampler("fltp", self._layout, self._rate)
        for part in self._resamplers[key].resample(frame):
            yield part.to_ndarray().astype(np.float32, copy=False)

    def _silence(self, until: int) -> None:
        while self._written < min(until, self._samples):
            count = min(until - self._written, self._rate)
            self._write(np.zeros((1 if self._layout == "mono" else 2, count), dtype=np.float32))

    def _write(self, samples: _Samples) -> None:
        samples = np.ascontiguousarray(samples[:, : self._samples - self._written])
        if not samples.size:
            return
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._written, Fraction(1, self._rate)
        self._written += samples.shape[1]
        self._container.mux(self._stream.encode(frame))


def _encoder(candidates: Mapping[str, Mapping[str, str]]) -> tuple[str, Mapping[str, str]]:
    """The best encoder that this FFmpeg has, and its options."""
    for name, options in candidates.items():
        try:
            Codec(name, "w")
        except (ValueError, av.error.FFmpegError):
            continue
        return name, options
    raise av.error.EncoderNotFoundError(0, "no encoder for MP4")
