"""The moments of several videos, ranked for each sentence."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest
from typing import ClassVar

from mttsg_core.moments import Moment
from mttsg_core.video.discovery import VideoFile

BEST_OF_SEVERAL = 5  # moments of a sentence that are shown where several videos are searched
WEAK_SCORE = 0.3  # below it, an answer is more likely wrong than right by far
_SPARE = 16  # moments of a sentence beyond those that are returned, so that few are sorted often


@dataclass(frozen=True)
class RankedMoment:
    """A predicted moment of a video.

    Attributes:
        video: that the moment is in.
        query: the sentence that it was predicted for.
        rank: from 1, among the moments predicted for that sentence.
        moment: with its score.
    """

    video: VideoFile
    query: str
    rank: int
    moment: Moment


def ranked_moments(
    video: VideoFile, queries: Sequence[str], predictions: Iterable[Sequence[Moment]], threshold: float = 0.0
) -> Iterator[RankedMoment]:
    """Yield the moments of one video with their ranks, sentence by sentence.

    Args:
        video: that the moments are in.
        queries: the sentences.
        predictions: for each sentence its moments, the best first.
        threshold: moments with a lower score are left out.
    """
    for query, moments in zip(queries, predictions, strict=True):
        passing = (moment for moment in moments if moment.score >= threshold)
        yield from (RankedMoment(video, query, rank, moment) for rank, moment in enumerate(passing, start=1))


@dataclass(frozen=True)
class Selection:
    """Which moments answer a sentence that is asked of several videos.

    Attributes:
        top: number of moments of a sentence over all videos; None for all of them.
        weak_below: moments with a lower score are left out, except the best one of a sentence; None for none.
    """

    top: int | None = BEST_OF_SEVERAL
    weak_below: float | None = WEAK_SCORE


@dataclass(frozen=True)
class LeftOut:
    """Moments of a sentence that a `Selection` leaves out.

    Attributes:
        query: the sentence.
        number: how many.
        weak: how many of them have a score below `weak_below`.
        best_is_weak: whether the best moment, which is never left out, has one too.
        weak_below: of the selection.
    """

    query: str
    number: int
    weak: int
    best_is_weak: bool
    weak_below: float | None
    of_several: ClassVar[bool] = True

    def __str__(self) -> str:
        more = f"{self.number} more"
        if self.weak == self.number and self.weak and not self.best_is_weak:
            more += f" below {self.weak_below:g}"
        elif self.weak and not self.best_is_weak:
            more += f", {self.weak} of them below {self.weak_below:g}"
        best = f"all below {self.weak_below:g}; " if self.best_is_weak else ""
        return best + more


def best_over_videos(moments: Iterable[RankedMoment], top: int | None) -> list[RankedMoment]:
    """Return the best `top` moments for each sentence over all videos, or all of them for None, with new ranks.

    Sentences keep their order of appearance, and so do moments with equal scores. However many moments are given, about
    twice as many as are returned are in memory.
    """
    selected = select_moments(moments, Selection(top, weak_below=None))
    return [ranked for ranked in selected if isinstance(ranked, RankedMoment)]


def select_moments(
    moments: Iterable[RankedMoment], selection: Selection, *, own_video: Container[str] = ()
) -> Iterator[RankedMoment | LeftOut]:
    """Yield the best moments for each sentence over all videos, with new ranks, and what is left out.

    Sentences keep their order of appearance, and so do moments with equal scores. However many moments are given, about
    twice `selection.top` of each sentence are in memory.

    Args:
        moments: of all videos.
        selection: which of them.
        own_video: sentences that are each asked of a video of their own: their moments pass through as they come.
    """
    by_query: dict[str, _Candidates] = {}
    for ranked in moments:
        if ranked.query in own_video:
            yield ranked
            continue
        if ranked.query not in by_query:
            by_query[ranked.query] = _Candidates(selection)
        by_query[ranked.query].add(ranked)
    for query, candidates in by_query.items():
        yield from candidates.select(query)


@dataclass
class _Candidates:
    """The moments of one sentence: the best ones, and how many there were.

    Attributes:
        selection: which of them are wanted.
        best: the best ones, and some more.
        number: of all.
        strong: number of those that are not weak.
    """

    selection: Selection
    best: list[RankedMoment] = field(default_factory=list)
    number: int = 0
    strong: int = 0

    def add(self, ranked: RankedMoment) -> None:
        """Add a moment."""
        self.number += 1
        self.strong += self._is_strong(ranked)
        self.best.append(ranked)
        top = self.selection.top
        if top is not None and len(self.best) >= 2 * top + _SPARE:
            self.best = _best(self.best, top)

    def select(self, query: str) -> Iterator[RankedMoment | LeftOut]:
        """Yield those that are wanted, and how many are left out. `query` is the sentence."""
        candidates = _best(self.best, self.selection.top)
        chosen = [ranked for ranked in candidates if self._is_strong(ranked)] or candidates[:1]
        yield from (replace(ranked, rank=rank) for rank, ranked in enumerate(chosen, start=1))
        if len(chosen) < self.number:
            weak = self.number - max(self.strong, 1)
            yield LeftOut(query, self.number - len(chosen), weak, not self.strong, self.selection.weak_below)

    def _is_strong(self, ranked: RankedMoment) -> bool:
        limit = self.selection.weak_below
        return limit is None or ranked.moment.score >= limit


def _best(moments: Iterable[RankedMoment], top: int | None) -> list[RankedMoment]:
    """Return the best moments, those with equal scores in their order; all of them for None."""
    if top is None:
        return sorted(moments, key=lambda ranked: -ranked.moment.score)
    return nlargest(top, moments, key=lambda ranked: ranked.moment.score)
