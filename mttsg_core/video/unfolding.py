"""Timestamps of a video stream in one ascending line, although its clock may wrap around, start again, jump or fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mttsg_core.moments import FloatArray

NO_STAMP = int(np.iinfo(np.int64).min)  # stands for a timestamp that a packet lacks
MAX_REORDERING = 16  # frames that a codec may decode ahead of their display
# Containers with a timeline that begins at 0 whenever the first frame appears.
OWN_TIMELINE = {"mov"}
# Broadcast containers: their clock may start again, jump and wrap around, and they may begin between keyframes.
_BROADCAST = {"mpegts", "mpegtsraw", "mpeg", "mpegvideo"}
_WRAP = 1 << 33  # ticks after which the clock of a broadcast container starts from 0
_BACKWARD_JUMP = 0.1  # seconds by which a decoding time may fall behind the one before; in broadcasts half a frame
_BACKWARD_JUMP_DISPLAYED = 10.0  # likewise, where only display times are known, which are not in order
_FORWARD_JUMP = 60.0  # seconds without any frame or sound that a broadcast may have
_FORWARD_JUMP_UNANNOUNCED = 3600.0  # likewise for other containers, unless their header announces a duration for it
_MAX_MISSING = 0.1  # share of frames without any timestamp up to which they are left out as damaged
_MAX_OUTLIERS = 8  # damaged timestamps in a row that are told from a clock that starts again

_Stamps = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


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
class Part:
    """A part of a file in which the clock runs without a jump: its range in seconds on the file's own clock.

    Seconds of the file's own clock plus `shift` continue the clock of the first part.
    """

    first: float
    last: float
    shift: float


def lacks_stamps(table: PacketTable) -> bool:
    """Return whether only some packets have timestamps, such as the first one in each block of a program stream."""
    missing = table.displayed & (table.pts == NO_STAMP) & (table.dts == NO_STAMP)
    decoding_times_known = bool((table.dts[table.pts != NO_STAMP] != NO_STAMP).all() and (table.dts != NO_STAMP).any())
    return decoding_times_known and bool(missing.sum() > _MAX_MISSING * table.displayed.sum())


def with_decoding_times(table: PacketTable) -> PacketTable:
    """Return the table with a decoding time in every row, counted from the nearest row before that has one."""
    known = np.flatnonzero(table.dts != NO_STAMP)
    rows, steps = np.arange(len(table.dts)), np.diff(table.dts[known])
    gaps = np.diff(known)
    usual = max(1, int(np.median(np.append((steps // gaps)[steps > 0], table.durations[known]))))
    even = (steps > gaps * usual // 2) & (steps < gaps * usual * 2)  # else the clock jumps between two known times
    interval = np.append(np.where(even, steps / gaps, usual), usual)  # (K,) ticks per row behind each known row
    nearest = np.maximum(np.searchsorted(known, rows, side="right") - 1, 0)
    filled = table.dts[known][nearest] + np.rint((rows - known[nearest]) * interval[nearest]).astype(np.int64)
    return replace(table, dts=filled)


class Unfolding:
    """The timestamps of a stream, continued over the places where its clock wraps around, starts again or jumps.

    Args:
        table: the packets of the stream.
        time_base: seconds of one unit of its timestamps.
        names: FFmpeg's names of the container.
        decoding_order: whether only decoding times are known.
        announced_end: end that the header announces, in seconds of the file's own clock; -inf if it announces none.

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
        self._broadcast, self._may_go_back = bool(names & _BROADCAST), not names & OWN_TIMELINE
        self._by_display = 2 * int((table.dts != NO_STAMP).sum()) < int((table.pts != NO_STAMP).sum())
        self._keys = table.pts if self._by_display else table.dts
        rows = np.flatnonzero(self._keys != NO_STAMP)
        steps = self._difference(self._keys[rows[1:]], self._keys[rows[:-1]])
        self._usual = max(1, int(np.median(steps[steps > 0]))) if (steps > 0).any() else 1
        self._farthest = _FORWARD_JUMP / float(self._time_base) + 2 * MAX_REORDERING * self._usual
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
        if self._by_display:
            back = max(_BACKWARD_JUMP_DISPLAYED / float(self._time_base), (MAX_REORDERING + 1) * self._usual)
        else:
            back = self._usual / 2 if self._broadcast else _BACKWARD_JUMP / float(self._time_base)
        ahead = (_FORWARD_JUMP if self._broadcast else _FORWARD_JUMP_UNANNOUNCED) / float(self._time_base)
        durations = np.minimum(self._table.durations[rows[:-1]], steps)  # a damaged one may be anything
        return np.flatnonzero(((steps < -back) & self._may_go_back) | (steps - durations > ahead)).tolist()

    def _find_outliers(self, rows: npt.NDArray[np.int64]) -> _Flags:
        """Return which of the rows have a damaged timestamp: the clock goes on behind them as it did before them."""
        pts, keys = self._table.pts[rows], self._keys[rows]
        damaged = np.zeros(len(rows), dtype=bool)
        if self._broadcast:  # no frame is displayed before it is decoded, or long after
            ahead = self._difference(pts, keys)
            damaged = (pts != NO_STAMP) & ((ahead < -self._usual) | (ahead > self._farthest))
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
        damaged &= (difference < since - self._usual) | (difference > since + 2 * MAX_REORDERING * self._usual)
        if self._broadcast:
            damaged |= np.abs(difference - since) > self._farthest
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
    ) -> list[Part]:
        added = unwrapped - self._keys[rows] + np.array(shifts)[np.searchsorted(starts, rows, side="right") - 1]  # (R,)
        bounds = [0, *(np.flatnonzero(np.diff(added)) + 1).tolist(), len(rows)]
        parts = []
        for first, stop in pairwise(bounds):
            keys = self._keys[rows[first:stop]]
            low, high, shift = (float(int(v) * self._time_base) for v in (keys.min(), keys.max(), added[first]))
            parts.append(Part(low, high, shift))
        return parts
