"""Files that are found although their names differ from the annotations', and files beside videos."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mttsg_core.data.folder import DataFolder
from mttsg_core.errors import DataError
from tests.data.reading import touch, write_rows
from tests.helpers.video_files import write_audio, write_video

ROW = {"query": "b", "start": 1, "end": 2}


def open_folder(path: Path, *videos: str) -> DataFolder:
    """Open a data folder with a row for each name of a video."""
    write_rows(path / "train.jsonl", *(ROW | {"video": name} for name in videos or ["a"]))
    return DataFolder.open(path)


@pytest.mark.parametrize(
    ("file", "names"),
    [
        (
            "sub/win.mp4",
            ["videos\\sub\\win.mp4", "sub\\win", "./videos/sub/win.mp4", "sub/win.avi", "win", "SUB/WIN.mp4"],
        ),
        ("Clip One.MP4", ["Clip One.mp4", "clip one", "CLIP ONE.MP4", "videos/Clip One.mp4", "Videos/clip one"]),
        ("-abc123.mp4", ["-abc123", "-abc123.mp4", "videos/-abc123.webm", "-ABC123"]),
        (unicodedata.normalize("NFD", "Tür.mp4"), ["Tür", unicodedata.normalize("NFD", "Tür.mp4"), "TÜR.avi"]),
        ("vid0_0.0_150.0.mp4", ["vid0_0.0_150.0", "Vid0_0.0_150.0.mkv"]),
        ("N7ppHQNikv8.mp4", ["v_N7ppHQNikv8", "v_N7ppHQNikv8.mp4"]),
    ],
)
def test_a_video_is_found_where_only_one_can_be_meant(tmp_path: Path, file: str, names: list[str]) -> None:
    touch(tmp_path, f"videos/{file}", "videos/other/b.mp4")
    folder = open_folder(tmp_path, *names)
    assert {folder.find_video(name) for name in names} == {tmp_path / "videos" / file}
    assert len({folder.video_key(name) for name in names}) == 1
    assert not folder.split("train").problems


def test_an_absolute_path_inside_the_folder_does_not_leave_it(tmp_path: Path) -> None:
    touch(tmp_path, "secret.mp4", "data/videos/k/a.mp4")
    inside, outside = tmp_path / "data/videos/k/a.mp4", tmp_path / "data/../secret.mp4"
    folder = open_folder(tmp_path / "data", str(inside), str(inside.with_suffix("")), str(outside), "/etc/passwd")
    assert [pair.video for pair in folder.split("train").pairs] == [str(inside), str(inside.with_suffix(""))]
    assert folder.video_key(str(inside)) == folder.video_key("a") == "k/a"
    assert [folder.find_video(str(path)) for path in (inside, outside)] == [inside, None]
    assert all("leaves the data folder" in problem.reason for problem in folder.split("train").problems)


def test_names_that_several_videos_may_have_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "videos/Clip.mp4", "videos/clip.mkv", "videos/b.mp4")
    if len(list((tmp_path / "videos").iterdir())) < 3:
        pytest.skip("this file system does not tell capitals apart")
    folder = open_folder(tmp_path, "Clip", "clip", "CLIP", "clip.webm", "b")
    problems = folder.split("train").problems
    reason = "2 videos match 'CLIP': videos/Clip.mp4, videos/clip.mkv"
    assert [(problem.line, problem.reason) for problem in problems] == [(3, reason)]
    assert folder.find_video("Clip") == tmp_path / "videos/Clip.mp4"
    assert folder.find_video("clip") == tmp_path / "videos/clip.mkv"


def test_a_name_in_another_case_does_not_leave_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "secret.mp4", "data/videos/a.mp4")
    folder = open_folder(tmp_path / "data", "..\\SECRET.mp4")
    assert folder.find_video("..\\SECRET.mp4") is None
    assert "leaves the data folder" in folder.split("train").problems[0].reason


@pytest.fixture
def sidecars(tmp_path: Path) -> Path:
    """A folder of a video with what download tools leave beside it."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/a.mp4", range(10))
    write_audio(tmp_path / "videos/a.ogg")
    for suffix in ("webp", "gif"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"videos/a.{suffix}")
    return tmp_path


def test_pictures_and_sound_beside_a_video_are_passed_over(sidecars: Path) -> None:
    folder = open_folder(sidecars, "a", "videos/a.mp4", "a.avi")
    assert not folder.split("train").problems
    assert folder.find_video("a") == sidecars / "videos/a.mp4"
    assert folder.video_key("a") == "a"
    touch(sidecars, "features/a.npy")
    assert DataFolder.open(sidecars).find_features("a") == sidecars / "features/a.npy"


def test_a_picture_or_sound_alone_is_no_video(sidecars: Path) -> None:
    (sidecars / "videos/a.mp4").unlink()
    [problem] = open_folder(sidecars, "a").split("train").problems
    assert problem.reason == "unknown video 'a': no video file and no features"
    assert DataFolder.open(sidecars).find_video("a.webp") == sidecars / "videos/a.webp"  # named as it is


def test_content_decides_whether_a_weak_suffix_is_a_video(sidecars: Path) -> None:
    (sidecars / "videos/a.mp4").unlink()
    frames = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 100, 200)]
    frames[0].save(sidecars / "videos/a.gif", save_all=True, append_images=frames[1:], duration=100)
    assert open_folder(sidecars).find_video("a") == sidecars / "videos/a.gif"
    write_video(sidecars / "videos/a.mkv", range(10))
    assert open_folder(sidecars).find_video("a") == sidecars / "videos/a.mkv"


def test_features_of_videos_with_one_stem_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "videos/a.avi", "videos/a.mp4", "videos/b.mp4")
    touch(tmp_path, "features/a.avi.npy", "features/a.mp4.npy", "features/b.mp4.npy")
    folder = open_folder(tmp_path, "a.avi", "a.mp4", "b")
    assert folder.find_features("a.avi") == tmp_path / "features/a.avi.npy"
    assert folder.find_features("videos/a.mp4") == tmp_path / "features/a.mp4.npy"
    assert not folder.split("train").problems
    (tmp_path / "features/a.avi.npy").rename(tmp_path / "features/a.npy")
    folder = DataFolder.open(tmp_path)
    assert folder.find_features("a.avi") is None  # a.npy may be of either
    assert folder.find_features("a.mp4") == tmp_path / "features/a.mp4.npy"


def test_features_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "features/a.pt", "features/b.npy", "features/c.mat")
    problems = open_folder(tmp_path, "a", "b", "c").split("train").problems
    assert [problem.line for problem in problems] == [1, 3]
    assert problems[0].reason.startswith(f"{tmp_path / 'features/a.pt'}: a pickled file is never loaded")
    assert "numpy.save" in problems[0].reason
    assert "MATLAB" in problems[1].reason


def test_files_with_the_name_of_a_split_in_no_known_format_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"train\.json is not read: it is in none of the known annotation formats"):
        DataFolder.open(tmp_path)
