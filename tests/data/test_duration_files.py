"""Files of durations beside an annotation file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data.duration_files import DurationFiles
from mttsg_core.errors import DataError
from tests.data.reading import read_text


def test_lookup_by_name_or_stem(tmp_path: Path) -> None:
    (tmp_path / "durations_train.json").write_text('{"a": 3, "b.mp4": 4.5}')
    (tmp_path / "videos.csv").write_text("id,length\nc,7\nd,long\ne,\n")
    (tmp_path / "other.csv").write_text("id,height\na,240\n")
    durations = DurationFiles(tmp_path)
    assert durations.get("a") == durations.get("a.mp4") == 3
    assert (durations.get("b.mp4"), durations.get("b")) == (4.5, None)
    assert (durations.get("c"), durations.get("d"), durations.get("e")) == (7.0, "long", None)


@pytest.mark.parametrize(("content", "reason"), [("[1]", "not a JSON object"), ("{", "invalid JSON")])
def test_a_broken_file_is_named(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "durations.json").write_text(content)
    with pytest.raises(DataError, match=rf"durations\.json: {reason}"):
        read_text(tmp_path, "train.txt", "A 1 2##b")


def test_files_are_read_only_if_a_row_needs_them(tmp_path: Path) -> None:
    (tmp_path / "durations.json").write_text("[1]")
    row = '{"video": "a", "query": "b", "start": 1, "end": 2, "duration": 3}'
    assert not read_text(tmp_path, "train.jsonl", row).problems
