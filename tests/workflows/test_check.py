"""`check` and `iter_check`, from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mttsg_core import FolderStatistics, check, events
from mttsg_core.errors import DataError
from mttsg_core.workflows.check import iter_check
from tests.helpers.tiny import write_rows

ROW = {"video": "a", "query": "a person sits", "start": 0, "end": 2, "duration": 8}


def test_a_folder_with_bad_rows_and_shared_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "train.jsonl", [ROW, {**ROW, "query": ""}])
    write_rows(tmp_path / "val.jsonl", [ROW])
    seen: list[object] = []
    statistics = check(str(tmp_path), on_event=seen.append)
    assert isinstance(statistics, FolderStatistics)
    assert {name: split.pairs for name, split in statistics.splits.items()} == {"train": 1, "val": 1}
    [skipped, leak] = seen
    assert isinstance(skipped, events.RowsSkipped)
    assert list(skipped.problems) == statistics.problems
    assert leak == events.Warned("val: 1 video also in train: a")
    assert capsys.readouterr() == ("", "")
    *passed, report = iter_check(tmp_path)
    assert (passed, report) == (seen, statistics)


def test_features_and_files_that_cannot_be_used(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [ROW, {**ROW, "video": "b", "note": "x"}])
    (tmp_path / "val.parquet").write_bytes(b"PAR1")
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "a.npy", np.ones((4, 3), np.float32))
    np.save(tmp_path / "features" / "b.npy", np.full((4, 3), np.nan))
    seen: list[object] = []
    statistics = check(tmp_path, on_event=seen.append)
    unread = f"{tmp_path}: val.parquet is not read: it is in none of the known annotation formats"
    assert statistics.notes == [f"{tmp_path / 'train.jsonl'}: not read: 'note'", unread]
    [unusable] = statistics.unusable_features
    assert unusable.startswith(f"{tmp_path / 'features' / 'b.npy'}: ")
    assert seen == [*map(events.Warned, statistics.notes), events.InputFailed(unusable)]
    assert statistics.as_dict()["notes"] == statistics.notes
    assert statistics.as_dict()["unusable_features"] == [unusable]


def test_a_single_file(tmp_path: Path) -> None:
    assert check(write_rows(tmp_path / "mine.jsonl", [ROW])).splits["mine"].rows == 1


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no annotation file"):
        check(tmp_path)
