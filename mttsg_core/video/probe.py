"""Probing: what a video file is, found without decoding more than its first frame."""

from __future__ import annotations

import errno
import logging
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from mttsg_core.errors import CorruptVideoError, UnsupportedVideoError, VideoError
from mttsg_core.moments import FloatArray
from mttsg_core.video.container import codec_name, is_displayed, open_video, read_packets, time_base_of, timestamp
from mttsg_core.video.rotation import Orientation, display_size
from mttsg_core.video.timeline import Clock, announced_end, read_clock
from mttsg_core.video.unfolding import NO_STAMP, PacketTable

_MAX_DURATION = 7 * 24 * 3600  # seconds; a later timestamp is damage, and would ask for endless features
_DURATION_TOLERANCE = 1.0  # seconds by which a container may overstate its duration before its end counts as missing

_log = logging.getLogger("mttsg")


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What is known about a video before its frames are decoded.

    Attributes:
        path: the file.
        duration: seconds from time 0 to the end of the last frame: its time plus how long it is shown.
        width: of the frames as displayed, after pixel aspect ratio and rotation, in pixels.
        height: likewise.
        codec: FFmpeg's name of the codec, such as `h264`.
        frame_times: (F,) seconds, ascending, of the displayed frames. F >= 1.
        rotation: degrees by which stored frames are turned anticlockwise for display, -180..180.
        sample_aspect: width of a stored pixel divided by its height.
        missing_end: seconds that the container announces beyond its last packet; more than 0 if the file is truncated.
        clock: dates the frames as they are decoded.
    """

    path: Path
    duration: float
    width: int
    height: int
    codec: str
    frame_times: FloatArray = field(repr=False)
    clock: Clock = field(repr=False)
    rotation: int = 0
    sample_aspect: Fraction = Fraction(1)
    missing_end: float = 0.0

    @property
    def start(self) -> float:
        """Seconds at which the first frame appears."""
        return float(self.frame_times[0])

    @property
    def clock_restarts(self) -> int:
        """Number of places where the file's clock starts again or jumps: joins of recordings, which are continued."""
        return self.clock.restarts


def probe(path: str | Path) -> VideoInfo:
    """Read a video's timestamps, packet by packet, and decode its first frame. Warn if its clock starts again.

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
    info = scan(path)
    if info.clock_restarts:
        count = "once" if info.clock_restarts == 1 else f"{info.clock_restarts} times"
        _log.warning("%s: its clock starts again or jumps %s; the parts follow one another without a gap", path, count)
    return info


def scan(path: str | Path) -> VideoInfo:
    """Do what `probe` does, without the warning, for files that have been probed before."""
    path = Path(path)
    with open_video(path) as (container, stream):
        packets = _PacketScan(path, stream)
        packets.run(read_packets(path, container))
        return packets.info(container)


class _PacketScan:
    """One pass over the packets of a file."""

    def __init__(self, path: Path, stream: VideoStream) -> None:
        self.path, self.stream = path, stream
        self.codec = codec_name(stream)
        self.pts, self.dts, self.durations = array("q"), array("q"), array("q")
        self.displayed, self.keyframes = bytearray(), bytearray()
        self.sound_times = array("d")
        self.first_frame: av.VideoFrame | None = None
        self.failure: av.error.FFmpegError | None = None
        self.ends: dict[int, int] = {}  # where the last packet of each stream ends, in units of its time base
        stream.codec_context.thread_count = 1  # enough for a single frame

    def run(self, packets: Iterable[Packet[Stream]]) -> None:
        """Read all packets of all streams."""
        index = self.stream.index
        sound = {stream.index: float(time_base_of(stream)) for stream in self.stream.container.streams.audio}
        for packet in packets:
            stamp = timestamp(packet)
            if stamp is not None:
                end = stamp + (packet.duration or 0)
                self.ends[packet.stream_index] = max(self.ends.get(packet.stream_index, end), end)
                if packet.stream_index in sound:
                    self.sound_times.append(stamp * sound[packet.stream_index])
            if packet.stream_index != index:
                continue
            self.pts.append(NO_STAMP if packet.pts is None else packet.pts)
            self.dts.append(NO_STAMP if packet.dts is None else packet.dts)
            self.durations.append(packet.duration or 0)
            self.displayed.append(is_displayed(self.codec, packet))
            self.keyframes.append(packet.is_keyframe)
            if self.first_frame is None:
                packet.pts = len(self.pts) - 1  # the frame's timestamp will be the packet's number
                self._decode(packet)
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
        table = PacketTable(
            pts=np.array(self.pts, dtype=np.int64),
            dts=np.array(self.dts, dtype=np.int64),
            durations=np.array(self.durations, dtype=np.int64),
            displayed=np.array(self.displayed, dtype=bool),
            keyframes=np.array(self.keyframes, dtype=bool),
            first_decoded=frame.pts,
            sound_times=np.array(self.sound_times, dtype=np.float64),
        )
        if not (table.displayed & ((table.pts != NO_STAMP) | (table.dts != NO_STAMP))).any():
            raise UnsupportedVideoError(self.path, "a raw stream without timestamps; remux it into a container")
        clock = read_clock(container, self.stream, table)
        if not 0 < clock.end <= _MAX_DURATION:
            raise CorruptVideoError(self.path, f"damaged timestamps: the video would last {clock.end:.6g} s")
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        width, height = display_size(frame.width, frame.height, aspect, Orientation.from_frame(frame))
        return VideoInfo(
            path=self.path,
            duration=clock.end,
            width=width,
            height=height,
            codec=self.codec,
            frame_times=clock.frame_times,
            clock=clock,
            rotation=frame.rotation,
            sample_aspect=aspect,
            missing_end=self._missing_end(container),
        )

    def _missing_end(self, container: InputContainer) -> float:
        """Return the seconds from the last packet of any stream to the end that the header announces."""
        announced = announced_end(container)
        ends = [float(end * time_base_of(container.streams[index])) for index, end in self.ends.items()]
        missing = max(0.0, announced - max(ends))
        return missing if missing > _DURATION_TOLERANCE else 0.0

    def _no_frame_error(self) -> VideoError:
        # PatchWelcome: the decoder needs hardware, or a codec feature that FFmpeg lacks.
        unsupported = (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)
        if isinstance(self.failure, unsupported) or (self.failure is not None and self.failure.errno == errno.ENOSYS):
            return UnsupportedVideoError(self.path, f"unsupported video codec {self.codec}")
        return CorruptVideoError(self.path, "truncated or damaged: no frame can be decoded")
