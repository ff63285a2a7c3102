"""Durations of videos whose rows do not give them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data import durations
from mttsg_core.data.durations import find_durations, with_file_durations
from mttsg_core.data.folder import DataFolder
from mttsg_core.features.store import VideoFeatures, write_features
from mttsg_core.video.probe import VideoInfo, probe
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
    split = with_file_durations(folder, folder.split("train"))
    assert [pair.duration for pair in split.pairs] == [pytest.approx(2.0), 9.0, 9.0]
    [problem] = split.problems
    assert (problem.line, problem.reason) == (2, "start 7.0 is past the end of the video at 2.0")
    assert split.rows == 4


Stated = tuple[list[tuple[object, float]], list[tuple[int, str, bool]], int]


def stated(folder: DataFolder, *rows: Mapping[str, object]) -> Stated:
    """Return moments and durations, problems, and the number of notes of a split of rows about a video of 2 seconds."""
    write_rows(folder.path / "val.jsonl", *({**ROW, "video": "a", **row} for row in rows))
    folder = DataFolder.open(folder.path)
    split = with_file_durations(folder, folder.split("val"))
    pairs: list[tuple[object, float]] = [(pair.moments, round(pair.duration or 0, 2)) for pair in split.pairs]
    return pairs, [(p.line, p.reason, p.row_used) for p in split.problems], len(split.notes)


def test_the_file_decides_where_rows_state_another_duration(folder: DataFolder) -> None:
    late = "start 60.0 is past the end of the video at 2.0"
    rows = [{"duration": 150}, {"duration": 150, "start": 60, "end": 70}, {"duration": 150, "end": 90}]
    assert stated(folder, *rows) == (
        [(((0.5, 1.0),), 2.0), (((0.5, 90.0),), 2.0)], [(2, late, False)], 1,
    )  # fmt: skip
    several = {"duration": 150, "start": None, "end": None, "moments": [[0, 1], [60, 70]]}
    assert stated(folder, several) == ([(((0.0, 1.0),), 2.0)], [(1, late, True)], 1)
    assert stated(folder, {"duration": 2.5})[2] == 0  # as near as rounding brings it


def test_features_of_other_programs_cover_the_stated_duration(folder: DataFolder) -> None:
    """Such features do not record how long the video is, so that training goes by the rows."""
    (folder.path / "features").mkdir(exist_ok=True)
    np.save(folder.path / "features" / "a.npy", np.ones((4, 3), np.float32))
    late = {"duration": 150, "start": 60, "end": 70}
    assert stated(folder, late) == ([(((60.0, 70.0),), 150.0)], [], 0)
    assert stated(folder, {"start": 60, "end": 70})[0] == []  # nothing is stated: the video's own duration


def test_recorded_features_decide(folder: DataFolder) -> None:
    features = VideoFeatures(np.ones((4, 3), np.float32), None, 8.0, {"encoder": "x"}, start=1.0)
    write_features(folder.path / "features" / "a.safetensors", features)
    pairs, problems, _ = stated(folder, {"start": 8.5, "end": 9.5}, {"start": 9.5, "end": 10})
    assert pairs == [(((8.5, 9.5),), 9.0)]
    assert [reason for _, reason, _ in problems] == ["start 9.5 is past the end of the video at 9.0"]


@pytest.mark.parametrize(
    ("row", "times"),
    [
        ({"duration": 2.2, "end": 90}, 0),
        ({"duration": 2.2, "start": 1.5, "end": 1.9}, 1),
        ({"duration": 9}, 1),
    ],
)
def test_a_video_is_read_only_where_its_header_leaves_a_doubt(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch, row: Mapping[str, object], times: int
) -> None:
    probed: list[Path] = []

    def counted(path: Path) -> VideoInfo:
        probed.append(path)
        return probe(path)

    monkeypatch.setattr(durations, "probe", counted)
    stated(folder, row, {**row, "query": "other"})
    assert len(probed) == times
