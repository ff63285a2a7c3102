"""Answers of several videos: what each sentence got from each, and the best over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest

from mttsg_core.moments import Moment
from mttsg_core.video.discovery import VideoFile


@dataclass(frozen=True)
class RankedMoment:
    """A moment that answers a sentence. `rank` is its place among the answers to that sentence, from 1."""

    video: VideoFile
    query: str
    rank: int
    moment: Moment


def ranked_moments(
    video: VideoFile, queries: Sequence[str], moments: Iterable[Sequence[Moment]], threshold: float = 0.0
) -> Iterator[RankedMoment]:
    """The answers of one video, sentence by sentence.

    Args:
        video: where they are.
        queries: the sentences.
        moments: of each sentence, the best first.
        threshold: moments that score less are left out.
    """
    for query, found in zip(queries, moments, strict=True):
        good = (moment for moment in found if moment.score >= threshold)
        yield from (RankedMoment(video, query, rank, moment) for rank, moment in enumerate(good, start=1))


def best_over_videos(answers: Iterable[RankedMoment], top: int) -> list[RankedMoment]:
    """The best `top` answers to each sentence over all videos, ranked anew; sentences in order of appearance.

    Of equally good ones those that come first are the better.
    """
    by_query: dict[str, list[RankedMoment]] = {}
    for answer in answers:
        by_query.setdefault(answer.query, []).append(answer)
    return [
        replace(answer, rank=rank)
        for found in by_query.values()
        for rank, answer in enumerate(nlargest(top, found, key=lambda answer: answer.moment.score), start=1)
    ]
