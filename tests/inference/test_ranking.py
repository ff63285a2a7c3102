"""Answers of several videos, and the best over all of them."""

from __future__ import annotations

from pathlib import Path

from mttsg_core.inference.ranking import RankedMoment, best_over_videos, ranked_moments
from mttsg_core.moments import Moment
from mttsg_core.video.discovery import VideoFile

A, B = (VideoFile(Path("/v", name), Path(name)) for name in ("a.mp4", "b.mp4"))


def test_ranks_and_threshold() -> None:
    moments = [[Moment(1, 2, 0.9), Moment(3, 4, 0.5), Moment(5, 6, 0.2)], [], [Moment(0, 1, 0.5)]]
    found = list(ranked_moments(A, ["x", "y", "z"], moments, 0.5))
    assert [(answer.query, answer.rank, answer.moment.score) for answer in found] == [
        ("x", 1, 0.9),
        ("x", 2, 0.5),
        ("z", 1, 0.5),
    ]
    assert len(list(ranked_moments(A, ["x", "y", "z"], moments))) == 4


def test_the_best_of_all_videos() -> None:
    def answer(video: VideoFile, query: str, rank: int, score: float) -> RankedMoment:
        return RankedMoment(video, query, rank, Moment(rank, rank + 1, score))

    given = [
        *(answer(A, "x", 1, 0.5), answer(A, "x", 2, 0.4), answer(A, "y", 1, 0.1)),
        *(answer(B, "x", 1, 0.9), answer(B, "x", 2, 0.5), answer(B, "y", 1, 0.2)),
    ]
    found = best_over_videos(iter(given), 3)
    assert [(one.query, one.rank, one.video, one.moment.score) for one in found] == [
        ("x", 1, B, 0.9),
        ("x", 2, A, 0.5),
        ("x", 3, B, 0.5),
        ("y", 1, B, 0.2),
        ("y", 2, A, 0.1),
    ]
    assert [one.rank for one in best_over_videos(given, 1)] == [1, 1]
    assert best_over_videos([], 5) == []
