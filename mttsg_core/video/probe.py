"""What a video file is, without decoding more than its first frame."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from mttsg_core.errors import CorruptVideoError, UnsupportedVideoError, VideoError
from mttsg_core.moments import FloatArray
from mttsg_core.video.container import codec_name, open_video, packets, shows_picture, time_base_of, timestamp
from mttsg_core.video.rgb import Orientation, display_size

# Containers whose header says how long they are. Of others FFmpeg's duration is an estimate.
_STATES_DURATION = {"mov", "matroska", "avi", "flv", "asf"}
# Containers of broadcasts, which may begin in the middle of a group of pictures. The others begin with a keyframe.
_BEGINS_ANYWHERE = {"mpegts", "mpegtsraw", "mpeg", "mpegvideo"}
_LONGEST = 7 * 24 * 3600  # seconds; a time stamp beyond it is damage, and would ask for endless features
_TOLERATED_GAP = 1.0  # seconds by which a container's stated duration may exceed its content: they are not exact
_DEFAULT_INTERVAL = 1 / 25  # seconds a frame is shown where neither it nor its stream says; FFmpeg's own default


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What is known of a video before its frames are decoded.

    Attributes:
        path: the file.
        duration: seconds from time 0 to the end of the last frame: its time plus how long it is shown.
        width: of the picture as displayed, after pixel aspect and rotation, in pixels.
        height: likewise.
        codec: FFmpeg's name of the codec, such as `h264`.
        frame_times: (F,) seconds, ascending, of the frames that are shown, from the container. F >= 1.
        rotation: degrees by which the stored picture is turned anticlockwise for display, -180..180.
        sample_aspect: width of a stored pixel divided by its height.
        missing_end: seconds that the container announces beyond its last packet; more than 0 if the file is truncated.
    """

    path: Path
    duration: float
    width: int
    height: int
    codec: str
    frame_times: FloatArray = field(repr=False)
    rotation: int = 0
    sample_aspect: Fraction = Fraction(1)
    missing_end: float = 0.0

    @property
    def start(self) -> float:
        """Seconds at which the first frame appears."""
        return float(self.frame_times[0])


def probe(path: str | Path) -> VideoInfo:
    """Read a video's index, packet by packet, and decode its first frame.

    Frames that an edit list cuts off, hidden reference frames, and frames before the first keyframe that no decoder can
    show are left out of `frame_times`. Frames that turn out to be damaged are not: see `Sampling.lost`.

    Args:
        path: of a local file, whatever its name looks like; addresses and playlists are not followed.

    Raises:
        VideoNotFoundError: no such file.
        NotAVideoError: empty, not a video, or without a video stream.
        CorruptVideoError: truncated or damaged so that no frame can be read.
        UnsupportedVideoError: no decoder for its codec, or a stream without time stamps.
        VideoError: the file cannot be read.
    """
    path = Path(path)
    with open_video(path) as (container, stream):
        scan = _Scan(path, stream)
        scan.run(packets(path, container))
        return scan.info(container)


class _Scan:
    """One pass over the packets of a file."""

    def __init__(self, path: Path, stream: VideoStream) -> None:
        self.path, self.stream, self.time_base = path, stream, time_base_of(stream)
        self.codec = codec_name(stream)
        self.stamps, self.durations = array("q"), array("q")
        self.begins_anywhere = bool(_BEGINS_ANYWHERE.intersection(stream.container.format.name.split(",")))
        self.entry: int | None = None  # time stamp of the first keyframe in file order
        self.first_frame: av.VideoFrame | None = None
        self.failure: av.error.FFmpegError | None = None
        self.ends: dict[int, int] = {}  # of the last packet of each stream, in its own unit
        stream.codec_context.thread_count = 1  # a single frame needs no more

    def run(self, found: Iterable[Packet[Stream]]) -> None:
        """Take in all packets of all streams."""
        index = self.stream.index
        for packet in found:
            stamp = timestamp(packet)
            if stamp is not None:
                end = stamp + (packet.duration or 0)
                self.ends[packet.stream_index] = max(self.ends.get(packet.stream_index, end), end)
            if packet.stream_index != index:
                continue
            if self.first_frame is None:
                self._decode(packet)
            if stamp is None:
                continue
            # A damaged keyframe may no longer be marked as one, so the mark counts only where it is needed.
            if self.entry is None and (packet.is_keyframe or not self.begins_anywhere):
                self.entry = stamp
            if shows_picture(self.codec, packet):
                self.stamps.append(stamp)
                self.durations.append(packet.duration or 0)
        if self.first_frame is None:
            self._decode(None)

    def _decode(self, packet: Packet[Stream] | None) -> None:
        try:
            frames = self.stream.codec_context.decode(packet)
        except av.error.FFmpegError as error:
            self.failure = self.failure or error
            return
        self.first_frame = frames[0] if frames else None

    def info(self, container: InputContainer) -> VideoInfo:
        """The result.

        Raises:
            CorruptVideoError: there was no frame, or its time is impossible.
            UnsupportedVideoError: there was no way to decode or to date them.
        """
        frame = self.first_frame
        if frame is None:
            raise self._no_frame()
        if not self.stamps:
            raise UnsupportedVideoError(self.path, "a bare stream without time stamps; put it into a container")
        stamps, last_duration = self._shown(timestamp(frame))
        seconds = to_seconds(stamps, self.time_base)
        seconds.setflags(write=False)
        duration = float(seconds[-1]) + self._shown_for(seconds, last_duration)
        if not 0 < duration <= _LONGEST:
            raise CorruptVideoError(self.path, f"damaged time stamps: it would last {duration:.6g} s")
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        width, height = display_size(frame.width, frame.height, aspect, Orientation.of(frame))
        return VideoInfo(
            path=self.path,
            duration=duration,
            width=width,
            height=height,
            codec=self.codec,
            frame_times=seconds,
            rotation=frame.rotation,
            sample_aspect=aspect,
            missing_end=self._missing_end(container, duration),
        )

    def _shown(self, first_decoded: int | None) -> tuple[npt.NDArray[np.int64], int]:
        """Ascending time stamps of the frames to show, and how long the last is shown (0: unknown)."""
        stamps, durations = np.array(self.stamps, dtype=np.int64), np.array(self.durations, dtype=np.int64)
        last_duration = int(durations[stamps == stamps.max()].max())
        if first_decoded is not None:
            # What is shown before the first keyframe refers to frames that are not in the file.
            first = first_decoded if self.entry is None else min(first_decoded, self.entry)
            stamps = stamps[stamps >= first] if (stamps >= first).any() else stamps
        return np.unique(stamps), last_duration

    def _shown_for(self, seconds: FloatArray, last_duration: int) -> float:
        if last_duration > 0:
            return float(last_duration * self.time_base)
        if len(seconds) > 1:
            return float(np.median(np.diff(seconds)))
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(1 / rate) if rate else _DEFAULT_INTERVAL

    def _missing_end(self, container: InputContainer, end: float) -> float:
        if container.duration is None or not _STATES_DURATION.intersection(container.format.name.split(",")):
            return 0.0
        announced = ((container.start_time or 0) + container.duration) / av.time_base
        for index, last in self.ends.items():
            end = max(end, float(last * (container.streams[index].time_base or 0)))
        return announced - end if announced - end > _TOLERATED_GAP else 0.0

    def _no_frame(self) -> VideoError:
        # A decoder that needs hardware, or a feature that FFmpeg lacks; and no decoder.
        unable = (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)
        if isinstance(self.failure, unable) or (self.failure is not None and self.failure.errno == errno.ENOSYS):
            return UnsupportedVideoError(self.path, f"unsupported video codec {self.codec}")
        return CorruptVideoError(self.path, "truncated or damaged: no frame can be decoded")


def to_seconds(stamps: npt.ArrayLike, time_base: Fraction) -> FloatArray:
    """Time stamps to seconds, any shape; the one formula, so that equal stamps are equal times."""
    return np.asarray(stamps, dtype=np.float64) * time_base.numerator / time_base.denominator
