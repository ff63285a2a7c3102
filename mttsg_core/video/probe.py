"""Probing: what a video file is, found without decoding more than its first frame."""

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
from mttsg_core.video.container import codec_name, is_displayed, open_video, read_packets, time_base_of, timestamp
from mttsg_core.video.rotation import Orientation, display_size

# Containers whose header states the duration. For others FFmpeg's duration is an estimate.
_STATES_DURATION = {"mov", "matroska", "avi", "flv", "asf"}
# Broadcast containers, which may begin in the middle of a group of pictures. The others begin with a keyframe.
_STARTS_ANYWHERE = {"mpegts", "mpegtsraw", "mpeg", "mpegvideo"}
_MAX_DURATION = 7 * 24 * 3600  # seconds; a later timestamp is damage, and would ask for endless features
_DURATION_TOLERANCE = 1.0  # seconds by which a container may overstate its duration before its end counts as missing
_DEFAULT_INTERVAL = 1 / 25  # seconds a frame is shown if neither it nor its stream says; FFmpeg's own default


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What is known about a video before its frames are decoded.

    Attributes:
        path: the file.
        duration: seconds from time 0 to the end of the last frame: its time plus how long it is shown.
        width: of the frames as displayed, after pixel aspect ratio and rotation, in pixels.
        height: likewise.
        codec: FFmpeg's name of the codec, such as `h264`.
        frame_times: (F,) seconds, ascending, of the displayed frames, as the container gives them. F >= 1.
        rotation: degrees by which stored frames are turned anticlockwise for display, -180..180.
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
    """Read a video's timestamps, packet by packet, and decode its first frame.

    `frame_times` leaves out frames that an edit list cuts off, hidden reference frames, and frames before the first
    keyframe, which no decoder can show. It includes frames that turn out to be damaged: see `Sampling.lost`.

    Args:
        path: a local file, whatever its name looks like; URLs and playlists are not followed.

    Raises:
        VideoNotFoundError: if the file does not exist.
        NotAVideoError: if it is empty, not a video, or has no video stream.
        CorruptVideoError: if it is so truncated or damaged that no frame can be read.
        UnsupportedVideoError: if its codec has no decoder, or it is a raw stream without timestamps.
        VideoError: if the file cannot be read.
    """
    path = Path(path)
    with open_video(path) as (container, stream):
        scan = _PacketScan(path, stream)
        scan.run(read_packets(path, container))
        return scan.info(container)


class _PacketScan:
    """One pass over the packets of a file."""

    def __init__(self, path: Path, stream: VideoStream) -> None:
        self.path, self.stream, self.time_base = path, stream, time_base_of(stream)
        self.codec = codec_name(stream)
        self.stamps, self.durations = array("q"), array("q")
        self.starts_anywhere = bool(_STARTS_ANYWHERE.intersection(stream.container.format.name.split(",")))
        self.first_keyframe: int | None = None  # timestamp of the first keyframe in file order
        self.first_frame: av.VideoFrame | None = None
        self.failure: av.error.FFmpegError | None = None
        self.ends: dict[int, int] = {}  # where the last packet of each stream ends, in units of its time base
        stream.codec_context.thread_count = 1  # enough for a single frame

    def run(self, packets: Iterable[Packet[Stream]]) -> None:
        """Read all packets of all streams."""
        index = self.stream.index
        for packet in packets:
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
            # A damaged keyframe may have lost its keyframe flag, so the flag is required only where it is needed.
            if self.first_keyframe is None and (packet.is_keyframe or not self.starts_anywhere):
                self.first_keyframe = stamp
            if is_displayed(self.codec, packet):
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
        """Return the result of the scan.

        Raises:
            CorruptVideoError: if no frame could be decoded, or a timestamp is impossible.
            UnsupportedVideoError: if the codec has no decoder, or the stream has no timestamps.
        """
        frame = self.first_frame
        if frame is None:
            raise self._no_frame_error()
        if not self.stamps:
            raise UnsupportedVideoError(self.path, "a raw stream without timestamps; remux it into a container")
        stamps, last_duration = self._displayed_stamps(timestamp(frame))
        seconds = to_seconds(stamps, self.time_base)
        seconds.setflags(write=False)
        duration = float(seconds[-1]) + self._last_interval(seconds, last_duration)
        if not 0 < duration <= _MAX_DURATION:
            raise CorruptVideoError(self.path, f"damaged timestamps: the video would last {duration:.6g} s")
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        width, height = display_size(frame.width, frame.height, aspect, Orientation.from_frame(frame))
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

    def _displayed_stamps(self, first_decoded: int | None) -> tuple[npt.NDArray[np.int64], int]:
        """Return the ascending timestamps of displayed frames, and how long the last one is shown (0: unknown)."""
        stamps, durations = np.array(self.stamps, dtype=np.int64), np.array(self.durations, dtype=np.int64)
        last_duration = int(durations[stamps == stamps.max()].max())
        if first_decoded is not None:
            # Frames displayed before the first keyframe refer to frames that are not in the file.
            first = first_decoded if self.first_keyframe is None else min(first_decoded, self.first_keyframe)
            stamps = stamps[stamps >= first] if (stamps >= first).any() else stamps
        return np.unique(stamps), last_duration

    def _last_interval(self, seconds: FloatArray, last_duration: int) -> float:
        """Return the seconds for which the last frame is shown."""
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
        return announced - end if announced - end > _DURATION_TOLERANCE else 0.0

    def _no_frame_error(self) -> VideoError:
        # PatchWelcome: the decoder needs hardware, or a codec feature that FFmpeg lacks.
        unsupported = (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)
        if isinstance(self.failure, unsupported) or (self.failure is not None and self.failure.errno == errno.ENOSYS):
            return UnsupportedVideoError(self.path, f"unsupported video codec {self.codec}")
        return CorruptVideoError(self.path, "truncated or damaged: no frame can be decoded")


def to_seconds(stamps: npt.ArrayLike, time_base: Fraction) -> FloatArray:
    """Convert timestamps of any shape to seconds; the only such formula, so that equal timestamps give equal times.

    >>> to_seconds([0, 3003, 6006], Fraction(1, 90_000))
    array([0.        , 0.03336667, 0.06673333])
    """
    return np.asarray(stamps, dtype=np.float64) * time_base.numerator / time_base.denominator
