"""Durations of videos whose rows do not give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data.durations import find_durations, with_durations
from mttsg_core.data.folder import DataFolder
from tests.data.reading import touch, write_rows
from tests.helpers.video_files import write_video

ROW = {"query": "person opens door", "start": 0.5, "end": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", range(50))
    touch(tmp_path, "videos/broken.mp4", "features/broken.safetensors")
    rows = [
        ROW | {"video": "a"},
        ROW | {"video": "videos/a.mp4", "start": 7, "end": 8},
        ROW | {"video": "broken"},
        ROW | {"video": "broken.mp4", "duration": 9},
    ]
    write_rows(tmp_path / "train.jsonl", *rows)
    return DataFolder.open(tmp_path)


def test_a_duration_is_that_of_the_row_then_of_another_row_then_of_the_video(folder: DataFolder) -> None:
    pairs = folder.split("train").pairs
    assert find_durations(folder, pairs) == [pytest.approx(2.0), pytest.approx(2.0), 9.0, 9.0]
    assert find_durations(folder, pairs[2:3]) == [None]  # neither features nor video can be read


def test_a_moment_past_the_end_of_its_video_becomes_a_problem(folder: DataFolder) -> None:
    split = with_durations(folder, folder.split("train"))
    assert [pair.duration for pair in split.pairs] == [pytest.approx(2.0), 9.0, 9.0]
    [problem] = split.problems
    assert (problem.line, problem.reason) == (2, "start 7.0 is past the end of the video at 2.0")
    assert split.rows == 4
