"""The data folder: its videos and features, and rows that it has neither for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder
from mttsg_core.errors import DataError, FeatureError
from tests.data.reading import touch, write_rows

GOOD = {"video": "a", "query": "b", "start": 1, "end": 2}


def test_a_folder_that_cannot_be_opened(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    for path, message in (("none", "no such folder"), ("file", "not a folder"), (".", "no annotation file")):
        with pytest.raises(DataError, match=message):
            DataFolder.open(tmp_path / path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    write_rows(data / "train.jsonl", GOOD)
    touch(data, "videos/kitchen/a.mp4", "videos/kitchen/a.srt", "videos/x_1.0_2.5.mp4", "videos/.hidden.mp4", "top.mkv")
    return data


@pytest.mark.parametrize(
    "name", ["a", "a.mp4", "kitchen/a", "kitchen/a.mp4", "videos/kitchen/a.mp4", "./videos//kitchen/a.mp4", "a.avi"]
)
def test_a_video_is_found_by_each_of_its_names(folder: Path, name: str) -> None:
    data = DataFolder.open(folder)
    assert data.find_video(name) == folder / "videos/kitchen/a.mp4"
    assert data.video_key(name) == "kitchen/a"


def test_other_names_find_no_video(folder: Path) -> None:
    data = DataFolder.open(folder)
    assert data.find_video("x_1.0_2.5") == folder / "videos/x_1.0_2.5.mp4"
    assert data.find_video("top") == data.find_video("top.mkv") == folder / "top.mkv"
    for name in ("b", ".hidden", "bath/a", "x_1.0", "x" * 5000, "videos", "."):
        assert data.find_video(name) is None
    assert data.video_key("b.mp4") == data.video_key("videos/b.mp4") == "b"


def test_a_name_shared_by_two_videos_is_ambiguous(folder: Path) -> None:
    touch(folder, "videos/bath/a.mp4", "videos/kitchen/b.mp4", "videos/kitchen/b.webm")
    write_rows(folder / "train.jsonl", GOOD, GOOD | {"video": "kitchen/a"}, GOOD | {"video": "b"})
    data = DataFolder.open(folder)
    split = data.split("train")
    assert [pair.video for pair in split.pairs] == ["kitchen/a"]
    assert [str(problem) for problem in split.problems] == [
        f"{folder / 'train.jsonl'}:1: 2 videos match 'a': videos/bath/a.mp4, videos/kitchen/a.mp4",
        f"{folder / 'train.jsonl'}:3: 2 videos match 'b': videos/kitchen/b.mp4, videos/kitchen/b.webm",
    ]
    assert data.video_key("kitchen/b.mp4") != data.video_key("kitchen/b.webm")


@pytest.mark.parametrize(
    "name", ["../secret.mp4", "/etc/passwd", "videos/../../secret.mp4", "C:\\a.mp4", "..\\a", "a\0b"]
)
def test_paths_that_leave_the_folder_are_bad_rows(folder: Path, name: str) -> None:
    touch(folder.parent, "secret.mp4")
    write_rows(folder / "train.jsonl", GOOD, GOOD | {"video": name})
    data = DataFolder.open(folder)
    assert data.find_video(name) is None
    assert data.find_features(name) is None
    for check_videos in (True, False):
        split = data.split("train", check_videos=check_videos)
        assert [problem.line for problem in split.problems] == [2]
        assert "leaves the data folder" in split.problems[0].reason or "null character" in split.problems[0].reason


def test_links_that_leave_the_folder_are_bad_rows(folder: Path) -> None:
    touch(folder.parent, "secret.mp4", "secret.npy")
    (folder / "features").mkdir()
    try:
        (folder / "videos" / "link.mp4").symlink_to(folder.parent / "secret.mp4")
        (folder / "videos" / "inner.mp4").symlink_to(folder / "top.mkv")
        (folder / "features" / "feat.npy").symlink_to(folder.parent / "secret.npy")
    except OSError:
        pytest.skip("this system cannot create links")
    write_rows(folder / "train.jsonl", *(GOOD | {"video": name} for name in ("inner", "link", "feat")))
    data = DataFolder.open(folder)
    assert data.find_video("link.mp4") is None
    assert data.find_features("feat") is None
    split = data.split("train")
    assert [problem.line for problem in split.problems] == [2, 3]
    assert "link that leaves the data folder" in split.problems[0].reason


def test_the_folder_of_videos_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "disk/a.mp4")
    write_rows(tmp_path / "data" / "train.jsonl", GOOD)
    try:
        (tmp_path / "data" / "videos").symlink_to(tmp_path / "disk", target_is_directory=True)
    except OSError:
        pytest.skip("this system cannot create links")
    assert not DataFolder.open(tmp_path / "data").split("train").problems


def test_rows_of_unknown_videos_are_bad_rows(folder: Path) -> None:
    write_rows(folder / "train.jsonl", GOOD, GOOD | {"video": "b"}, GOOD | {"video": "c"})
    touch(folder, "features/c.npy")
    data = DataFolder.open(folder)
    split = data.split("train")
    assert [pair.video for pair in split.pairs] == ["a", "c"]
    assert split.problems[0].reason == "unknown video 'b': no video file and no features"
    assert not data.split("train", check_videos=False).problems
    with pytest.raises(DataError, match=r"train\.jsonl:2: unknown video"):
        data.split("train", strict=True)


def test_annotations_alone_are_not_checked_for_videos(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", GOOD)
    data = DataFolder.open(tmp_path)
    assert not data.has_media
    assert not data.split("train").problems


def test_features_are_found_by_the_names_of_their_video(folder: Path) -> None:
    touch(folder, "features/kitchen/a.npy", "features/b.npz", "features/b.safetensors", "features/x_1.0_2.5.npy")
    touch(folder.parent, "made/deeper/z.npy", "made/a.npz")
    data = DataFolder.open(folder)
    for name in ("a", "videos/kitchen/a.mp4", "kitchen/a"):
        assert data.find_features(name) == folder / "features/kitchen/a.npy"
    assert data.find_features("b.mp4") == folder / "features/b.safetensors"
    assert data.find_features("x_1.0_2.5") == folder / "features/x_1.0_2.5.npy"
    assert data.find_features("z") is None
    assert data.find_features("z", folder.parent / "made") == folder.parent / "made/deeper/z.npy"
    assert data.video_key("b.mp4") == data.video_key("videos/b.mp4") == "b"
    external = DataFolder.open(folder, features=folder.parent / "made")
    assert external.find_features("videos/kitchen/a.mp4") == folder.parent / "made/a.npz"


def test_features_of_one_stem_are_not_mixed_up(folder: Path) -> None:
    touch(folder, "videos/bath/a.mp4", "features/a.npy")
    data = DataFolder.open(folder)
    assert data.find_features("bath/a.mp4") is None
    assert data.find_features("kitchen/a.mp4") is None


def test_hdf5_features(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (folder / "features").mkdir()
    with h5py.File(folder / "features" / "all.h5", "w") as file:
        file["a"] = [[1.0]]
        file["q"] = [[1.0]]
    data = DataFolder.open(folder)
    assert data.find_features("videos/kitchen/a.mp4") == folder / "features/all.h5"
    assert data.video_key("videos/kitchen/a.mp4") == "a"
    assert data.find_features("q.mp4", folder / "features/all.h5") == folder / "features/all.h5"
    assert data.find_features("none") is None
    touch(folder, "features/broken.h5")
    with pytest.raises(FeatureError, match="broken"):
        DataFolder.open(folder).find_features("q")


def test_reading_data_needs_no_heavy_imports() -> None:
    code = (
        "import sys, mttsg_core.data.statistics, mttsg_core.evaluation.metrics, mttsg_core.data.predictions;"
        "print([name for name in ('torch', 'typer', 'rich', 'av', 'h5py') if name in sys.modules])"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])  # fmt: skip
    assert completed.stdout.strip() == "[]"


def test_a_folder_without_videos_and_features_says_where_it_looked(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"video": "a", "query": "q", "start": 1, "end": 2}\n')
    with pytest.raises(DataError) as caught:
        DataFolder.open(tmp_path).require_media()
    for said in (tmp_path / "videos", tmp_path / "features", "--features", "mttsg extract VIDEOS --out"):
        assert str(said) in str(caught.value)
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "a.npy").touch()
    DataFolder.open(tmp_path).require_media()
