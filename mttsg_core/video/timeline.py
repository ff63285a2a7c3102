"""The clock of a video file: the only place where timestamps become seconds.

Time 0 is the container's start time, as for `ffmpeg -ss`, mpv and VLC; times only ascend. What containers store is less
orderly, so a `Clock` is computed from all packets of the video stream, and handles:

- clocks that start anywhere: recorded broadcasts, segments of streams. MP4 and QuickTime have a timeline of their own
  that begins at 0, on which a first frame may come late, so they are counted from that 0 unless it comes very late;
- clocks that start again or jump, where recordings were joined: the parts follow one another without a gap;
- 33-bit clocks of transport and program streams, which wrap around every 26.5 hours;
- containers that store when frames are decoded, not when they are displayed (AVI, ASF), or date only some packets: the
  i-th frame displayed takes the i-th of these times;
- single damaged timestamps, whose frames are left out.

`unfolding` brings the timestamps into one line, and this module makes seconds of them.

To date frames, a decoder is fed packets whose `pts` is their number, from which `FrameDater` finds the time of a frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from mttsg_core.moments import FloatArray
from mttsg_core.video.container import time_base_of, timestamp
from mttsg_core.video.unfolding import (
    MAX_REORDERING,
    NO_STAMP,
    OWN_TIMELINE,
    PacketTable,
    Part,
    Unfolding,
    lacks_stamps,
    with_decoding_times,
)

_Flags = npt.NDArray[np.bool_]

# Containers that store one timestamp per frame, the decoding time.
_DECODING_TIMES = {"avi", "asf", "asf_o"}
# Containers whose header states the duration. For others FFmpeg's duration is an estimate.
_STATES_DURATION = {"mov", "matroska", "avi", "flv", "asf"}
_MAX_DELAY = Fraction(60)  # seconds by which a first frame may come late; if it comes later, the clock starts there
_MAX_START_ERROR = 1  # seconds by which a container's start time may differ from its first packets
_SOUND_SLACK = 0.5  # seconds by which sound may be stored before or after the frames it belongs to
_DEFAULT_INTERVAL = 1 / 25  # seconds a frame is shown if neither it nor its stream says; FFmpeg's own default


@dataclass(frozen=True, eq=False)
class Clock:
    """The times of a file, counted from the container's start time. Created by `read_clock`.

    Attributes:
        frame_times: (F,) seconds, ascending, of the displayed frames.
        end: seconds at which the last frame ends.
        restarts: number of places where the file's own clock starts again or jumps.
        is_linear: whether `seconds` is right for every frame; if not, only a `FrameDater` dates them.
        origin: what the file's own clock says at time 0, in seconds.
        times: (P,) seconds by packet, NaN if it holds no frame to show; where the file stores decoding times, (F,)
            seconds by frame displayed.
        displayed: (P,) whether a packet holds a frame to show, where the file stores decoding times; else None.
        keyframes: (K,) rows of the keyframes, ascending.
        parts: of the file, between the jumps of its clock.
    """

    frame_times: FloatArray
    end: float
    restarts: int
    is_linear: bool
    origin: Fraction
    times: FloatArray = field(repr=False)
    displayed: _Flags | None = field(repr=False)
    keyframes: npt.NDArray[np.int64] = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)

    def seconds(self, stamp: int, time_base: Fraction) -> float:
        """Return the time of a timestamp of any stream on the clock of the file's first part."""
        return float(_to_seconds(np.int64(stamp), time_base, self.origin))

    def stamp(self, seconds: float, time_base: Fraction) -> int:
        """Return the timestamp of a time on the clock of the file's first part, rounded down."""
        return math.floor((Fraction(seconds) + self.origin) / time_base)

    def row_before(self, seconds: float) -> int:
        """Return the row of a packet from which to decode for all frames from the given time on."""
        if self.displayed is None:
            earlier = self.keyframes[self.times[self.keyframes] <= seconds]  # comparisons with NaN are false
            return int(earlier[-1]) if len(earlier) else 0
        place = int(np.searchsorted(self.times, seconds, side="right")) - 1 - MAX_REORDERING
        if place <= 0:
            return 0
        earlier = self.keyframes[self.keyframes <= np.flatnonzero(self.displayed)[place]]
        # Frames around the first keyframe that is decoded may be missing, so their number only counts from the second.
        return int(earlier[-2]) if len(earlier) > 1 else 0


class FrameDater:
    """Dates the frames of one pass over a file's video packets; `label` every packet, from the first one on.

    Args:
        clock: of the file.
    """

    def __init__(self, clock: Clock) -> None:
        self._times = clock.times
        self._order = None if clock.displayed is None else _DisplayOrder(clock.displayed, clock.keyframes)
        self.row = 0  # of the next packet

    def label(self, packet: Packet[Any], *, skipped: bool = False) -> float | None:
        """Number the next packet, so that its frame can be dated, and return the time of that frame.

        The time is NaN if the frame is not displayed, and None if decoding will tell.

        Args:
            packet: the packet.
            skipped: whether it will not be decoded.
        """
        row, self.row = self.row, self.row + 1
        packet.pts = row
        if self._order is not None:
            self._order.add(row, skipped)
            return None
        return float(self._times[row]) if row < len(self._times) else math.nan

    def lost(self) -> None:
        """Take into account that the last packet could not be decoded."""
        if self._order is not None:
            self._order.leave_out(self.row - 1)

    def time(self, frame: av.VideoFrame) -> float | None:
        """Return when a decoded frame is displayed, in seconds; None if it is not, or nobody can say when."""
        place = frame.pts
        if place is not None and self._order is not None:
            place = self._order.place(place)
        if place is None or not 0 <= place < len(self._times):
            return None
        time = float(self._times[place])
        return None if math.isnan(time) else time


class _DisplayOrder:
    """The place of each decoded frame among all frames that are displayed, although some may be lost.

    Decoders return frames in the order of their display. With packets numbered in file order, frame n is displayed in
    place n, plus the number of later packets whose frames come before it, minus that of earlier ones that come after.

    Args:
        displayed: (P,) whether a packet holds a frame to show.
        keyframes: rows of the keyframes.
    """

    def __init__(self, displayed: _Flags, keyframes: npt.NDArray[np.int64]) -> None:
        self._displayed, self._keyframes = displayed, set(keyframes.tolist())
        self._numbers: dict[int, int] = {}  # by row, of the packets whose frames have not come yet
        self._next_number = 0
        self._early: set[int] = set()  # numbers of the frames that came before a frame of an earlier packet
        self._first_row: int | None = None  # that is decoded
        self._places_known = True

    def add(self, row: int, skipped: bool) -> None:
        """Take the next packet into account."""
        if row >= len(self._displayed) or not self._displayed[row]:
            return
        if not skipped:
            if self._first_row is None:
                self._first_row, self._places_known = row, self._next_number == 0
            self._numbers[row] = self._next_number
        self._next_number += 1

    def leave_out(self, row: int) -> None:
        """Expect no frame of a packet any more."""
        self._numbers.pop(row, None)

    def place(self, row: int) -> int | None:
        """Return the place of the frame that the decoder returned for a packet; None if it cannot be told."""
        number = self._numbers.pop(row, None)
        if number is None:
            return None
        is_keyframe = row in self._keyframes
        # Nothing that is decoded before a keyframe is displayed after it.
        earliest = number if is_keyframe else number - MAX_REORDERING
        for other in [other for other, waiting in self._numbers.items() if waiting < earliest]:
            self.leave_out(other)
        later = sum(waiting < number for waiting in self._numbers.values())
        place = number + sum(other > number for other in self._early) - later
        first_waiting = min(self._numbers.values(), default=self._next_number)
        self._early = {other for other in (*self._early, number) if other > first_waiting}
        if is_keyframe and row != self._first_row:
            self._places_known = True
        return place if self._places_known else None


class SoundDater:
    """Continues the timestamps of an audio stream over the places where the clock of its file jumps.

    Args:
        clock: of the file.
        time_base: of the stream.
    """

    def __init__(self, clock: Clock, time_base: Fraction) -> None:
        self._parts, self._time_base = clock.parts, time_base
        self._part = 0
        self._last = -math.inf

    def label(self, packet: Packet[Any]) -> None:
        """Shift the timestamp of the next packet, so that `Clock.seconds` dates its frames."""
        stamp = timestamp(packet)
        if stamp is None or len(self._parts) < 2:
            return
        seconds = float(stamp * self._time_base)
        slack = _SOUND_SLACK
        if seconds < self._last - slack or seconds > self._parts[self._part].last + slack:
            for number in range(self._part + 1, len(self._parts)):
                if self._parts[number].first - slack <= seconds <= self._parts[number].last + slack:
                    self._part, self._last = number, seconds
                    break
        self._last = max(self._last, seconds)
        packet.pts = stamp + round(self._parts[self._part].shift / float(self._time_base))


def read_clock(container: InputContainer, stream: VideoStream, table: PacketTable) -> Clock:
    """Compute the clock of a file whose packets have all been read.

    Args:
        container: the file.
        stream: its video stream.
        table: the packets of that stream; at least one is displayed and has a timestamp.
    """
    names = set(container.format.name.split(","))
    time_base = time_base_of(stream)
    decoding_order = bool(names & _DECODING_TIMES) and stream.codec_context.codec.reorder
    delay = 0
    if lacks_stamps(table):
        first = np.flatnonzero((table.pts != NO_STAMP) & (table.dts != NO_STAMP))[:1]
        delay = int((table.pts[first] - table.dts[first]).sum())
        table = with_decoding_times(table)
        decoding_order = stream.codec_context.codec.reorder
    unfolded = Unfolding(table, time_base, names, decoding_order, announced_end(container))
    stamps, displayed = unfolded.stamps + delay, unfolded.displayed
    order = np.flatnonzero(displayed)
    origin = _find_origin(container, names, table, Fraction(int(stamps[order].min())) * time_base)
    seconds = _to_seconds(stamps, time_base, origin)
    times = np.sort(seconds[order]) if decoding_order else np.where(displayed, seconds, np.nan)
    times.setflags(write=False)
    frame_times = np.unique(seconds[order])
    frame_times.setflags(write=False)
    last = table.durations[order][stamps[order] == stamps[order].max()].max()
    return Clock(
        frame_times=frame_times,
        end=float(frame_times[-1]) + _last_interval(stream, frame_times, float(last * time_base)),
        restarts=unfolded.restarts,
        is_linear=not decoding_order and len(unfolded.parts) == 1 and not unfolded.outliers,
        origin=origin,
        times=times,
        displayed=displayed if decoding_order else None,
        keyframes=np.flatnonzero(table.keyframes),
        parts=tuple(unfolded.parts),
    )


def announced_end(container: InputContainer) -> float:
    """Return the end that the header announces, in seconds of the file's own clock; -inf if it announces none."""
    if container.duration is None or not _STATES_DURATION.intersection(container.format.name.split(",")):
        return -math.inf
    return ((container.start_time or 0) + container.duration) / av.time_base


def _find_origin(container: InputContainer, names: set[str], table: PacketTable, first_frame: Fraction) -> Fraction:
    """Return what the file's own clock says at time 0, in seconds."""
    first = min([first_frame, *(Fraction(float(seconds)) for seconds in table.sound_times[:1])])
    start = first
    if container.start_time is not None:
        rounded = Fraction(container.start_time, av.time_base)
        exact = [Fraction(s.start_time) * time_base_of(s) for s in container.streams if s.start_time is not None]
        start = min(exact, key=lambda seconds: abs(seconds - rounded), default=rounded)
        if abs(start - rounded) > 2 * Fraction(1, av.time_base):
            start = rounded
        if abs(start - first) > _MAX_START_ERROR:  # taken from a stream of a later part
            start = first
    # A file that decodes its first frame at 0 or before is not late: its frames are only reordered.
    if names & OWN_TIMELINE and start <= _MAX_DELAY and (start < 0 or table.dts[0] > 0):
        start = Fraction(0)
    return min(start, first_frame)  # no time is negative


def _last_interval(stream: VideoStream, frame_times: FloatArray, last_duration: float) -> float:
    """Return the seconds for which the last frame is shown."""
    if last_duration > 0:
        return last_duration
    if len(frame_times) > 1:
        return float(np.median(np.diff(frame_times)))
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else _DEFAULT_INTERVAL


def _to_seconds(stamps: npt.ArrayLike, time_base: Fraction, origin: Fraction) -> FloatArray:
    """Convert timestamps of any shape to seconds after `origin`; the only such formula.

    >>> _to_seconds([0, 3003, 6006], Fraction(1, 90_000), Fraction(0))
    array([0.        , 0.03336667, 0.06673333])
    """
    ticks, rest = divmod(origin, time_base)
    seconds: FloatArray = np.asarray(np.asarray(stamps) - ticks, dtype=np.float64)
    seconds = seconds * time_base.numerator / time_base.denominator
    return seconds - float(rest) if rest else seconds
