"""Statistics of a data folder that is small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.statistics import compute_statistics

ROWS = [
    {"video": "a", "query": "A person sits", "start": 0, "end": 2, "duration": 8},
    {"video": "a.mp4", "query": "person  opens door", "start": 4, "end": 10, "duration": 8},
    {"video": "b", "query": "a person sits", "moments": [[0, 1], [2, 5]]},
    {"video": "b", "query": "nobody knows when"},
    {"video": "b", "query": " ", "start": 0, "end": 1},
]


def test_counts(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "unseen.jsonl").write_text('{"video": "a", "query": ""}\n{"video": "a", "query": 3}\n')
    folder = DataFolder.open(tmp_path)
    splits = [folder.split(name) for name in folder.splits]
    statistics = compute_statistics(tmp_path, splits, folder.video_key)
    train = statistics.splits["train"]
    assert (train.rows, train.pairs, train.bad_rows, train.videos, train.timed_videos) == (5, 4, 1, 2, 1)
    assert train.hours == pytest.approx(8 / 3600)
    assert (train.queries_per_video, train.max_queries_per_video) == (2, 2)
    assert (train.moments, train.pairs_without_moment, train.pairs_with_several) == (4, 1, 1)
    assert train.moment_seconds is not None
    assert (train.moment_seconds["min"], train.moment_seconds["median"], train.moment_seconds["max"]) == (1, 2.5, 6)
    assert train.moment_share is not None
    assert train.moment_share["max"] == 0.5
    assert (train.words, train.max_words, train.shared_sentences, train.ends_past_video) == (3, 3, 0.5, 1)
    empty = statistics.splits["unseen"]
    assert (empty.pairs, empty.bad_rows, empty.moment_seconds, empty.shared_sentences) == (0, 2, None, None)
    assert [(problem.file.name, problem.line) for problem in statistics.problems] == [
        ("train.jsonl", 5),
        ("unseen.jsonl", 1),
        ("unseen.jsonl", 2),
    ]
    plain = json.loads(json.dumps(statistics.as_dict(), allow_nan=False))
    assert plain["splits"]["train"]["pairs"] == 4
    assert plain["problems"][0]["reason"] == "empty sentence"
