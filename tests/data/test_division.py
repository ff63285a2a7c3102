"""Folds and shares: no video is ever both trained on and tested, whatever the form of the rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.division import divide_by_share, divide_into_folds
from mttsg_core.data.folder import DataFolder
from mttsg_core.errors import ConfigError, DataError
from tests.helpers.tiny import write_rows


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    """23 videos with one to three sentences each in train and val, and two to test; ids are counted in each file."""
    for split, first, last in (("train", 0, 20), ("val", 20, 23), ("test", 23, 25)):
        rows = [
            {"video": f"v{video}", "query": f"q{i}", "start": i, "end": i + 2.0, "duration": 9.0}
            for video in range(first, last)
            for i in range(1 + video % 3)
        ]
        write_rows(tmp_path / f"{split}.jsonl", [{**row, "id": number} for number, row in enumerate(rows)])
    (tmp_path / "features").mkdir()
    for video in range(25):
        np.save(tmp_path / "features" / f"v{video}.npy", np.ones((4, 3), np.float32))
    return DataFolder.open(tmp_path)


def rows(folder: DataFolder, *splits: str) -> list[tuple[str, str]]:
    """Video and sentence of every row, sorted."""
    return sorted((pair.video, pair.query) for name in splits for pair in folder.split(name).pairs)


def videos(folder: DataFolder, split: str) -> set[str]:
    """The videos of a split."""
    return {video for video, _ in rows(folder, split)}


def test_folds_share_no_video_and_each_video_is_left_out_once(data: DataFolder) -> None:
    left: list[str] = []
    for number, fold in enumerate(divide_into_folds(data, 4), start=1):
        parts = [videos(fold, name) for name in ("train", "val", "left")]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 23
        assert min(map(len, parts)) >= 5
        assert rows(fold, "train", "val", "left") == rows(data, "train", "val")
        assert rows(fold, "test") == rows(data, "test")
        assert fold.division == f"fold {number} of 4 by video"
        assert all(len({pair.id for pair in fold.split(name).pairs}) == len(rows(fold, name)) for name in fold.splits)
        left += parts[2]
    assert len(left) == len(set(left)) == 23


def test_the_other_training_videos_become_the_split_rest(data: DataFolder) -> None:
    few = divide_by_share(data, 0.25)
    assert len(videos(few, "train")) == 5
    assert not videos(few, "train") & videos(few, "rest")
    assert rows(few, "train", "rest") == rows(data, "train")
    assert rows(few, "val") == rows(data, "val")
    assert rows(divide_by_share(data, 0.25), "train") == rows(few, "train") != rows(data, "train")
    assert divide_by_share(data, 0.5).division == "10 of 20 training videos"


def test_rows_of_other_formats_are_divided_by_video_too(tmp_path: Path) -> None:
    rows_of_video = [
        {"qid": 10 * v + q, "query": f"q{q}", "vid": f"v{v}", "duration": 20, "relevant_windows": [[0, 4], [6, 8]]}
        for v in range(6)
        for q in range(3)
    ]
    write_rows(tmp_path / "train.jsonl", rows_of_video)
    lines = [f"c{v} 0.0 {q + 1}.5##sentence {q}" for v in range(3) for q in range(2)]
    (tmp_path / "val.txt").write_text("\n".join(lines) + "\n")
    parts = divide_into_folds(DataFolder.open(tmp_path), 3)
    assert sorted(len(videos(fold, "left")) for fold in parts) == [3, 3, 3]
    assert sorted(row for fold in parts for row in rows(fold, "left")) == rows(
        DataFolder.open(tmp_path), "train", "val"
    )
    two = [pair for fold in parts for pair in fold.split("left").pairs if pair.video.startswith("v")]
    assert all(pair.moments == ((0.0, 4.0), (6.0, 8.0)) for pair in two)


def test_bad_rows_are_problems_of_the_parts(data: DataFolder) -> None:
    with (data.path / "train.jsonl").open("a") as file:
        file.write(json.dumps({"video": "v1", "query": "", "start": 0, "end": 1}) + "\n")
    assert [problem.line for problem in divide_by_share(data, 0.5).split("rest").problems] == [40]
    with pytest.raises(DataError):
        divide_by_share(data, 0.5).split("rest", strict=True)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 0.001, float("nan")])
def test_a_share_that_divides_nothing_is_refused(data: DataFolder, share: float) -> None:
    with pytest.raises(ConfigError, match="share"):
        divide_by_share(data, share)


def test_folds_that_cannot_be_are_refused(data: DataFolder, tmp_path: Path) -> None:
    for folds in (2, 24):
        with pytest.raises(ConfigError, match="folds"):
            divide_into_folds(data, folds)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(DataError, match="no train split"):
        divide_by_share(DataFolder.open(tmp_path), 0.5)
