"""Annotation files as splits: their names, their cost, and writing them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.data.splits import read_pairs, write_pairs
from mttsg_core.errors import DataError
from tests.data.reading import content_of, touch, write_rows

GOOD = {"video": "a", "query": "b", "start": 1, "end": 2}


def test_split_names(tmp_path: Path) -> None:
    for name in ("train.jsonl", "unseen.jsonl", "my_val.jsonl", "test_a.jsonl", "test_b.jsonl"):
        write_rows(tmp_path / name, GOOD)
    touch(tmp_path, "notes.txt", "config.json")
    write_rows(tmp_path / "predictions.jsonl", {"video": "a", "query": "b", "moments": [[1, 2, 0.5]]})
    predictions = [{"video": "a", "query": "b", "moments": moments} for moments in ([], [[1, 2, 0.5]])]
    write_rows(tmp_path / "test_predictions.jsonl", *predictions)
    write_rows(tmp_path / "test_found.jsonl", {"video": "a", "query": "b", "rank": 1, "start": 1, "end": 2, "score": 1})
    write_rows(tmp_path / "others.jsonl", {"qid": 1, "vid": "a", "query": "b", "pred_relevant_windows": [[1, 2, 0.5]]})
    folder = DataFolder.open(tmp_path)
    assert {name: path.name for name, path in folder.splits.items()} == {
        "train": "train.jsonl",
        "val": "my_val.jsonl",
        "test_a": "test_a.jsonl",
        "test_b": "test_b.jsonl",
        "unseen": "unseen.jsonl",
    }
    assert folder.split("my_val").name == "val"
    with pytest.raises(DataError, match="no split 'test'; available: test_a, test_b, train, unseen, val"):
        folder.split("test")


def test_published_names(tmp_path: Path) -> None:
    touch(tmp_path, "charades/durations_train.json")
    for name in ("charades_sta_train.txt", "charades_sta_test.txt"):
        (tmp_path / "charades" / name).write_text("A 1 2##b")
    folder = DataFolder.open(tmp_path / "charades")
    assert {name: path.stem for name, path in folder.splits.items()} == {
        "train": "charades_sta_train",
        "test": "charades_sta_test",
    }
    document = json.dumps({"v": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["a"]}})
    for name in ("train", "val_1", "val_2"):
        touch(tmp_path, f"anet/{name}.json")
        (tmp_path / "anet" / f"{name}.json").write_text(document)
    splits = DataFolder.open(tmp_path / "anet").splits
    assert {name: path.stem for name, path in splits.items()} == {"train": "train", "val": "val_1", "test": "val_2"}
    write_rows(tmp_path / "anet" / "test.jsonl", GOOD)
    write_rows(tmp_path / "anet" / "train.jsonl", GOOD)
    splits = DataFolder.open(tmp_path / "anet").splits
    assert {name: path.name for name, path in splits.items()} == {
        "train": "train.jsonl",
        "val": "val_1.json",
        "test": "test.jsonl",
        "val_2": "val_2.json",
    }


def test_conversion_to_jsonl_keeps_everything(tmp_path: Path) -> None:
    pairs = [
        Pair("1", "a", "né", ((1.0, 2.25),), 9.5),
        Pair("2", "a", "line\nbreak \u2028 x", ((1.0, 2.0), (3.0, 4.0))),
        Pair("3", "b", "x"),
    ]
    write_pairs(pairs, tmp_path / "out.jsonl")
    split = read_pairs(tmp_path / "out.jsonl")
    assert [(pair.id, *content_of(pair)) for pair in split.pairs] == [(pair.id, *content_of(pair)) for pair in pairs]
    with pytest.raises(DataError):
        write_pairs(pairs, tmp_path / "out.jsonl" / "below a file.jsonl")


def _jsonl(rows: int) -> str:
    return "".join(json.dumps({**GOOD, "video": f"v{row}", "id": str(row)}) + "\n" for row in range(rows))


def _document(rows: int) -> str:
    video = {"duration": 9, "timestamps": [[1, 2], [2, 1]], "sentences": ["a", "b"]}
    return json.dumps({f"v{number}": video for number in range(rows // 2)})


def _json_list(rows: int) -> str:
    return json.dumps([{**GOOD, "video": f"v{row}"} for row in range(rows)])


def _csv(rows: int) -> str:
    return "video,query,start,end\n" + "".join(f'v{row},"a, b",1,2\n' for row in range(rows))


def _charades(rows: int) -> str:
    return "".join(f"v{row} 1 2##a\n" for row in range(rows))


@pytest.mark.parametrize("content", [_jsonl, _document, _json_list, _csv, _charades])
def test_reading_takes_linear_time(tmp_path: Path, content: Callable[[int], str]) -> None:
    path = tmp_path / "train.jsonl"
    calls = []
    for rows in (200, 400, 800):
        path.write_text(content(rows))
        calls.append(_calls(lambda: read_pairs(path), rows))
    assert calls[2] - calls[1] <= 2.05 * (calls[1] - calls[0])


def _calls(read: Callable[[], object], rows: int) -> int:
    """Return how many functions, of Python and of C, are called to read that many rows."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        split = read()
    finally:
        sys.setprofile(None)
    assert split.rows == rows  # type: ignore[attr-defined]
    return calls
