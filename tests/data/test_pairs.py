"""Rows of annotation files that are bad, by kind, and the reasons that are reported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mttsg_core.data.splits import read_pairs
from mttsg_core.errors import DataError
from tests.data.reading import write_rows

GOOD = {"video": "a", "query": "b", "start": 1, "end": 2}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD | {"start": 2}, "start 2 is not before end 2"),
        (GOOD | {"start": 3.5}, "start 3.5 is not before end 2"),
        (GOOD | {"start": -0.1}, "start is negative: -0.1"),
        (GOOD | {"end": float("nan")}, "end is not a number: nan"),
        (GOOD | {"end": float("inf")}, "end is too large: inf"),
        (GOOD | {"end": 1e308}, "end is too large: 1e+308"),
        (GOOD | {"end": 10**400}, "end is too large: 1000"),
        (GOOD | {"start": True}, "start is not a number: True"),
        (GOOD | {"start": "1"}, "start is not a number: '1'"),
        (GOOD | {"start": None}, "start is missing"),
        (GOOD | {"start": [1]}, "start is not a number: a list"),
        (GOOD | {"query": " \t"}, "empty sentence"),
        (GOOD | {"query": 3}, "the sentence is not a string: 3"),
        (GOOD | {"query": "\ud800"}, "the sentence contains an unpaired surrogate"),
        ({"video": "a", "start": 1, "end": 2}, "no sentence"),
        (GOOD | {"video": ""}, "empty video"),
        (GOOD | {"video": None}, "no video"),
        (GOOD | {"moments": [[1, 2]]}, "moments given together with start or end"),
        ({"video": "a", "query": "b", "moments": [[1, 2], [4, 3]]}, "moment 2: start 4 is not before end 3"),
        ({"video": "a", "query": "b", "moments": [[1]]}, "moment 1 is not [start, end]"),
        ({"video": "a", "query": "b", "moments": "12"}, "moments is not a list: '12'"),
        (GOOD | {"duration": 0}, "the duration is 0"),
        (GOOD | {"duration": "9"}, "duration is not a number: '9'"),
        (GOOD | {"duration": 1}, "start 1.0 is past the end of the video at 1.0"),
        (GOOD | {"id": 1.5}, "the id is neither a string nor an integer: 1.5"),
        (GOOD | {"id": "first"}, "duplicate id 'first', first used in line 1"),
        ("[1]", "not a JSON object"),
        ("{", "invalid JSON: "),
        ('{"a": ' + "[" * 100_000, "invalid JSON: nested too deeply"),
        ("9" * 5000, "invalid JSON: Exceeds" if sys.version_info >= (3, 11) else ""),
        (b'{"video": "\xff"}', "not UTF-8 at byte 12 of the line"),
        (json.dumps(GOOD | {"query": "x" * 2_000_000}), "the line is too long"),
        (json.dumps(GOOD | {"query": "a " * 1001}), "the sentence has 1001 words"),
        (json.dumps(GOOD | {"query": "x" * 10_001}), "the sentence has 10001 characters"),
    ],
)
def test_bad_rows(tmp_path: Path, line: object, reason: str) -> None:
    raw = line if isinstance(line, bytes) else (json.dumps(line) if isinstance(line, dict) else str(line)).encode()
    path = tmp_path / "train.jsonl"
    good = json.dumps(GOOD | {"id": "first"}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\r\n" + raw + b"\r\n" + json.dumps(GOOD).encode())
    split = read_pairs(path)
    assert [pair.line for pair in split.pairs] == [1, 4]
    assert split.rows == 3
    (problem,) = split.problems
    assert problem.reason.startswith(reason)
    assert str(problem) == f"{path}:3: {problem.reason}"
    assert len(problem.reason) < 200
    with pytest.raises(DataError) as raised:
        read_pairs(path, strict=True)
    assert str(raised.value) == str(problem)


def test_an_end_past_the_video_is_kept(tmp_path: Path) -> None:
    split = read_pairs(write_rows(tmp_path / "a.jsonl", GOOD | {"duration": 1.5, "end": 9}))
    assert split.pairs[0].moments == ((1.0, 9.0),)


def test_every_bad_line_is_named_where_no_line_is_good(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('nonsense\n{"video": 3}\n')
    assert [problem.line for problem in read_pairs(path).problems] == [1, 2]
