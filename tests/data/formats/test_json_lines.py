"""JSON with one object per line: our own format, and that of QVHighlights."""

from __future__ import annotations

import json
from pathlib import Path

from mttsg_core.data.splits import read_pairs
from tests.data.reading import content_of, read_text


def test_own_jsonl(tmp_path: Path) -> None:
    rows = [
        {"video": "videos/a.mp4", "query": " person opens door ", "start": 3.2, "end": 8.9, "id": "x", "duration": 30},
        {"video": "b", "query": "two moments", "moments": [[1, 2], [4, 5.5]], "id": 7},
        {"video": "b", "query": "no moment"},
    ]
    split = read_text(tmp_path, "train.jsonl", "\n".join(map(json.dumps, rows)))
    assert not split.problems
    assert [pair.id for pair in split.pairs] == ["x", "7", "train-3"]
    assert content_of(split.pairs[0]) == ("videos/a.mp4", "person opens door", ((3.2, 8.9),), 30.0)
    assert split.pairs[1].moments == ((1.0, 2.0), (4.0, 5.5))
    assert split.pairs[2].moments == ()
    assert read_pairs(tmp_path / "train.jsonl", require_moment=True).problems[0].reason == "no moment"


def test_qvhighlights(tmp_path: Path) -> None:
    row = {
        "qid": 12,
        "query": "A girl cooks",
        "vid": "x_0.0_150.0",
        "duration": 150,
        "relevant_windows": [[2, 4], [8, 150]],
    }
    test_row = {"qid": 13, "query": "A girl cooks", "vid": "x_0.0_150.0", "duration": 150}
    split = read_text(tmp_path, "highlight.jsonl", f"{json.dumps(row)}\n{json.dumps(test_row)}\n")
    assert [pair.id for pair in split.pairs] == ["12", "13"]
    assert content_of(split.pairs[0]) == ("x_0.0_150.0", "A girl cooks", ((2.0, 4.0), (8.0, 150.0)), 150.0)
    assert split.pairs[1].moments == ()
