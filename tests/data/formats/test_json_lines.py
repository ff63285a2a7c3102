"""Rows as JSON objects, one per line or in a list: our own format, and that of QVHighlights."""

from __future__ import annotations

import json
from pathlib import Path

from mttsg_core.data.formats import json_lines
from mttsg_core.data.splits import read_pairs
from tests.data.reading import content_of, read_text, reasons


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


def test_a_list_of_rows(tmp_path: Path) -> None:
    split = read_text(tmp_path, "x.json", json.dumps([{"video": "a", "query": "b", "start": 1, "end": 2}, 3]))
    assert [content_of(pair) for pair in split.pairs] == [("a", "b", ((1.0, 2.0),), None)]
    assert reasons(split) == [(2, "not a JSON object")]


def test_a_list_of_qvhighlights_rows(tmp_path: Path) -> None:
    row = {
        "qid": 1,
        "vid": "a",
        "query": "b",
        "duration": 38.72,
        "relevant_windows": [[29.2, 34.4]],
        "saliency_scores": [],
    }
    split = read_text(tmp_path, "x.json", json.dumps([row], indent=2))
    assert [(pair.id, *content_of(pair)) for pair in split.pairs] == [("1", "a", "b", ((29.2, 34.4),), 38.72)]
    assert not split.notes


def test_keys_of_several_formats_may_be_mixed(tmp_path: Path) -> None:
    rows = [
        {"video": "a", "query": "b", "duration": 9, "relevant_windows": [[1, 2]]},
        {"vid": "a", "caption": "b", "duration": "0:09", "begin": "1", "t_end": "0:02"},
        {"video_id": "a", "Sentence": "b", "start_ms": 1000, "end_ms": "2000", "duration_ms": 9000},
        {"video": "a", "text": "b", "timestamps": [1, 2], "duration": 9, "relevant_windows": None},
        {"youtube id": "a", "description": "b", "start": None, "end": None, "window": [["1", "2"]], "videoDuration": 9},
    ]
    split = read_text(tmp_path, "x.jsonl", "\n".join(map(json.dumps, rows)))
    assert [content_of(pair) for pair in split.pairs] == [("a", "b", ((1.0, 2.0),), 9.0)] * 5
    assert not split.problems


def test_keys_that_are_not_read_are_named_once(tmp_path: Path) -> None:
    row = {"vid": "a", "query": "b", "start": 1, "end": 2, "relevant_clip_ids": [1], "note": "x", "colour": 3, "": 1}
    split = read_text(tmp_path, "x.jsonl", json.dumps(row) + "\n" + json.dumps(row | {"more": 1}))
    assert split.notes == [f"{split.file}: not read: 'note', 'colour', 'more'"]


def test_names_with_other_uses_count_only_beside_a_moment(tmp_path: Path) -> None:
    """A video's description, as download tools write it, is not an annotation."""
    info = {"id": "x", "title": "y", "description": "z", "filename": "a.mp4", "duration": 9, "start_time": None}
    assert json_lines.ROWS.recognise(json.dumps(info)) is False
    assert json_lines.ROWS.recognise(json.dumps(info | {"start_time": 1, "end_time": 2})) is True


def test_a_note_stays_one_short_line(tmp_path: Path) -> None:
    unread = dict.fromkeys(["\ud800\n", "x" * 5000, *"cdefghijklm"], 1)
    row = {"vid": "a", "query": "b", "start": 1, "end": 2, **unread}
    [note] = read_text(tmp_path, "x.jsonl", json.dumps(row)).notes
    assert len(note) < 300
    assert note.isprintable()
    assert note.endswith("'h', ...")
