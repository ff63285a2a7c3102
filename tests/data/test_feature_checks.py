"""Features that training could not use, and the reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.feature_checks import unusable_features
from mttsg_core.data.folder import DataFolder
from mttsg_core.features.store import VideoFeatures, write_features
from tests.data.reading import touch, write_rows
from tests.helpers.video_files import write_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of rows with a duration for all videos but one."""
    rows = [{"video": name, "query": "b", "start": 0, "end": 1, "duration": 4} for name in "abcde"]
    write_rows(tmp_path / "train.jsonl", *rows, {"video": "untimed", "query": "b", "start": 0, "end": 1})
    (tmp_path / "features").mkdir()
    return tmp_path


def save(folder: Path, name: str, array: np.ndarray) -> None:
    np.save(folder / "features" / f"{name}.npy", array)


def reasons(path: Path) -> list[str]:
    folder = DataFolder.open(path)
    return [reason.removeprefix(f"{path}/features/") for reason in unusable_features(folder, [folder.split("train")])]


def test_good_features_have_no_reason(folder: Path) -> None:
    for name in "abcde":
        save(folder, name, np.ones((4, 3), np.float32))
    assert reasons(folder) == []


def test_each_bad_file_is_named_once(folder: Path) -> None:
    save(folder, "a", np.ones((4, 3), np.float32))
    save(folder, "b", np.ones((4, 5), np.float32))
    save(folder, "c", np.array([[np.nan]]))
    save(folder, "d", np.ones(3, np.float32))
    save(folder, "untimed", np.ones((4, 3), np.float32))
    touch(folder, "features/e.npy")
    found = reasons(folder)
    assert [reason.partition(":")[0] for reason in found] == ["b.npy", "c.npy", "d.npy", "e.npy", "untimed.npy"]
    assert "made with encoder 'external'" in found[0]
    assert "NaN" in found[1]
    assert "the duration of the video is unknown" in found[4]


def test_a_video_makes_up_for_other_features(folder: Path) -> None:
    """Features of another setting are extracted again where there is the video."""
    for name, fps in (("a", 1.0), ("b", 2.0), ("c", 2.0)):
        features = VideoFeatures(np.ones((4, 3), np.float32), None, 4.0, {"encoder": "classic", "fps": fps})
        write_features(folder / "features" / f"{name}.safetensors", features)
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "b.mp4", range(50))
    assert [reason.partition(":")[0] for reason in reasons(folder)] == ["c.safetensors"]


def test_pickles_beside_a_video_are_named(folder: Path) -> None:
    touch(folder, "features/a.pt")
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "a.mp4", range(50))
    [reason] = reasons(folder)
    assert reason.startswith("a.pt: a pickled file is never loaded")


def test_features_unlike_those_of_the_other_videos(folder: Path) -> None:
    for name, scale in zip("abcde", [1, 2, 5e4, 3, 1e12], strict=True):
        save(folder, name, np.full((4, 3), scale, np.float32))
    ending = "where those of other videos are about 3: not the same kind of features"
    assert reasons(folder) == [
        f"c.npy: 'c' has a value of 5e+04, {ending}",
        f"e.npy: 'e' has a value of 1e+12, {ending}",
    ]
