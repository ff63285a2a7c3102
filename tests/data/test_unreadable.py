"""Folders that cannot be read, and pipes and devices between the files of a data folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mttsg_core.data.feature_lookup import default_text_encoder
from mttsg_core.data.file_index import FeatureIndex, FileIndex
from mttsg_core.data.folder import DataFolder
from mttsg_core.errors import VideoError
from mttsg_core.features.extraction import ExtractionFailed, ExtractionJob, ExtractionSettings, extract
from mttsg_core.features.store import FeatureCache
from mttsg_core.video.discovery import find_videos
from tests.data.reading import touch, write_rows


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """`forbid(FOLDER)` takes away the permission to read a folder. Permissions do not stop an administrator."""
    forbidden: list[str] = []
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if os.fspath(path) in forbidden:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return lambda path: forbidden.append(str(path))


def test_an_unreadable_folder_takes_the_place_of_its_videos(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    touch(tmp_path / "videos", "a.mp4", "x/b.mp4", "y/c.mp4")
    hidden = tmp_path / "videos" / "x"
    forbid(hidden)
    videos = find_videos([tmp_path / "videos"])
    assert [video.name.as_posix() for video in videos] == ["a.mp4", "y/c.mp4", "x"]
    with pytest.raises(VideoError, match=f"^{hidden}: permission denied$"):
        FeatureCache(tmp_path / "cache").path(hidden, {"encoder": "classic"})
    [event] = extract([ExtractionJob(hidden, tmp_path / "x.safetensors", from_folder=True)], ExtractionSettings())
    assert isinstance(event, ExtractionFailed)
    assert event.reason == "permission denied"


def test_a_folder_of_videos_that_is_unreadable_itself(tmp_path: Path, forbid: Callable[[Path], None]) -> None:
    touch(tmp_path / "videos", "a.mp4")
    forbid(tmp_path / "videos")
    [video] = find_videos([tmp_path / "videos"])
    assert (video.path, video.name) == (tmp_path / "videos", Path("videos"))


@pytest.mark.parametrize("hidden", ["videos/x", "features/x", "videos", "features"])
def test_rows_without_a_video_name_the_folder_that_cannot_be_read(
    tmp_path: Path, hidden: str, forbid: Callable[[Path], None]
) -> None:
    touch(tmp_path / hidden, "b.mp4")
    write_rows(tmp_path / "train.jsonl", {"video": "b", "query": "q", "start": 0, "end": 1})
    forbid(tmp_path / hidden)
    [problem] = DataFolder.open(tmp_path).split("train").problems
    assert problem.line == 1
    assert problem.reason == (
        f"unknown video 'b': no video file and no features; {tmp_path / hidden} cannot be read: permission denied"
    )


def test_pipes_and_devices_are_not_files(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "a.npy", np.ones((4, 3), np.float32))
    for name in ("b.npy", "c.safetensors", "d.h5"):
        os.mkfifo(tmp_path / "features" / name)
    (tmp_path / "features" / "e.npy").symlink_to("/dev/zero")
    index = FeatureIndex(tmp_path / "features")
    for name in "bcde":
        assert index.find([name]) is None
    assert index.find(["a"]) is not None
    for name in ("video.csv", "durations.json", "glove.txt", "train.txt"):
        os.mkfifo(tmp_path / name)
    write_rows(tmp_path / "train.jsonl", {"video": "a", "query": "q", "start": 0, "end": 1})
    folder = DataFolder.open(tmp_path)
    assert len(folder.split("train").pairs) == 1
    assert default_text_encoder(tmp_path, {"encoder": "classic"}) == "hashed"


def test_a_missing_folder_is_not_unreadable(tmp_path: Path) -> None:
    assert FileIndex([(tmp_path / "absent", True)], [".npy"]).unreadable == []
