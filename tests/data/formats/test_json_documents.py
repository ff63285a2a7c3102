"""One JSON document per file: sentences by video, in seconds or frames, and lists of rows."""

from __future__ import annotations

import json
from pathlib import Path

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
        (2, "video 's1.avi', sentence 2: start is not a number: True"),
        (3, "video 's1.avi', sentence 3: end is too large: inf"),
        (4, "video 's2.avi', sentence 1: the video's fps is not a positive number"),
    ]


def test_a_list_of_rows(tmp_path: Path) -> None:
    split = read_text(tmp_path, "x.json", json.dumps([{"video": "a", "query": "b", "start": 1, "end": 2}, 3]))
    assert [content_of(pair) for pair in split.pairs] == [("a", "b", ((1.0, 2.0),), None)]
    assert reasons(split) == [(2, "not a JSON object")]
