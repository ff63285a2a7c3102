"""The writer of excerpts: decoded frames and audio to an MP4 that every player takes (H.264, AAC, upright).

Excerpts that are to be joined share a `PictureForm`, so that their pictures need no second encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
LOSSLESS_AUDIO_ENCODERS: Mapping[str, Mapping[str, str]] = {"alac": {}, "flac": {}}
TICKS_PER_SECOND = 60_000  # of video timestamps; mpeg4 allows no more than 65535
_FRAME_RATE_RANGE = (1, 120)  # frames per second that an encoder is told, whatever the video declares
_UNSPECIFIED = 2  # FFmpeg's number of unknown primaries and of an unknown transfer characteristic
_SAMPLE_RATE = 48_000  # audio samples per second, at most, and where the encoder does not accept the video's own rate
_AUDIO_TOLERANCE = 0.02  # seconds by which audio may deviate from its timestamps before it is moved

_Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PictureForm:
    """What the pictures of all excerpts have in common that are joined to one film.

    Attributes:
        width: in pixels, even.
        height: likewise.
        rate: frames per second that the encoder is told; each frame keeps its own time.
        primaries: FFmpeg's number of the colour primaries.
        transfer: FFmpeg's number of the transfer characteristic.
    """

    width: int
    height: int
    rate: Fraction
    primaries: int
    transfer: int

    def inner_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of a picture of another size within this one: as large as fits, black beside it.

        >>> PictureForm(640, 480, Fraction(25), 2, 2).inner_size(1920, 1080)
        (640, 360)
        """
        scale = min(self.width / width, self.height / height)
        return min(self.width, _even(width * scale)), min(self.height, _even(height * scale))


class Mp4Writer:
    """A writer that takes the decoded frames of a video in order and writes those of one span.

    Created by `open_mp4_writer`.

    Attributes:
        form: of the pictures as they are written.
        size: width and height at which the source shows its pictures.
    """

    def __init__(self, video: _VideoTrack, audio: AudioTrack | None) -> None:
        self._video, self._audio = video, audio
        self.form, self.size = video.form, video.size

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
    *,
    form: PictureForm | None = None,
    lossless_sound: bool = False,
) -> Iterator[Mp4Writer]:
    """Open an excerpt for writing and yield its writer; finish the file on exit.

    Args:
        target: the file to write.
        stream: the source's video stream.
        audio: its audio stream, or None.
        picture: one of its decoded video frames, from which size and orientation are taken.
        span: start and end in seconds.
        threads: encoder threads; None lets the encoder choose.
        form: of the pictures; None for that of the source.
        lossless_sound: write the sound as it is, for another encoding.

    Raises:
        av.error.FFmpegError: if there is no suitable encoder, or the frames cannot be encoded.
        OSError: if the target cannot be written.
    """
    with av.open(str(target.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video_track = _VideoTrack(container, stream, picture, span, threads, form)
        encoders = LOSSLESS_AUDIO_ENCODERS if lossless_sound else AUDIO_ENCODERS
        writer = Mp4Writer(video_track, None if audio is None else AudioTrack(container, audio, span, encoders))
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
        form: PictureForm | None,
    ) -> None:
        name, options = _choose_encoder(VIDEO_ENCODERS)
        aspect = source.sample_aspect_ratio or Fraction(1)
        self.size = display_size(picture.width, picture.height, aspect, Orientation.from_frame(picture))
        self.form = form or _form_of(source, standard_frame(picture), self.size)
        self._stream = cast("VideoStream", container.add_stream(name, rate=self.form.rate, options=dict(options)))
        self._stream.width, self._stream.height = self.form.width, self.form.height
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        self._stream.codec_context.thread_count = threads or 0
        self._mark_colours()
        self._container = container
        self._start = span[0]
        self._ticks = max(1, round((span[1] - span[0]) * TICKS_PER_SECOND))  # of the whole excerpt
        self._to_upright = _UprightFilter(self.form, self.size)
        self._held: tuple[int, av.VideoFrame] | None = None  # waits for the next frame, which ends its display
        self._durations: dict[int, int] = {}  # ticks that each frame inside the encoder is shown, by its timestamp

    def _mark_colours(self) -> None:
        """Record the matrix and range that the filter produces, and the other properties of the pictures."""
        context = self._stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = self.form.primaries, self.form.transfer

    def add(self, time: float, frame: av.VideoFrame) -> None:
        tick = max(0, round((time - self._start) * TICKS_PER_SECOND))
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
        upright.pts, upright.time_base = tick, Fraction(1, TICKS_PER_SECOND)
        self._durations[tick] = duration
        self._mux(self._stream.encode(upright))

    def _mux(self, packets: list[av.Packet[VideoStream]]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
            self._container.mux(packet)


class _UprightFilter:
    """A filter that turns frames upright, with square pixels and even sides, whatever size or format each has.

    Args:
        form: of the pictures that it makes.
        size: width and height at which the source shows its pictures; where they have other sides than `form`, black is
            added.
    """

    def __init__(self, form: PictureForm, size: tuple[int, int]) -> None:
        width, height = form.inner_size(*size)
        self._scale = f"{width}:{height}:out_color_matrix=bt709:out_range=tv"
        left, top = (form.width - width) // 4 * 2, (form.height - height) // 4 * 2  # even, as chroma needs it
        is_whole = (width, height) == (form.width, form.height)
        self._pad = None if is_whole else f"{form.width}:{form.height}:{left}:{top}"
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
        time_base = Fraction(1, TICKS_PER_SECOND)
        nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)]
        if orientation.transpose:
            nodes.append(graph.add("transpose", "cclock_flip"))  # exchanges rows and columns, nothing else
        if orientation.flip_horizontal:
            nodes.append(graph.add("hflip"))
        if orientation.flip_vertical:
            nodes.append(graph.add("vflip"))
        nodes += [graph.add("scale", self._scale), graph.add("setsar", "1"), graph.add("format", "yuv420p")]
        if self._pad is not None:
            nodes.append(graph.add("pad", self._pad))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph


class AudioTrack:
    """The audio of an excerpt or a film, over its whole length: silence where there is none.

    Args:
        container: to write to.
        source: an audio stream, from which rate and layout are taken.
        span: start and end in seconds.
        encoders: and their options, best first.
    """

    def __init__(
        self,
        container: OutputContainer,
        source: AudioStream,
        span: tuple[float, float],
        encoders: Mapping[str, Mapping[str, str]] = AUDIO_ENCODERS,
    ) -> None:
        name, options = _choose_encoder(encoders)
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
        """Add a frame that is presented at `time` seconds; None if it follows the one before."""
        for samples in self._resample(frame):
            first = self._written if time is None else round((time - self._start) * self._rate)
            if self._written and abs(first - self._written) <= _AUDIO_TOLERANCE * self._rate:
                first = self._written
            self._write_silence(first)
            self._write(samples[:, max(0, self._written - first) :])
            time = None  # the rest of the same frame follows without a gap

    def fill(self, time: float) -> None:
        """Write silence until `time` seconds, if nothing is written yet there."""
        self._write_silence(round((time - self._start) * self._rate))

    def finish(self) -> None:
        """Write what is still missing; no frame may be added afterwards."""
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


def _form_of(source: VideoStream, picture: av.VideoFrame, size: tuple[int, int]) -> PictureForm:
    """Return the form that suits a video by itself."""
    low, high = _FRAME_RATE_RANGE
    rate = min(max(source.average_rate or source.guessed_rate or Fraction(25), Fraction(low)), Fraction(high))
    primaries, transfer = (getattr(picture, name, _UNSPECIFIED) for name in ("color_primaries", "color_trc"))
    return PictureForm(_even(size[0]), _even(size[1]), rate, int(primaries), int(transfer))


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


def _choose_encoder(encoders: Mapping[str, Mapping[str, str]]) -> tuple[str, Mapping[str, str]]:
    """Return the first encoder that this FFmpeg has, and its options."""
    for name, options in encoders.items():
        try:
            Codec(name, "w")
        except (ValueError, av.error.FFmpegError):
            continue
        return name, options
    raise av.error.EncoderNotFoundError(0, "no encoder for MP4")
