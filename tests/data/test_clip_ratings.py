"""Ratings of clips in annotation files: as published, bad ones, and written again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.clip_ratings import ClipRatings, scores_of_clips
from mttsg_core.data.splits import read_pairs, write_pairs
from mttsg_core.moments import Timeline
from tests.data.reading import read_text, reasons, write_rows

ROW = {"qid": 7, "vid": "v", "query": "a dog", "duration": 30, "relevant_windows": [[2, 6]]}
RATED = {**ROW, "relevant_clip_ids": [1, 2], "saliency_scores": [[4, 2, 3], [0, 1, 1]]}


def test_they_are_read_as_published_and_written_again(tmp_path: Path) -> None:
    split = read_pairs(write_rows(tmp_path / "val.jsonl", RATED, {**ROW, "qid": 8}))
    assert not split.problems and not split.notes
    assert [pair.ratings for pair in split.pairs] == [ClipRatings((1, 2), ((4, 2, 3), (0, 1, 1))), None]
    write_pairs(split.pairs, tmp_path / "again.jsonl")
    assert [pair.ratings for pair in read_pairs(tmp_path / "again.jsonl").pairs] == [
        pair.ratings for pair in split.pairs
    ]


def test_a_table_may_have_them_too(tmp_path: Path) -> None:
    split = read_text(
        tmp_path,
        "val.csv",
        'video,query,start,end,relevant_clip_ids,saliency_scores\nv,a dog,2,6,"[1, 2]","[[4], [0]]"\nv,a cat,2,6,,\n',
    )
    assert not split.problems
    assert [pair.ratings for pair in split.pairs] == [ClipRatings((1, 2), ((4,), (0,))), None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"saliency_scores": None}, "saliency_scores is missing"),
        ({"relevant_clip_ids": None}, "relevant_clip_ids is missing"),
        ({"saliency_scores": 3}, "saliency_scores is not a list: 3"),
        ({"relevant_clip_ids": [1]}, "saliency_scores has 2 entries for 1 relevant_clip_ids"),
        ({"relevant_clip_ids": [1, 1]}, "relevant_clip_ids are not different whole numbers from 0"),
        ({"relevant_clip_ids": [1, -2]}, "relevant_clip_ids are not different whole numbers from 0"),
        ({"relevant_clip_ids": [1, True]}, "relevant_clip_ids are not different whole numbers from 0"),
        ({"relevant_clip_ids": [1, 10**30]}, "relevant_clip_ids are not different whole numbers from 0"),
        ({"relevant_clip_ids": [1, 15]}, "clip 15 of 2 s is past the end of the video at 30.0"),
        ({"saliency_scores": [[4, 2, 3], [0, 1]]}, "saliency_scores are not lists of as many ratings of 0 to 4"),
        ({"saliency_scores": [[4], [5]]}, "saliency_scores are not lists of as many ratings of 0 to 4"),
        ({"saliency_scores": [[4], [float("nan")]]}, "saliency_scores are not lists of as many ratings of 0 to 4"),
        ({"saliency_scores": [4, 3]}, "saliency_scores are not lists of as many ratings of 0 to 4"),
        ({"saliency_scores": [[], []]}, "saliency_scores are not lists of as many ratings of 0 to 4"),
    ],
)
def test_bad_ones_are_reported_and_cost_the_row_nothing_else(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    split = read_pairs(write_rows(tmp_path / "val.jsonl", {**RATED, **change}))
    assert reasons(split) == [(1, reason)]
    assert split.problems[0].row_used
    [pair] = split.pairs
    assert (pair.ratings, pair.moments) == (None, ((2.0, 6.0),))


def test_no_rated_clip_is_no_rating(tmp_path: Path) -> None:
    split = read_pairs(write_rows(tmp_path / "val.jsonl", {**RATED, "relevant_clip_ids": [], "saliency_scores": []}))
    assert not split.problems
    assert split.pairs[0].ratings is None


@pytest.mark.parametrize(
    ("timeline", "duration", "expected"),
    [
        (Timeline(6.0, 3), None, [1, 2, 3]),
        (Timeline(6.0, 6), None, [1.5, 3.5, 5.5]),
        (Timeline(7.0, 7), 6.0, [1.5, 3.5, 5.5]),  # the last, unfinished clip has no score
        (Timeline(5.9, 3), 6.0, [1, 2, 3]),
        (Timeline(6.0, 2), None, [1, 1.5, 2]),
        (Timeline(1.0, 2), None, [1.5]),
        (Timeline(4.0, 2, start=2.0), None, [1, 1, 2]),
    ],
)
def test_scores_of_clips_are_means_over_their_two_seconds(
    timeline: Timeline, duration: float | None, expected: list[float]
) -> None:
    scores = scores_of_clips(np.arange(1, timeline.clips + 1), timeline, duration)
    assert scores == pytest.approx(expected, rel=0.05)
    if timeline.seconds_per_clip == 2.0:
        assert scores == expected  # exactly, so that equal scores stay equal
