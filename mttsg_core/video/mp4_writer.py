"""The writer of excerpts: decoded frames and audio to an MP4 that every player takes (H.264, AAC, upright)."""

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
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from mttsg_core.video.rgb import standard_frame
from mttsg_core.video.rotation import Orientation, display_size

# Encoders and their options, best first; an FFmpeg built without the first ones has the last.
VIDEO_ENCODERS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"crf": "20", "preset": "veryfast", "bf": "0"},  # no B-frames, so no timestamps that players shift
    "libopenh264": {"b": "8M"},
    "mpeg4": {"b": "8M"},
}
AUDIO_ENCODERS: Mapping[str, Mapping[str, str]] = {"aac": {"b": "160k"}, "libmp3lame": {"b": "160k"}}
_TICKS_PER_SECOND = 60_000  # of video timestamps; mpeg4 allows no more than 65535
_FRAME_RATE_RANGE = (1, 120)  # frames per second that an encoder is told, whatever the video declares
_UNSPECIFIED = 2  # FFmpeg's number of unknown primaries and of an unknown transfer characteristic
_SAMPLE_RATE = 48_000  # audio samples per second, at most, and where the encoder does not accept the video's own rate
_AUDIO_TOLERANCE = 0.02  # seconds by which audio may deviate from its timestamps before it is moved

_Samples = npt.NDArray[np.float32]


class Mp4Writer:
    """A writer that takes the decoded frames of a video in order and writes those of one span.

    Created by `open_mp4_writer`.
    """

    def __init__(self, video: _VideoTrack, audio: _AudioTrack | None) -> None:
        self._video, self._audio = video, audio

    def add(self, time: float | None, frame: av.VideoFrame | av.AudioFrame) -> None:
        """Add a frame that is presented at `time` seconds; None if the video does not say when."""
        if isinstance(frame, av.AudioFrame):
            if self._audio is not None:
                self._audio.add(time, frame)
        elif time is not None:
            self._video.add(time, frame)

    def finish(self) -> None:
        """Write what is still held back; no frame may be added afterwards."""
        self._video.finish()
        if self._audio is not None:
            self._audio.finish()


@contextmanager
def open_mp4_writer(
    target: Path,
    stream: VideoStream,
    audio: AudioStream | None,
    picture: av.VideoFrame,
    span: tuple[float, float],
    threads: int | None,
) -> Iterator[Mp4Writer]:
    """Open an excerpt for writing and yield its writer; finish the file on exit.

    Args:
        target: the file to write.
        stream: the source's video stream.
        audio: its audio stream, or None.
        picture: one of its decoded video frames, from which size and orientation are taken.
        span: start and end in seconds.
        threads: encoder threads; None lets the encoder choose.

    Raises:
        av.error.FFmpegError: if there is no suitable encoder, or the frames cannot be encoded.
        OSError: if the target cannot be written.
    """
    with av.open(str(target.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video_track = _VideoTrack(container, stream, picture, span, threads)
        writer = Mp4Writer(video_track, None if audio is None else _AudioTrack(container, audio, span))
        yield writer
        writer.finish()


class _VideoTrack:
    """The video of an excerpt."""

    def __init__(
        self,
        container: OutputContainer,
        source: VideoStream,
        picture: av.VideoFrame,
        span: tuple[float, float],
        threads: int | None,
    ) -> None:
        name, options = _choose_encoder(VIDEO_ENCODERS)
        aspect = source.sample_aspect_ratio or Fraction(1)
        size = display_size(picture.width, picture.height, aspect, Orientation.from_frame(picture))
        low, high = _FRAME_RATE_RANGE
        rate = min(max(source.average_rate or source.guessed_rate or Fraction(25), Fraction(low)), Fraction(high))
        self._stream = cast("VideoStream", container.add_stream(name, rate=rate, options=dict(options)))
        self._stream.width, self._stream.height = (max(2, round(side / 2) * 2) for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, _TICKS_PER_SECOND)
        self._stream.codec_context.thread_count = threads or 0
        self._mark_colours(standard_frame(picture))
        self._container = container
        self._start = span[0]
        self._ticks = max(1, round((span[1] - span[0]) * _TICKS_PER_SECOND))  # of the whole excerpt
        self._to_upright = _UprightFilter(self._stream.width, self._stream.height)
        self._held: tuple[int, av.VideoFrame] | None = None  # waits for the next frame, which ends its display
        self._durations: dict[int, int] = {}  # ticks that each frame inside the encoder is shown, by its timestamp

    def _mark_colours(self, picture: av.VideoFrame) -> None:
        """Record the matrix and range that the filter produces, and the other properties of a picture."""
        context = self._stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        for attribute in ("color_primaries", "color_trc"):
            setattr(context, attribute, getattr(picture, attribute, _UNSPECIFIED))

    def add(self, time: float, frame: av.VideoFrame) -> None:
        tick = max(0, round((time - self._start) * _TICKS_PER_SECOND))
        if tick >= self._ticks:
            return
        if self._held is not None and tick < self._held[0]:
            return  # out of order, in a damaged file
        if self._held is not None and tick > self._held[0]:
            self._encode(*self._held, tick - self._held[0])
        self._held = (tick, frame)

    def finish(self) -> None:
        if self._held is not None:
            self._encode(*self._held, self._ticks - self._held[0])
        self._mux(self._stream.encode(None))

    def _encode(self, tick: int, frame: av.VideoFrame, duration: int) -> None:
        upright = self._to_upright(standard_frame(frame))
        upright.pts, upright.time_base = tick, Fraction(1, _TICKS_PER_SECOND)
        self._durations[tick] = duration
        self._mux(self._stream.encode(upright))

    def _mux(self, packets: list[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
            self._container.mux(packet)


class _UprightFilter:
    """A filter that turns frames upright, with square pixels and even sides, whatever size or format each has."""

    def __init__(self, width: int, height: int) -> None:
        self._scale = f"{width}:{height}:out_color_matrix=bt709:out_range=tv"
        self._graphs: dict[tuple[int, int, str, int], Graph] = {}

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        key = (frame.width, frame.height, frame.format.name, frame.rotation)
        if key not in self._graphs:
            self._graphs[key] = self._build_graph(frame)
        graph = self._graphs[key]
        graph.vpush(frame)
        return graph.vpull()

    def _build_graph(self, frame: av.VideoFrame) -> Graph:
        orientation = Orientation.from_frame(frame)
        graph = Graph()
        time_base = Fraction(1, _TICKS_PER_SECOND)
        nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)]
        if orientation.transpose:
            nodes.append(graph.add("transpose", "cclock_flip"))  # exchanges rows and columns, nothing else
        if orientation.flip_horizontal:
            nodes.append(graph.add("hflip"))
        if orientation.flip_vertical:
            nodes.append(graph.add("vflip"))
        nodes += [graph.add("scale", self._scale), graph.add("setsar", "1"), graph.add("format", "yuv420p")]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph


class _AudioTrack:
    """The audio of an excerpt, over its whole length: silence where the video has none."""

    def __init__(self, container: OutputContainer, source: AudioStream, span: tuple[float, float]) -> None:
        name, options = _choose_encoder(AUDIO_ENCODERS)
        supported = Codec(name, "w").audio_rates or []
        own_rate = source.codec_context.sample_rate
        self._rate = own_rate if own_rate in supported and own_rate < _SAMPLE_RATE else _SAMPLE_RATE
        self._layout = "mono" if source.codec_context.channels == 1 else "stereo"
        stream = container.add_stream(name, rate=self._rate, options=dict(options), layout=self._layout)
        self._stream = cast("AudioStream", stream)
        self._container = container
        self._start = span[0]
        self._samples = max(1, round((span[1] - span[0]) * self._rate))  # of the whole excerpt
        self._written = 0
        self._resamplers: dict[tuple[str, str, int], AudioResampler] = {}

    def add(self, time: float | None, frame: av.AudioFrame) -> None:
        for samples in self._resample(frame):
            first = self._written if time is None else round((time - self._start) * self._rate)
            if self._written and abs(first - self._written) <= _AUDIO_TOLERANCE * self._rate:
                first = self._written
            self._write_silence(first)
            self._write(samples[:, max(0, self._written - first) :])
            time = None  # the rest of the same frame follows without a gap

    def finish(self) -> None:
        self._write_silence(self._samples)
        self._container.mux(self._stream.encode(None))

    def _resample(self, frame: av.AudioFrame) -> Iterator[_Samples]:
        """Yield (channels, samples) as the encoder takes them; the format may change within a video."""
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if key not in self._resamplers:
            self._resamplers[key] = AudioResampler("fltp", self._layout, self._rate)
        for resampled in self._resamplers[key].resample(frame):
            yield resampled.to_ndarray().astype(np.float32, copy=False)

    def _write_silence(self, until: int) -> None:
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


def _choose_encoder(encoders: Mapping[str, Mapping[str, str]]) -> tuple[str, Mapping[str, str]]:
    """Return the first encoder that this FFmpeg has, and its options."""
    for name, options in encoders.items():
        try:
            Codec(name, "w")
        except (ValueError, av.error.FFmpegError):
            continue
        return name, options
    raise av.error.EncoderNotFoundError(0, "no encoder for MP4")
