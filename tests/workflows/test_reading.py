"""What is said before annotation files that take long to read."""

from __future__ import annotations

from pathlib import Path

from mttsg_core.workflows.check import iter_check
from mttsg_core.workflows.events import Noted
from mttsg_core.workflows.reading import note_large_files

ROW = '{"video": "a", "query": "person opens door", "start": 1.0, "end": 2.0}\n'


def test_large_files_are_named_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(ROW * 70_000)
    (tmp_path / "val.jsonl").write_text(ROW)
    (tmp_path / "notes.md").write_text(ROW * 70_000)
    for data in (tmp_path, tmp_path / "train.jsonl"):
        assert list(note_large_files(data)) == [Noted("reading train.jsonl (5 MB)")]
    assert next(iter(iter_check(tmp_path))) == Noted("reading train.jsonl (5 MB)")


def test_nothing_is_said_of_small_or_missing_files(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(ROW)
    for data in (tmp_path, tmp_path / "train.jsonl", tmp_path / "missing"):
        assert list(note_large_files(data)) == []
