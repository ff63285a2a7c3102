"""`mttsg extract`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_core.features.store import read_features
from tests.conftest import SHARED, Mttsg
from tests.helpers.video_files import write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", range(50))


@pytest.fixture
def folder(tmp_path: Path, video: Path) -> Path:
    """Two videos, one of them deeper."""
    target = tmp_path / "videos"
    (target / "deep").mkdir(parents=True)
    shutil.copy(video, target / "a.mp4")
    shutil.copy(video, target / "deep" / "b.mp4")
    return target


def test_a_folder_into_a_folder(mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = mttsg("extract", folder, "--out", out, "--workers", "1", "--json")
    assert ran.code == 0
    assert ran.errors == []
    assert json.loads(ran.out) == {"videos": 2, "done": 2, "failed": 0, "folder": str(out)}
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "a.safetensors",
        "deep/b.safetensors",
    ]
    assert len(read_features(out / "a.safetensors").clips) == 4


def test_into_the_cache_and_finished_files_are_skipped(mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
    ran = mttsg("extract", folder, "--cache", tmp_path / "cache", "--workers", "1", "--verbose")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.count("s of video") == 2
    again = mttsg("extract", folder, "--cache", tmp_path / "cache", "--workers", "1", "--verbose")
    assert again.err.count("s of video") == 0
    anew = mttsg("extract", folder, "--cache", tmp_path / "cache", "--workers", "1", "--verbose", "--overwrite")
    assert anew.err.count("s of video") == 2
    assert "2 of 2 videos" in anew.err


def test_quiet_says_nothing(mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
    ran = mttsg("extract", folder, "--cache", tmp_path, "-q", "--workers", "1")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize("into", ["--out", "--cache"])
def test_what_fails_is_one_line_each_and_the_others_are_done(
    mttsg: Mttsg, folder: Path, video: Path, tmp_path: Path, into: str
) -> None:
    (folder / "broken.mp4").write_bytes(video.read_bytes()[:500])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mkv").write_text("x" * 1000)
    absent = tmp_path / "absent.mp4"
    ran = mttsg("extract", folder, absent, into, tmp_path / "to", "--json", "--workers", "1")
    assert ran.code == 1
    assert len(ran.errors) == 4
    for name in ("broken.mp4", "empty.mp4", "text.mkv"):
        [line] = [line for line in ran.errors if name in line]
        assert line.startswith(f"error: {folder / name}: ")
        assert len(line) > len(f"error: {folder / name}: ")
    assert any(line.startswith(f"error: {absent}: ") for line in ran.errors)
    assert {**json.loads(ran.out), "folder": ""} == {"videos": 6, "done": 2, "failed": 4, "folder": ""}
    assert len(list((tmp_path / "to").rglob("*.safetensors"))) == 2


@pytest.mark.parametrize("into", ["--out", "--cache"])
def test_one_good_and_one_missing_file_is_1_not_2(mttsg: Mttsg, video: Path, tmp_path: Path, into: str) -> None:
    ran = mttsg("extract", video, tmp_path / "absent.mp4", into, tmp_path / "to", "--workers", "1")
    assert ran.code == 1
    assert "1 of 2 videos" in ran.err


@pytest.mark.parametrize("kind", ["absent", "empty", "text", "no videos"])
@pytest.mark.parametrize("into", ["--out", "--cache"])
def test_nothing_usable_is_2_and_nothing_is_done(mttsg: Mttsg, tmp_path: Path, kind: str, into: str) -> None:
    path = tmp_path / f"{kind}.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("hello")
    elif kind == "no videos":
        path.mkdir()
    ran = mttsg("extract", path, into, tmp_path / "to")
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.errors) == 1
    assert str(path) in ran.errors[0]
    assert list(tmp_path.rglob("*.safetensors")) == []


@pytest.mark.parametrize(("option", "value"), [("--encoder", "resnet"), ("--reader", "vlc")])
def test_an_unknown_encoder_or_reader(mttsg: Mttsg, video: Path, tmp_path: Path, option: str, value: str) -> None:
    ran = mttsg("extract", video, "--out", tmp_path / "out", option, value)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert repr(value) in ran.errors[0]


@pytest.mark.parametrize("into", ["--out", "--cache"])
def test_a_place_that_cannot_be_written(mttsg: Mttsg, video: Path, tmp_path: Path, into: str) -> None:
    (tmp_path / "file").write_text("x")
    ran = mttsg("extract", video, into, tmp_path / "file")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert str(tmp_path / "file") in ran.errors[0]


def test_two_videos_of_one_name_do_not_overwrite_each_other(mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "a.mp4", folder / "a.mkv")
    out = tmp_path / "out"
    ran = mttsg("extract", folder, "--out", out, "--workers", "1", "--json")
    assert (ran.code, ran.errors) == (0, [])
    assert json.loads(ran.out)["done"] == 3
    assert sorted(path.name for path in out.glob("*.*")) == ["a.mkv.safetensors", "a.mp4.safetensors"]


def test_copies_of_one_video_in_the_cache(mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
    shutil.copy2(folder / "a.mp4", folder / "copy.mp4")
    ran = mttsg("extract", folder, "--cache", tmp_path / "cache", "--workers", "2", "--json")
    assert (ran.code, json.loads(ran.out)["done"]) == (0, 3)


NAMES = [
    "with space.mp4",
    "-dash.mp4",
    "new\nline.mp4",
    "ünï 开.mp4",
    "[red]:smile:.mp4",
    "%d.mp4",
    b"\xff\xfe.mp4",
    "a:b.mp4",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_are_hard_to_handle(video: Path, tmp_path: Path, name: str | bytes) -> None:
    """Through a real command line, in the video's own folder."""
    folder = tmp_path / "v"
    folder.mkdir()
    name = os.fsdecode(name)
    shutil.copy(video, folder / name)
    (folder / f"bad{name}").write_bytes(b"no video")
    command = [sys.executable, "-m", "mttsg_cli", "extract", "--json", "--encoder", "classic", "--out", "out", "--"]
    ran = subprocess.run([*command, name], cwd=folder, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["done"] == 1
    assert [path.name for path in (folder / "out").iterdir()] == [f"{name.removesuffix('.mp4')}.safetensors"]
    ran = subprocess.run([*command, f"./bad{name}"], cwd=folder, capture_output=True, check=False)
    assert ran.returncode == 2
    line, *_ = ran.stderr.decode().splitlines()
    assert line.startswith("error: bad")
    assert b"Traceback" not in ran.stderr


def test_an_output_folder_that_is_no_unicode(video: Path, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff out")
    command = [sys.executable, "-m", "mttsg_cli", "extract", str(video), "--json", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["folder"] == str(out)


@pytest.mark.skipif(not (SHARED / "nasty_videos").is_dir(), reason=f"{SHARED / 'nasty_videos'} is not there")
def test_the_nasty_videos(mttsg: Mttsg, tmp_path: Path) -> None:
    ran = mttsg("extract", SHARED / "nasty_videos", "--out", tmp_path / "out", "--json", "--fps", "1")
    report = json.loads(ran.out)
    assert ran.code == 1
    assert report["failed"] == len(ran.errors) >= 1  # the empty one
    assert report["done"] >= 8
    for path in (tmp_path / "out").rglob("*.safetensors"):
        assert len(read_features(path).clips) >= 1
