"""What is said before annotation files that take long to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.workflows.reading import reading_notes
from tests.conftest import Mttsg

ROW = '{"video": "a", "query": "person opens door", "start": 1.0, "end": 2.0}\n'


def test_large_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(ROW * 70_000)
    (tmp_path / "val.jsonl").write_text(ROW)
    (tmp_path / "notes.md").write_text(ROW * 70_000)
    for data in (tmp_path, tmp_path / "train.jsonl"):
        assert list(reading_notes(data)) == ["reading train.jsonl (5 MB)"]


@pytest.mark.parametrize("command", ["check", "train", "evaluate"])
def test_commands_say_so_first(mttsg: Mttsg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr("mttsg_core.workflows.reading._LARGE", 10)
    (tmp_path / "train.jsonl").write_text("broken\n" * 3)
    ran = mttsg(command, tmp_path)
    assert ran.err.splitlines()[0] == "reading train.jsonl (0 MB)"
    assert "reading" not in mttsg(command, tmp_path, "--quiet").err


def test_nothing_is_said_of_small_or_missing_files(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(ROW)
    for data in (tmp_path, tmp_path / "train.jsonl", tmp_path / "missing"):
        assert list(reading_notes(data)) == []
