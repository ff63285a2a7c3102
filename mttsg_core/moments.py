"""Moments in seconds, and the conversion between seconds and clip units.

A video of `duration` seconds is divided into `clips` equal bins. One *clip unit* is the length of a bin: position 0 is
the start of the video and position `clips` its end. Positions are real numbers, so converting a time never rounds it.
The bins of extracted and external features are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import DataError

FloatArray = npt.NDArray[np.float64]

_EDGE_DECIMALS = 6  # of positions in clip units, so that stretches of whole clips take nothing of their neighbours


class Moment(NamedTuple):
    """A span of a video in seconds. A predicted moment has a score in 0..1.

    >>> moment = Moment(3.5, 8.0, score=0.9)
    >>> moment.duration
    4.5
    """

    start: float
    end: float
    score: float = 1.0

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Timeline:
    """The division of a video into clips of equal length.

    Attributes:
        duration: seconds from the first clip's start to the last clip's end.
        clips: number of clips.
        start: seconds at which the first clip starts.

    Raises:
        DataError: if there is no clip, or the duration is not a positive number.

    >>> timeline = Timeline(duration=10.0, clips=5)
    >>> timeline.seconds_per_clip
    2.0
    >>> timeline.to_clips([3.0, 10.0]).tolist()
    [1.5, 5.0]
    >>> timeline.to_seconds([1.5, 5.0]).tolist()
    [3.0, 10.0]
    """

    duration: float
    clips: int
    start: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.duration) and self.duration > 0):
            raise DataError(f"a video's duration must be a positive number of seconds, not {self.duration}")
        if self.clips < 1:
            raise DataError(f"a video must have at least one clip, not {self.clips}")

    @classmethod
    def at_rate(cls, duration: float, clips_per_second: float, start: float = 0.0) -> Timeline:
        """Return the timeline with the whole number of clips, at least one, closest to a rate.

        >>> Timeline.at_rate(10.2, clips_per_second=2.0).clips
        20
        """
        return cls(duration, max(1, round(duration * clips_per_second)), start)

    @property
    def seconds_per_clip(self) -> float:
        """Length of a clip in seconds."""
        return self.duration / self.clips

    @property
    def end(self) -> float:
        """Seconds at which the last clip ends."""
        return self.start + self.duration

    def to_clips(self, seconds: npt.ArrayLike) -> FloatArray:
        """Convert seconds to clip units, any shape."""
        return (np.asarray(seconds, dtype=np.float64) - self.start) / self.duration * self.clips

    def to_seconds(self, clip_units: npt.ArrayLike) -> FloatArray:
        """Convert clip units to seconds, any shape; the inverse of `to_clips`."""
        return np.asarray(clip_units, dtype=np.float64) / self.clips * self.duration + self.start

    def averages(self, values: npt.ArrayLike, seconds: float, count: int) -> FloatArray:
        """Return the mean of a value per clip over stretches of equal length that start at 0 s, (count,).

        Of a stretch that the video covers in part, that part counts; where it is outside the video, the nearest clip.

        >>> Timeline(duration=6.0, clips=6).averages([1, 2, 3, 4, 5, 7], seconds=2.0, count=4).tolist()
        [1.5, 3.5, 6.0, 7.0]

        Args:
            values: (clips,).
            seconds: length of a stretch.
            count: number of stretches.
        """
        curve = np.asarray(values, dtype=np.float64)
        edges = np.round(self.to_clips(seconds * np.arange(count + 1)), _EDGE_DECIMALS)  # (count + 1,) in clip units
        points = np.unique(np.concatenate([edges.clip(0, self.clips), np.arange(self.clips + 1.0)]))
        middles, lengths = (points[:-1] + points[1:]) / 2, np.diff(points)  # of pieces, each of one clip
        stretch = np.searchsorted(edges, middles, side="right") - 1
        inside = (stretch >= 0) & (stretch < count)
        stretch, lengths = stretch[inside], lengths[inside]
        sums = np.bincount(stretch, lengths * curve[middles[inside].astype(np.intp)], minlength=count)
        covered = np.bincount(stretch, lengths, minlength=count)  # (count,) in clip units
        nearest = curve[edges[:-1].clip(0, self.clips - 1).astype(np.intp)]
        return np.divide(sums, covered, out=nearest, where=covered > 0)

    def sample_times(self, per_clip: int = 1) -> FloatArray:
        """Return the times of `per_clip` frames spread evenly in each clip: (clips * per_clip,) seconds, ascending.

        >>> Timeline(duration=4.0, clips=2).sample_times(2).tolist()
        [0.5, 1.5, 2.5, 3.5]
        """
        return self.to_seconds((np.arange(self.clips * per_clip) + 0.5) / per_clip)


def span_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Return the temporal intersection over union of spans (..., 2) and spans (..., 2), broadcast.

    It is 0 where the union is empty.

    >>> float(span_iou((0.0, 4.0), (2.0, 6.0)))
    0.3333333333333333
    >>> span_iou([(0.0, 4.0), (4.0, 8.0)], (0.0, 4.0)).tolist()
    [1.0, 0.0]
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)  # (..., 2)
    overlap = _overlap(a, b)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - overlap
    iou: FloatArray = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return iou


def covered_fraction(spans: npt.ArrayLike, cover: npt.ArrayLike) -> FloatArray:
    """Return the fraction of spans (..., 2) that spans `cover` (..., 2) overlap, broadcast.

    It is 0 for a span without length.

    >>> float(covered_fraction((0.0, 4.0), (3.0, 9.0)))
    0.25
    """
    a, b = np.asarray(spans, dtype=np.float64), np.asarray(cover, dtype=np.float64)  # (..., 2)
    overlap = _overlap(a, b)
    length = np.broadcast_to(a[..., 1] - a[..., 0], overlap.shape)
    fraction: FloatArray = np.divide(overlap, length, out=np.zeros_like(overlap), where=length > 0)
    return fraction


def non_maximum_suppression(
    moments: Sequence[Moment], iou: float, top: int | None = None, *, truncated: Sequence[bool] | None = None
) -> list[Moment]:
    """Return the best moments by score, dropping those that overlap a better one too much. Ties keep their order.

    Args:
        moments: candidates in any order.
        iou: the largest IoU that two returned moments may have, 0..1.
        top: return at most this many; None for all.
        truncated: which moments may be only a part of a longer one. For these, the fraction that a better moment covers
            is compared with `iou` instead of the IoU.

    >>> moments = [Moment(0.0, 4.0, 0.5), Moment(0.0, 5.0, 0.9), Moment(6.0, 9.0, 0.7)]
    >>> [moment[:2] for moment in non_maximum_suppression(moments, iou=0.5)]
    [(0.0, 5.0), (6.0, 9.0)]
    """
    order = sorted(range(len(moments)), key=lambda index: -moments[index].score)
    spans = np.array([moments[index][:2] for index in order], dtype=np.float64).reshape(-1, 2)  # (N, 2)
    is_truncated = np.array([truncated is not None and truncated[index] for index in order], dtype=bool)  # (N,)
    remaining = np.ones(len(order), dtype=bool)  # (N,)
    selected: list[Moment] = []
    while remaining.any() and (top is None or len(selected) < top):
        best = int(remaining.argmax())
        selected.append(moments[order[best]])
        remaining[best] = False
        covered, ious = covered_fraction(spans, spans[best]), span_iou(spans, spans[best])  # (N,)
        remaining &= np.where(is_truncated, covered, ious) <= iou
    return selected


def _overlap(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the length of the intersection of spans (..., 2) and (..., 2), broadcast."""
    overlap = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    return np.maximum(overlap, 0.0)
