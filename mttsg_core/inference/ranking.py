"""The moments of several videos, ranked for each sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest

from mttsg_core.moments import Moment
from mttsg_core.video.discovery import VideoFile

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


def best_over_videos(moments: Iterable[RankedMoment], top: int) -> list[RankedMoment]:
    """Return the best `top` moments for each sentence over all videos, with new ranks.

    Sentences keep their order of appearance, and so do moments with equal scores. However many moments are given, about
    twice as many as are returned are in memory.
    """
    by_query: dict[str, list[RankedMoment]] = {}
    for ranked in moments:
        candidates = by_query.setdefault(ranked.query, [])
        candidates.append(ranked)
        if len(candidates) >= 2 * top + _SPARE:
            candidates[:] = _best(candidates, top)
    return [
        replace(ranked, rank=rank)
        for candidates in by_query.values()
        for rank, ranked in enumerate(_best(candidates, top), start=1)
    ]


def _best(moments: Iterable[RankedMoment], top: int) -> list[RankedMoment]:
    return nlargest(top, moments, key=lambda ranked: ranked.moment.score)
