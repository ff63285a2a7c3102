"""The clock of a video file: the only place where timestamps become seconds.

Time 0 is the container's start time, as for `ffmpeg -ss`, mpv and VLC; times only ascend. What containers store is less
orderly, so a `Clock` is computed from all packets of the video stream, and handles:

- clocks that start anywhere: recorded broadcasts, segments of streams. MP4 and QuickTime have a timeline of their own
  that begins at 0, on which a first frame may come late, so they are counted from that 0 unless it comes very late;
- clocks that start again or jump, where recordings were joined: the parts follow one another without a gap;
- 33-bit clocks of transport and program streams, which wrap around every 26.5 hours;
- containers that store when frames are decoded, not when they are displayed (AVI, ASF): the i-th frame displayed takes
  the i-th of these times;
- single damaged timestamps, whose frames are left out.

To date frames, a decoder is fed packets whose `pts` is their number, from which `FrameDater` finds the time of a frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from mttsg_core.moments import FloatArray
from mttsg_core.video.container import time_base_of, timestamp

NO_STAMP = int(np.iinfo(np.int64).min)  # stands for a timestamp that a packet lacks
_Stamps = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]

# Containers that store one timestamp per frame, the decoding time.
_DECODING_TIMES = {"avi", "asf", "asf_o"}
# Containers with a timeline that begins at 0 whenever the first frame appears, and how late that may be (seconds).
_OWN_TIMELINE, _MAX_DELAY = {"mov"}, Fraction(60)
# Containers whose header states the duration. For others FFmpeg's duration is an estimate.
_STATES_DURATION = {"mov", "matroska", "avi", "flv", "asf"}
# Broadcast containers: their clock may start again, jump and wrap around, and they may begin between keyframes.
_BROADCAST = {"mpegts", "mpegtsraw", "mpeg", "mpegvideo"}
_WRAP = 1 << 33  # ticks after which the clock of a broadcast container starts from 0
_BACKWARD_JUMP = 0.1  # seconds by which a decoding time may fall behind the one before; in broadcasts half a frame
_BACKWARD_JUMP_DISPLAYED = 10.0  # likewise, where only display times are known, which are not in order
_FORWARD_JUMP = 60.0  # seconds without any frame or sound that a broadcast may have
_FORWARD_JUMP_UNANNOUNCED = 3600.0  # likewise for other containers, unless their header announces a duration for it
_MAX_MISSING = 0.1  # share of frames without any timestamp up to which they are left out as damaged
_MAX_DISPLAY_DELAY = 10.0  # seconds from decoding a frame to its display; more is damage
_MAX_START_ERROR = 1  # seconds by which a container's start time may differ from its first packets
_SOUND_SLACK = 0.5  # seconds by which sound may be stored before or after the frames it belongs to
_DEFAULT_INTERVAL = 1 / 25  # seconds a frame is shown if neither it nor its stream says; FFmpeg's own default
_MAX_OUTLIERS = 8  # damaged timestamps in a row that are told from a clock that starts again
_MAX_REORDERING = 16  # frames that a codec may decode ahead of their display


@dataclass(frozen=True, eq=False)
class PacketTable:
    """What the packets of a video stream say; one row per packet, in file order.

    Attributes:
        pts: (P,) when the frame is displayed, in units of the stream's time base, or NO_STAMP.
        dts: (P,) when it is decoded, likewise.
        durations: (P,) how long it is displayed, 0 if unknown.
        displayed: (P,) whether the packet holds a frame to show.
        keyframes: (P,) whether it is a keyframe.
        first_decoded: row of the first frame that the decoder returned, or None.
        sound_times: (S,) seconds of the packets of all audio streams in file order, on the file's own clock.
    """

    pts: _Stamps
    dts: _Stamps
    durations: _Stamps
    displayed: _Flags
    keyframes: _Flags
    first_decoded: int | None
    sound_times: FloatArray


@dataclass(frozen=True)
class _Part:
    """A part of a file in which the clock runs without a jump: its range in seconds on the file's own clock.

    Seconds of the file's own clock plus `shift` continue the clock of the first part.
    """

    first: float
    last: float
    shift: float


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
    parts: tuple[_Part, ...] = field(repr=False)

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
        place = int(np.searchsorted(self.times, seconds, side="right")) - 1 - _MAX_REORDERING
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
        self._reordering = 0  # by how many frames a frame came early, at most
        self._returned = 0
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

    def place(self, row: int) -> int | None:
        """Return the place of the frame that the decoder returned for a packet; None if it cannot be told."""
        number = self._numbers.pop(row, None)
        if number is None:
            return None
        self._returned += 1
        self._reordering = max(self._reordering, max(self._early, default=number) - number)
        is_keyframe = row in self._keyframes
        # Nothing that is decoded before a keyframe is displayed after it.
        settled = self._returned > 2 * _MAX_REORDERING
        wait = 0 if is_keyframe else self._reordering if settled else _MAX_REORDERING
        lost = [other for other, waiting in self._numbers.items() if waiting < number - wait]
        for other in lost:
            del self._numbers[other]
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
    if _lacks_stamps(table):
        first = np.flatnonzero((table.pts != NO_STAMP) & (table.dts != NO_STAMP))[:1]
        delay = int((table.pts[first] - table.dts[first]).sum())
        table = _with_decoding_times(table)
        decoding_order = stream.codec_context.codec.reorder
    unfolded = _Unfolding(table, time_base, names, decoding_order, announced_end(container))
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


def _lacks_stamps(table: PacketTable) -> bool:
    """Return whether only some packets have timestamps, such as the first one in each block of a program stream."""
    missing = table.displayed & (table.pts == NO_STAMP) & (table.dts == NO_STAMP)
    return bool(missing.sum() > _MAX_MISSING * table.displayed.sum())


def _with_decoding_times(table: PacketTable) -> PacketTable:
    """Return the table with a decoding time in every row, counted from the nearest row before that has one."""
    known = np.flatnonzero(table.dts != NO_STAMP)
    if not len(known):
        return table
    rows, steps = np.arange(len(table.dts)), np.diff(table.dts[known])
    gaps = np.diff(known)
    usual = max(1, int(np.median(np.append((steps // gaps)[steps > 0], table.durations[known]))))
    even = (steps > gaps * usual // 2) & (steps < gaps * usual * 2)  # else the clock jumps between two known times
    interval = np.append(np.where(even, steps / gaps, usual), usual)  # (K,) ticks per row behind each known row
    nearest = np.maximum(np.searchsorted(known, rows, side="right") - 1, 0)
    filled = table.dts[known][nearest] + np.rint((rows - known[nearest]) * interval[nearest]).astype(np.int64)
    return replace(table, dts=filled)


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
    if names & _OWN_TIMELINE and start <= _MAX_DELAY and (start < 0 or table.dts[0] > 0):
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


class _Unfolding:
    """The timestamps of a stream, continued over the places where its clock wraps around, starts again or jumps.

    Attributes:
        stamps: (P,) when each frame is displayed (or decoded, in decoding order), in units of the time base.
        displayed: (P,) whether the packet holds a frame to show, whose timestamp is known.
        restarts: number of places where the clock starts again or jumps.
        outliers: whether packets have damaged timestamps.
        parts: between the places where what is added to timestamps changes.
    """

    def __init__(
        self, table: PacketTable, time_base: Fraction, names: set[str], decoding_order: bool, announced_end: float
    ) -> None:
        self._table, self._time_base, self._end = table, time_base, announced_end
        self._broadcast, self._may_go_back = bool(names & _BROADCAST), not names & _OWN_TIMELINE
        self._by_display = 2 * int((table.dts != NO_STAMP).sum()) < int((table.pts != NO_STAMP).sum())
        self._keys = table.pts if self._by_display else table.dts
        rows = np.flatnonzero(self._keys != NO_STAMP)
        steps = self._difference(self._keys[rows[1:]], self._keys[rows[:-1]])
        self._usual = max(1, int(np.median(steps[steps > 0]))) if (steps > 0).any() else 1
        damaged = self._find_outliers(rows)
        rows, self.outliers = rows[~damaged], bool(damaged.any())
        steps = self._difference(self._keys[rows[1:]], self._keys[rows[:-1]])
        unwrapped = self._keys[rows[:1]] + np.concatenate([[0], np.cumsum(steps)])  # (R,)
        self.stamps, dated = self._place(rows, unwrapped, decoding_order)
        self.displayed = table.displayed & dated
        starts = [0, *(int(rows[jump + 1]) for jump in self._jumps(rows, steps) if self._is_restart(rows, steps, jump))]
        self.restarts = len(starts) - 1
        self._leave_out_broken_frames(starts, decoding_order)
        shifts = self._join(starts)
        self.parts = self._find_parts(rows, unwrapped, starts, shifts)

    def _difference(self, later: _Stamps, earlier: _Stamps) -> _Stamps:
        """Return the ticks from one timestamp to another, across the wrapping around of the clock."""
        difference = later - earlier
        return (difference + _WRAP // 2) % _WRAP - _WRAP // 2 if self._broadcast else difference

    def _jumps(self, rows: npt.NDArray[np.int64], steps: _Stamps) -> list[int]:
        """Return the indices of steps that are too large, or go back too far."""
        back = (_BACKWARD_JUMP_DISPLAYED if self._by_display else _BACKWARD_JUMP) / float(self._time_base)
        if self._broadcast and not self._by_display:
            back = self._usual / 2
        ahead = (_FORWARD_JUMP if self._broadcast else _FORWARD_JUMP_UNANNOUNCED) / float(self._time_base)
        durations = np.minimum(self._table.durations[rows[:-1]], steps)  # a damaged one may be anything
        return np.flatnonzero(((steps < -back) & self._may_go_back) | (steps - durations > ahead)).tolist()

    def _find_outliers(self, rows: npt.NDArray[np.int64]) -> _Flags:
        """Return which of the rows have a damaged timestamp: the clock goes on behind them as it did before them."""
        pts, keys = self._table.pts[rows], self._keys[rows]
        ahead = self._difference(pts, keys)  # of its decoding is when a frame is displayed
        farthest = max(_MAX_DISPLAY_DELAY / float(self._time_base), 2 * _MAX_REORDERING * self._usual)
        damaged = (pts != NO_STAMP) & ((ahead < -self._usual) | (ahead > farthest))
        if damaged.all():
            damaged[:] = False
        good = np.flatnonzero(~damaged)
        keys = keys[good]
        for jump in self._jumps(rows[good], self._difference(keys[1:], keys[:-1])):
            if damaged[good[jump]]:
                continue
            after = np.arange(2, min(_MAX_OUTLIERS + 2, len(keys) - jump))  # steps from the last one before the jump
            expected = after * self._usual
            matches = np.abs(self._difference(keys[jump + after], keys[jump]) - expected) <= 3 * self._usual // 2
            if matches.any():
                damaged[good[jump + 1 : jump + after[matches.argmax()]]] = True
                continue
            before = np.arange(1, min(_MAX_OUTLIERS, jump) + 1)  # it may come back from less than a jump ahead
            expected = (before + 1) * self._usual
            matches = np.abs(self._difference(keys[jump + 1], keys[jump - before]) - expected) <= 3 * self._usual // 2
            if matches.any():
                damaged[good[jump - before[matches.argmax()] + 1 : jump + 1]] = True
        return damaged

    def _place(self, rows: npt.NDArray[np.int64], unwrapped: _Stamps, decoding_order: bool) -> tuple[_Stamps, _Flags]:
        """Return the timestamps of all packets, and which of them can be trusted; `rows` are those with a sound key."""
        table = self._table
        stamps = table.dts if decoding_order else np.where(table.pts == NO_STAMP, table.dts, table.pts)
        dated = stamps != NO_STAMP
        nearest = np.maximum(np.searchsorted(rows, np.arange(len(stamps)), side="right") - 1, 0)
        since = (np.arange(len(stamps)) - rows[nearest]) * self._usual
        difference = self._difference(stamps, self._keys[rows[nearest]])
        damaged = self._keys != NO_STAMP
        damaged[rows] = False
        damaged &= (difference < since - self._usual) | (difference > since + 2 * _MAX_REORDERING * self._usual)
        if self._broadcast:
            farthest = max(_MAX_DISPLAY_DELAY / float(self._time_base), 2 * _MAX_REORDERING * self._usual)
            damaged |= np.abs(difference - since) > farthest
        if decoding_order:  # the number of frames counts, so none is left out
            return unwrapped[nearest] + np.where(damaged, since, difference), dated
        dated = dated & ~damaged if (dated & ~damaged & table.displayed).any() else dated
        return unwrapped[nearest] + np.where(dated, difference, 0), dated

    def _is_restart(self, rows: npt.NDArray[np.int64], steps: _Stamps, jump: int) -> bool:
        """Return whether the clock itself jumps, rather than that the video pauses or a frame stays for long."""
        if steps[jump] < 0:
            return True
        first, last = (float(int(self._keys[rows[row]]) * self._time_base) for row in (jump, jump + 1))
        if last <= self._end + 1:
            return False
        sound = self._table.sound_times
        return not ((sound > first + 1) & (sound < last - 1)).any()

    def _leave_out_broken_frames(self, starts: list[int], decoding_order: bool) -> None:
        """Mark frames as not displayed that refer to frames before their part of the file."""
        table, stamps = self._table, self.stamps
        if decoding_order:
            return
        has_stamp = (table.pts != NO_STAMP) | (table.dts != NO_STAMP)
        # A damaged keyframe may have lost its flag, so the flag is required only where it is needed.
        usable = has_stamp & table.keyframes if self._broadcast else has_stamp
        for first, stop in zip(starts, [*starts[1:], len(stamps)], strict=True):
            keyframes = first + np.flatnonzero(usable[first:stop])
            if first and not (self._broadcast and len(keyframes)):
                continue
            decoded = [table.first_decoded] if not first and table.first_decoded is not None else []
            lowest = min((int(stamps[row]) for row in (*keyframes[:1], *decoded)), default=None)
            if lowest is None:
                continue
            remaining = self.displayed[first:stop] & (stamps[first:stop] >= lowest)
            if first:
                remaining[: keyframes[0] - first] = False
            if remaining.any():
                self.displayed[first:stop] = remaining

    def _join(self, starts: list[int]) -> list[int]:
        """Shift each part to the end of the one before it; return by how much."""
        shifts: list[int] = []
        end: int | None = None
        for first, stop in zip(starts, [*starts[1:], len(self.stamps)], strict=True):
            rows = first + np.flatnonzero(self.displayed[first:stop])
            shift = shifts[-1] if shifts else 0
            if len(rows):
                if end is not None:
                    shift = end - int(self.stamps[rows].min())
                self.stamps[first:stop] += shift
                last = rows[self.stamps[rows].argmax()]
                duration = int(self._table.durations[last])
                limit = _FORWARD_JUMP / float(self._time_base)
                end = int(self.stamps[last]) + (duration if 0 < duration < limit else self._usual)
            shifts.append(shift)
        return shifts

    def _find_parts(
        self, rows: npt.NDArray[np.int64], unwrapped: _Stamps, starts: list[int], shifts: list[int]
    ) -> list[_Part]:
        added = unwrapped - self._keys[rows] + np.array(shifts)[np.searchsorted(starts, rows, side="right") - 1]  # (R,)
        bounds = [0, *(np.flatnonzero(np.diff(added)) + 1).tolist(), len(rows)]
        parts = []
        for first, stop in pairwise(bounds):
            keys = self._keys[rows[first:stop]]
            low, high, shift = (float(int(v) * self._time_base) for v in (keys.min(), keys.max(), added[first]))
            parts.append(_Part(low, high, shift))
        return parts


def _to_seconds(stamps: npt.ArrayLike, time_base: Fraction, origin: Fraction) -> FloatArray:
    """Convert timestamps of any shape to seconds after `origin`; the only such formula.

    >>> _to_seconds([0, 3003, 6006], Fraction(1, 90_000), Fraction(0))
    array([0.        , 0.03336667, 0.06673333])
    """
    ticks, rest = divmod(origin, time_base)
    seconds: FloatArray = np.asarray(np.asarray(stamps) - ticks, dtype=np.float64)
    seconds = seconds * time_base.numerator / time_base.denominator
    return seconds - float(rest) if rest else seconds
