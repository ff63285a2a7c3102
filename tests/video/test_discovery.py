"""Videos in folders, beside the pictures, sounds and program texts that share their suffixes or their names."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mttsg_core.errors import DataError
from mttsg_core.video import discovery
from mttsg_core.video.discovery import PassedOver, VideoFile, find_videos
from tests.helpers.video_files import write_audio, write_video

CASES = Path(__file__).parents[3] / "shared" / "cases"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a download tool leaves it, with a project beside it."""
    write_video(tmp_path / "talk.mp4", range(5))
    write_video(tmp_path / "talk.webp", range(1), codec="libwebp")
    write_video(tmp_path / "talk.gif", range(5), codec="gif", pix_fmt="rgb8")
    write_audio(tmp_path / "talk.ogg")
    write_audio(tmp_path / "talk.m4a")
    write_video(tmp_path / "recording.ts", range(5))
    write_video(tmp_path / "dance.gif", range(5), codec="gif", pix_fmt="rgb8")
    write_video(tmp_path / "icon.gif", range(1), codec="gif", pix_fmt="rgb8")
    (tmp_path / "talk.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "main.ts").write_text("export const answer = 42;\n" * 30)
    return tmp_path


def test_videos_win_over_what_accompanies_them(folder: Path) -> None:
    passed: list[PassedOver] = []
    found = find_videos([folder], passed.append)
    assert [video.name.as_posix() for video in found] == ["recording.ts", "talk.mp4"]
    assert {file.path.relative_to(folder).as_posix(): file.reason for file in passed} == {
        "dance.gif": "a picture that moves; to use it, name the file itself",
        "icon.gif": "an image, not a video",
        "talk.gif": "a picture that moves; to use it, name the file itself",
        "talk.ogg": "no video stream",
        "talk.webp": "an image, not a video",
        "web/main.ts": "a text file, not a video",
    }


def test_files_that_are_passed_over_are_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mttsg"):
        find_videos([folder])
    assert f"{folder / 'talk.ogg'}: passed over (no video stream)" in caplog.messages
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def test_a_file_named_by_itself_is_taken_as_it_is(folder: Path) -> None:
    names = ["talk.webp", "talk.ogg", "talk.m4a", "dance.gif"]
    found = find_videos([folder / name for name in names])
    assert [video.name.name for video in found] == names
    assert not any(video.from_folder for video in found)


def test_a_file_named_as_well_as_its_folder_counts_as_named(folder: Path) -> None:
    for paths in ([folder, folder / "talk.mp4"], [folder / "talk.mp4", folder]):
        named = [video.path.name for video in find_videos(paths) if not video.from_folder]
        assert named == ["talk.mp4"]
    assert VideoFile(folder, folder) == VideoFile(folder, folder, from_folder=True)


def test_only_files_whose_suffix_proves_little_are_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (folder / f"{number}.mp4").touch()
    opened: list[str] = []

    def obstacle(path: Path) -> None:
        opened.append(path.name)

    monkeypatch.setattr(discovery, "video_obstacle", obstacle)
    find_videos([folder])
    assert sorted(opened) == [
        *("dance.gif", "icon.gif", "main.ts", "recording.ts", "talk.gif", "talk.ogg", "talk.webp")
    ]


def test_a_folder_of_pictures_says_what_was_there(tmp_path: Path) -> None:
    write_video(tmp_path / "a.webp", range(1), codec="libwebp")
    with pytest.raises(DataError, match=r"no video files in .*; .*a\.webp: passed over \(an image, not a video\)"):
        find_videos([tmp_path])


@pytest.mark.data
@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} does not exist")
def test_the_published_case() -> None:
    passed: list[PassedOver] = []
    found = find_videos([CASES / "sidecar" / "videos"], passed.append)
    assert [video.name.name for video in found] == ["0004.mp4", "0019.mp4"]
    assert sorted(file.path.name for file in passed) == ["0004.ogg", "0004.webp", "0019.webp"]
