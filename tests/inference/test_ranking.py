"""Ranks of moments within a video, and the best moments over several videos."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.inference.ranking import (
    LeftOut,
    RankedMoment,
    Selection,
    best_over_videos,
    ranked_moments,
    select_moments,
)
from mttsg_core.moments import Moment
from mttsg_core.video.discovery import VideoFile

A, B = (VideoFile(Path("/v", name), Path(name)) for name in ("a.mp4", "b.mp4"))


def test_ranks_and_threshold() -> None:
    moments = [[Moment(1, 2, 0.9), Moment(3, 4, 0.5), Moment(5, 6, 0.2)], [], [Moment(0, 1, 0.5)]]
    ranked = list(ranked_moments(A, ["x", "y", "z"], moments, 0.5))
    assert [(moment.query, moment.rank, moment.moment.score) for moment in ranked] == [
        ("x", 1, 0.9),
        ("x", 2, 0.5),
        ("z", 1, 0.5),
    ]
    assert len(list(ranked_moments(A, ["x", "y", "z"], moments))) == 4


def test_the_best_moments_over_all_videos() -> None:
    def ranked(video: VideoFile, query: str, rank: int, score: float) -> RankedMoment:
        return RankedMoment(video, query, rank, Moment(rank, rank + 1, score))

    moments = [
        *(ranked(A, "x", 1, 0.5), ranked(A, "x", 2, 0.4), ranked(A, "y", 1, 0.1)),
        *(ranked(B, "x", 1, 0.9), ranked(B, "x", 2, 0.5), ranked(B, "y", 1, 0.2)),
    ]
    best = best_over_videos(iter(moments), 3)
    assert [(moment.query, moment.rank, moment.video, moment.moment.score) for moment in best] == [
        ("x", 1, B, 0.9),
        ("x", 2, A, 0.5),
        ("x", 3, B, 0.5),
        ("y", 1, B, 0.2),
        ("y", 2, A, 0.1),
    ]
    assert [moment.rank for moment in best_over_videos(moments, 1)] == [1, 1]
    assert best_over_videos([], 5) == []


@given(st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 5)), max_size=200), st.integers(1, 4))
def test_the_best_of_many_are_those_of_a_sorted_list(scores: list[tuple[str, int]], top: int) -> None:
    moments = [RankedMoment(A, query, 1, Moment(n, n + 1, score)) for n, (query, score) in enumerate(scores)]
    by_score = sorted(moments, key=lambda moment: -moment.moment.score)  # stable: the first of equal scores first
    best = best_over_videos(iter(moments), top)
    assert [moment.query for moment in best] == sorted(
        (moment.query for moment in best), key=[query for query, _ in scores].index
    )
    for query in "xy":
        expected = [moment.moment for moment in by_score if moment.query == query][:top]
        assert [moment.moment for moment in best if moment.query == query] == expected


def _moments(*scores: float, query: str = "q") -> list[RankedMoment]:
    videos = [VideoFile(Path(f"{index}.mp4"), Path(f"{index}.mp4")) for index in range(len(scores))]
    return [RankedMoment(video, query, 1, Moment(0, 1, score)) for video, score in zip(videos, scores, strict=True)]


@pytest.mark.parametrize(
    ("scores", "selection", "chosen", "left_out"),
    [
        ((0.1, 0.9, 0.5), Selection(), (0.9, 0.5), LeftOut("q", 1, 1, False, 0.3)),
        ((0.9,) * 8 + (0.1,), Selection(), (0.9,) * 5, LeftOut("q", 4, 1, False, 0.3)),
        ((0.9,) * 8, Selection(), (0.9,) * 5, LeftOut("q", 3, 0, False, 0.3)),
        ((0.1, 0.2, 0.0), Selection(), (0.2,), LeftOut("q", 2, 2, True, 0.3)),
        ((0.1, 0.2, 0.0), Selection(weak_below=None), (0.2, 0.1, 0.0), None),
        ((0.1, 0.2, 0.0), Selection(None, None), (0.2, 0.1, 0.0), None),
        ((0.1,), Selection(), (0.1,), None),
    ],
)
def test_the_best_are_selected_and_the_others_counted(
    scores: tuple[float, ...], selection: Selection, chosen: tuple[float, ...], left_out: LeftOut | None
) -> None:
    found = list(select_moments(iter(_moments(*scores)), selection))
    moments = [item for item in found if isinstance(item, RankedMoment)]
    assert tuple(item.moment.score for item in moments) == chosen
    assert [item.rank for item in moments] == list(range(1, len(chosen) + 1))
    assert [item for item in found if isinstance(item, LeftOut)] == ([] if left_out is None else [left_out])


def test_sentences_about_a_video_of_their_own_do_not_compete() -> None:
    own = _moments(0.1, 0.2, query="own")
    found = list(select_moments([*_moments(0.1, 0.9), *own], Selection(), own_video={"own"}))
    assert found[:2] == own
    assert len(found) == 4
