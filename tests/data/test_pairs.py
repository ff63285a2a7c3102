"""Rows of annotation files that are bad, by kind, and the reasons that are reported."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mttsg_core.data.splits import Split, read_pairs
from mttsg_core.errors import DataError
from tests.data.reading import write_rows

GOOD = {"video": "a", "query": "b", "start": 1, "end": 2}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD | {"start": 2}, "start 2 is not before end 2"),
        (GOOD | {"start": 3.5}, "start 3.5 is not before end 2"),
        (GOOD | {"start": -0.1}, "start is negative: -0.1"),
        (GOOD | {"end": float("nan")}, "end is not a time: nan"),
        (GOOD | {"end": float("inf")}, "end is too large: inf"),
        (GOOD | {"end": 1e308}, "end is too large: 1e+308"),
        (GOOD | {"end": 10**400}, "end is too large: 1000"),
        (GOOD | {"start": True}, "start is not a time: True"),
        (GOOD | {"start": "1h"}, "start is not a time: '1h'"),
        (GOOD | {"start": "0:75"}, "start is not a time: '0:75'"),
        (GOOD | {"start": "2", "end": "0:01"}, "start '2' is not before end '0:01'"),
        ({"video": "a", "query": "b", "t_start": "x", "t_end": 2}, "t_start is not a time: 'x'"),
        (GOOD | {"start": None}, "start is missing"),
        (GOOD | {"start": [1]}, "start is not a time: a list"),
        (GOOD | {"query": " \t"}, "empty sentence"),
        (GOOD | {"query": 3}, "the sentence is not a string: 3"),
        (GOOD | {"query": "\ud800"}, "the sentence contains an unpaired surrogate"),
        ({"video": "a", "start": 1, "end": 2}, "no sentence"),
        (GOOD | {"video": ""}, "empty video"),
        (GOOD | {"video": None}, "no video"),
        (GOOD | {"moments": [[1, 2]]}, "moments given together with start or end"),
        (
            {"video": "a", "query": "b", "moments": [[2, 1], [4]]},
            "moment 1: start 2 is not before end 1; moment 2 is not",
        ),
        ({"video": "a", "query": "b", "moments": [4, 3]}, "start 4 is not before end 3"),
        ({"video": "a", "query": "b", "moments": [[1]]}, "moment 1 is not [start, end]"),
        ({"video": "a", "query": "b", "moments": "12"}, "moments is not a list: '12'"),
        (GOOD | {"duration": 0}, "the duration is 0"),
        (GOOD | {"duration": "long"}, "duration is not a time: 'long'"),
        (GOOD | {"start": 5, "end": 6, "duration": 4}, "start 5.0 is past the end of the video at 4.0"),
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


def test_a_bad_moment_costs_only_itself(tmp_path: Path) -> None:
    row = {
        "video": "a",
        "query": "b",
        "duration": 20,
        "moments": [[1, 2], [1.0, 2.0], [4, 4], [3, "x"], [50, 60], [9, 30]],
    }
    path = write_rows(tmp_path / "train.jsonl", row, GOOD)
    split = read_pairs(path, require_moment=True)
    assert [pair.moments for pair in split.pairs] == [((1.0, 2.0), (9.0, 30.0)), ((1.0, 2.0),)]
    assert [(problem.line, problem.reason, problem.row_used) for problem in split.problems] == [
        (1, "moment 3: start 4 is not before end 4", True),
        (1, "moment 4: end is not a time: 'x'", True),
        (1, "start 50.0 is past the end of the video at 20.0", True),
    ]
    assert (split.rows, split.bad_rows) == (2, 0)
    with pytest.raises(DataError, match="moment 3"):
        read_pairs(path, strict=True)


@pytest.mark.parametrize(("start", "kept"), [(149.9, True), (150.0, True), (150.9, True), (151.0, False)])
def test_a_duration_that_is_rounded_down_costs_no_row(tmp_path: Path, start: float, kept: bool) -> None:
    row = {"video": "a", "query": "b", "start": start, "end": start + 2, "duration": 150}
    path = write_rows(tmp_path / "val.jsonl", row)
    assert [pair.moments for pair in read_pairs(path).pairs] == [((start, start + 2),)] * kept
    assert read_pairs(path, check_ends=False).pairs[0].moments == ((start, start + 2),)


def test_times_that_may_be_milliseconds_are_named(tmp_path: Path) -> None:
    row = {"video": "a", "query": "b", "start": 29200, "end": 34400}
    split = read_text_rows(tmp_path, row, GOOD | {"start": 1000, "end": 8000})
    assert split.notes == [
        f"{split.file}:1: start 29200 and end 34400 are read as seconds; "
        "name the columns start_ms and end_ms if they are not"
    ]
    assert not read_text_rows(tmp_path, row, GOOD).notes
    late = read_text_rows(tmp_path, row | {"duration": 38.7})
    assert [problem.reason for problem in late.problems] == [
        "start 29200.0 is past the end of the video at 38.7; "
        "name the columns start_ms and end_ms if these are milliseconds"
    ]


def read_text_rows(folder: Path, *rows: Mapping[str, object]) -> Split:
    return read_pairs(write_rows(folder / "train.jsonl", *rows))


def test_ids_that_name_videos_are_replaced(tmp_path: Path) -> None:
    rows = [
        GOOD | {"id": "a"},
        GOOD | {"id": "a", "query": "c"},
        GOOD | {"video": "x/b.mp4", "id": "b"},
        GOOD | {"video": "x/b.mp4", "id": "b", "query": "c"},
        GOOD | {"video": "c", "id": "c"},
        GOOD | {"video": "d", "id": "s"},
        GOOD | {"video": "e", "id": "s"},
        GOOD | {"video": "e", "id": "s"},
        GOOD | {"video": "f", "id": 12},
        GOOD | {"video": "f", "id": 12, "query": "c"},
    ]
    split = read_text_rows(tmp_path, *rows)
    numbered = [f"train-{line}" for line in (1, 2, 3, 4)]
    assert [pair.id for pair in split.pairs] == [*numbered, "c", "s", "train-7", "train-8", "train-9", "train-10"]
    reason = "duplicate id 's', first used in line 6; the row is used without it"
    assert [(p.line, p.reason, p.row_used) for p in split.problems] == [(7, reason, True), (8, reason, True)]
    assert split.notes == [
        f"{split.file}: 3 ids used by several rows, because they name videos; these rows are numbered instead"
    ]


def test_sentences_are_in_composed_form(tmp_path: Path) -> None:
    assert read_text_rows(tmp_path, GOOD | {"query": " Tu\u0308r "}).pairs[0].query == "T\u00fcr"
