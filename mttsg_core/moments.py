"""Moments in seconds, and the one place where seconds become clip units and back.

A video of `duration` seconds is divided into `clips` equal bins. One *clip unit* is the length of a bin; position
0 is the start of the video and position `clips` its end, so every real number in between is a time and nothing is
ever rounded. Bins are made the same way for features extracted here and for features made elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import DataError

FloatArray = npt.NDArray[np.float64]


class Moment(NamedTuple):
    """A span of a video in seconds, with a score in 0..1 when it is an answer."""

    start: float
    end: float
    score: float = 1.0

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Timeline:
    """`clips` equal bins over the seconds `start` .. `start + duration` of a video.

    Raises:
        DataError: if there is no clip, or the duration is not a positive number.
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
        """Bins as near to `clips_per_second` as equal bins over the whole `duration` allow; at least one."""
        return cls(duration, max(1, round(duration * clips_per_second)), start)

    @property
    def seconds_per_clip(self) -> float:
        """Length of one clip unit in seconds."""
        return self.duration / self.clips

    @property
    def end(self) -> float:
        """Seconds at which the last clip ends."""
        return self.start + self.duration

    def to_clips(self, seconds: npt.ArrayLike) -> FloatArray:
        """Seconds to clip units, any shape."""
        return (np.asarray(seconds, dtype=np.float64) - self.start) / self.duration * self.clips

    def to_seconds(self, clip_units: npt.ArrayLike) -> FloatArray:
        """Clip units to seconds, any shape; the inverse of `to_clips`."""
        return np.asarray(clip_units, dtype=np.float64) / self.clips * self.duration + self.start

    def sample_times(self, per_clip: int = 1) -> FloatArray:
        """Seconds of `per_clip` frames spread evenly inside each bin, (clips * per_clip,), ascending."""
        return self.to_seconds((np.arange(self.clips * per_clip) + 0.5) / per_clip)


def span_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Intersection over union of spans (..., 2) with spans (..., 2), broadcast; 0 where the union is empty."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    overlap = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    overlap = np.maximum(overlap, 0.0)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - overlap
    iou: FloatArray = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return iou


def covered_share(spans: npt.ArrayLike, cover: npt.ArrayLike) -> FloatArray:
    """How much of spans (..., 2) lies in the spans `cover` (..., 2), broadcast, 0..1; 0 of a span without length."""
    a, b = np.asarray(spans, dtype=np.float64), np.asarray(cover, dtype=np.float64)
    overlap = np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0.0)
    length = np.broadcast_to(a[..., 1] - a[..., 0], overlap.shape)
    share: FloatArray = np.divide(overlap, length, out=np.zeros_like(overlap), where=length > 0)
    return share


def non_maximum_suppression(
    moments: Sequence[Moment], iou: float, top: int | None = None, *, parts: Sequence[bool] | None = None
) -> list[Moment]:
    """The best moments by score, each overlapping the better ones by at most `iou`; ties keep their order.

    Args:
        moments: candidates in any order.
        iou: the largest overlap that two kept moments may have, 0..1.
        top: stop after so many; None keeps all.
        parts: which moments may be parts of longer ones; of such, the share that lies in a better moment counts.
    """
    order = sorted(range(len(moments)), key=lambda place: -moments[place].score)
    spans = np.array([moments[place][:2] for place in order], dtype=np.float64).reshape(-1, 2)
    partial = np.array([parts is not None and parts[place] for place in order], dtype=bool)
    alive = np.ones(len(order), dtype=bool)
    kept: list[Moment] = []
    while alive.any() and (top is None or len(kept) < top):
        best = int(alive.argmax())
        kept.append(moments[order[best]])
        alive[best] = False
        alive &= np.where(partial, covered_share(spans, spans[best]), span_iou(spans, spans[best])) <= iou
    return kept
