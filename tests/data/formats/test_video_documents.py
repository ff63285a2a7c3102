"""Sentences by video in one JSON document: ActivityNet Captions, TACoS, TimeLens-Bench."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.reading import content_of, read_text, reasons


def test_times_in_seconds(tmp_path: Path) -> None:
    document = {
        "v_1": {"duration": 82.73, "timestamps": [[0.83, 19.86], [5, 5]], "sentences": ["A woman.", " She sits. "]},
        "v_2": {"duration": 10, "timestamps": [[1, 2]], "sentences": ["One.", "One too many."]},
        "v_3": 4,
        "v_4": {"sentences": ["Nobody knows when."]},
        "v_5": {"timestamps": [[1, 2], [3, 4]], "sentences": ["Two spans."]},
    }
    for indent in (None, 2):
        split = read_text(tmp_path, "val_1.json", json.dumps(document, indent=indent))
        assert [content_of(pair) for pair in split.pairs] == [
            ("v_1", "A woman.", ((0.83, 19.86),), 82.73),
            ("v_2", "One.", ((1.0, 2.0),), 10.0),
            ("v_4", "Nobody knows when.", (), None),
            ("v_5", "Two spans.", ((1.0, 2.0),), None),
        ]
        assert reasons(split) == [
            (2, "video 'v_1', sentence 2: start 5 is not before end 5"),
            (4, "video 'v_2', sentence 2: no timestamps [start, end]"),
            (5, "video 'v_3', sentence 1: the video is not an object with lists of sentences and timestamps"),
            (8, "video 'v_5', sentence 2: timestamps without a sentence"),
        ]


def test_a_video_that_occurs_twice_loses_no_row(tmp_path: Path) -> None:
    video = '"v": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["%s"]}'
    split = read_text(tmp_path, "a.json", "{" + video % "one" + "," + video % "two" + "}")
    assert [pair.query for pair in split.pairs] == ["one", "two"]


def test_times_in_frames(tmp_path: Path) -> None:
    video = {
        "timestamps": [[141, 354], [True, 3], [9, 1e400]],
        "sentences": ["a", "b", "c"],
        "fps": 29.4,
        "num_frames": 7303,
    }
    broken = {"timestamps": [[1, 2]], "sentences": ["d"], "fps": 0, "num_frames": 9}
    split = read_text(tmp_path, "test.json", json.dumps({"s1.avi": video, "s2.avi": broken}))
    assert content_of(split.pairs[0]) == ("s1.avi", "a", ((141 / 29.4, 354 / 29.4),), 7303 / 29.4)
    assert reasons(split) == [
        (2, "video 's1.avi', sentence 2: start is not a time: True"),
        (3, "video 's1.avi', sentence 3: end is too large: inf"),
        (4, "video 's2.avi', sentence 1: the video's fps is not a positive number"),
    ]


def frames(*spans: list[float], **more: object) -> dict[str, object]:
    """Return a video in TACoS's form."""
    sentences = ["a", "b", "c"][: len(spans)]
    return {"timestamps": list(spans), "sentences": sentences, "fps": 12.5, "num_frames": 484, **more}


@pytest.mark.parametrize(
    "videos",
    [
        {"v": {"duration": 38.72, "timestamps": [[29.2, 34.4]], "sentences": ["a"], "fps": 12.5}},
        {"v": frames([29.2, 34.4])},
        {"v": frames([29.2, 34.4], duration=38.72)},
        {"v": frames([29, 34], duration=38.72)},
        {"v": frames([29, 34], [400, 420], duration=38.72)},  # one bad row
        {"v": {"duration": 38.72, "timestamps": [[29, 34]], "sentences": ["a"], "fps": 12.5}},
        {"v": frames([29.2, 34.4], [10, 20]), "w": {"timestamps": [[1.5, 2.5]], "sentences": ["a"]}},
    ],
)
def test_times_are_seconds_although_there_is_a_frame_rate(tmp_path: Path, videos: dict[str, object]) -> None:
    split = read_text(tmp_path, "train.json", json.dumps(videos))
    assert split.pairs[0].moments in [((29.2, 34.4),), ((29.0, 34.0),)]
    assert split.pairs[0].duration == 38.72


@pytest.mark.parametrize(
    ("video", "others"),
    [
        (frames([100, 250]), {}),
        (frames([100, 250], duration=38.72), {"w": frames([30, 400], duration=38.72)}),
        (frames([100, 250]), {"w": frames([10.5, 20]), "x": frames([7, 9], [8, 11])}),  # a damaged row changes no other
        (frames([100, 250]), {"w": {"timestamps": [[1, 2]], "sentences": ["d"]}}),
    ],
)
def test_times_are_frames_where_whole_numbers_and_counts_of_frames_say_so(
    tmp_path: Path, video: dict[str, object], others: dict[str, object]
) -> None:
    split = read_text(tmp_path, "train.json", json.dumps({"v": video, **others}))
    assert content_of(split.pairs[0]) == ("v", "a", ((8.0, 20.0),), 38.72)


def test_a_video_without_a_rate_among_others_in_frames(tmp_path: Path) -> None:
    videos = {"v": frames([100, 250]), "w": {"timestamps": [[1, 2]], "sentences": ["d"]}}
    assert reasons(read_text(tmp_path, "a.json", json.dumps(videos))) == [
        (2, "video 'w', sentence 1: the video's fps is not a positive number")
    ]


def test_timelens_bench(tmp_path: Path) -> None:
    document = {
        "3MSZA": {"duration": 30.96, "spans": [[24.3, 30.4], [[1, 2], [5, 6]]], "queries": ["lights on", "twice"]}
    }
    split = read_text(tmp_path, "charades-timelens.json", json.dumps(document))
    assert [content_of(pair) for pair in split.pairs] == [
        ("3MSZA", "lights on", ((24.3, 30.4),), 30.96),
        ("3MSZA", "twice", ((1.0, 2.0), (5.0, 6.0)), 30.96),
    ]
