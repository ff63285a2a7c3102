"""Lists of [video, duration, [start, end], sentence], as 2D-TAN publishes them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.reading import content_of, read_text, reasons


def test_rows(tmp_path: Path) -> None:
    rows = [
        ["3MSZA", 30.96, [24.3, 30.4], "person turns a light on"],
        ["A", None, ["0:01", "0:02"], "b", 1.5],
        ["A", 9, [[1, 2], [3, 4]], "b"],
        ["A", 9, [2, 1], "b"],
        ["A", 9, [1, 2]],
        "x",
    ]
    split = read_text(tmp_path, "train.json", json.dumps(rows, indent=1))
    assert [content_of(pair) for pair in split.pairs] == [
        ("3MSZA", "person turns a light on", ((24.3, 30.4),), 30.96),
        ("A", "b", ((1.0, 2.0),), None),
        ("A", "b", ((1.0, 2.0), (3.0, 4.0)), 9.0),
    ]
    assert reasons(split) == [
        (4, "start 2 is not before end 1"),
        (5, "not [VIDEO, DURATION, [START, END], SENTENCE]"),
        (6, "not [VIDEO, DURATION, [START, END], SENTENCE]"),
    ]
