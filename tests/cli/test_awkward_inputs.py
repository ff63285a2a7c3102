"""Folders as download tools leave them, names that collide, and folders that cannot be written."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.file_index import FeatureIndex
from mttsg_core.features import extraction
from mttsg_core.features.extraction import ExtractionSettings
from mttsg_core.features.store import VideoFeatures, read_features
from mttsg_core.inference.grounder import Grounder
from tests.conftest import Mttsg
from tests.helpers.tiny import model_folder
from tests.helpers.video_files import write_audio, write_video

QUERY = "person opens door"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two videos with different pictures."""
    folder = tmp_path_factory.mktemp("videos")
    return write_video(folder / "one.mp4", range(25)), write_video(folder / "two.avi", range(25), codec="mpeg4")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of the built-in encoder; it has learned nothing."""
    encoder = ExtractionSettings().build_encoder()
    width, height = encoder.frame_transform.size
    blank = np.zeros((1, encoder.frames_per_clip, height, width, 3), dtype=np.uint8)
    clip_dim = encoder.encode(blank).clips.shape[1]
    fingerprint = ExtractionSettings().fingerprint(encoder)
    return model_folder(tmp_path_factory.mktemp("model"), fingerprint=fingerprint, regions=False, clip_dim=clip_dim)


@pytest.fixture
def folder(tmp_path: Path, videos: tuple[Path, Path]) -> Path:
    """One video among its thumbnail, its sound, a podcast and a program text."""
    made = tmp_path / "My Videos"
    made.mkdir()
    shutil.copy2(videos[0], made / "talk.mp4")
    write_video(made / "talk.webp", range(1), codec="libwebp")
    write_audio(made / "talk.ogg")
    write_audio(made / "talk.m4a")
    write_audio(made / "podcast.mp4")
    (made / "main.ts").write_text("export const answer = 42;\n")
    return made


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A folder that nobody can create, the administrator included."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "folder"


class TestSidecars:
    """Only videos are read in a folder; what accompanies them is not a failure."""

    def test_an_extraction(self, mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
        ran = mttsg("extract", folder, "--out", tmp_path / "out", "--workers", "1")
        assert (ran.code, ran.errors) == (0, [])
        assert "features of 1 of 1 video are in" in ran.err
        assert "passed over" not in ran.err
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk.safetensors"]

    def test_they_are_named_with_verbose(self, mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
        ran = mttsg("extract", folder, "--out", tmp_path / "out", "--workers", "1", "-v")
        for name, reason in (
            ("talk.webp", "an image, not a video"),
            ("talk.ogg", "no video stream"),
            ("podcast.mp4", "no video stream"),
            ("main.ts", "a text file, not a video"),
        ):
            assert ran.err.count(f"{folder / name}: passed over ({reason})") == 1

    def test_an_answer(self, mttsg: Mttsg, folder: Path, model: Path, tmp_path: Path) -> None:
        ran = mttsg("ground", folder, QUERY, "--model", model, "--cache", tmp_path / "c", "--workers", "1", "-v")
        assert (ran.code, ran.errors) == (0, [])
        assert {line.split("\t")[0] for line in ran.out.splitlines()[1:]} == {str(folder / "talk.mp4")}
        assert ran.err.count("passed over") == 4

    @pytest.mark.parametrize("name", ["talk.webp", "talk.ogg", "podcast.mp4", "main.ts"])
    def test_named_by_itself_such_a_file_is_an_error(
        self, name: str, mttsg: Mttsg, folder: Path, tmp_path: Path
    ) -> None:
        ran = mttsg("extract", folder / name, "--out", tmp_path / "out", "--workers", "1")
        assert ran.code == 2
        assert len(ran.errors) == 1
        assert str(folder / name) in ran.errors[0]

    def test_a_folder_of_sound_has_no_videos(self, mttsg: Mttsg, tmp_path: Path) -> None:
        write_audio(tmp_path / "podcast.mp4")
        ran = mttsg("extract", tmp_path, "--cache", tmp_path / "c", "--workers", "1")
        assert ran.code == 2
        assert ran.errors == [f"error: no video files in {tmp_path}"]


class TestNames:
    """Videos that differ in their suffix alone have features side by side."""

    def features_of(self, out: Path, name: str) -> VideoFeatures:
        match = FeatureIndex(out).find([name, Path(name).stem])
        assert match is not None
        assert match.path is not None
        return read_features(match.path)

    @pytest.mark.parametrize("at_once", [True, False])
    @pytest.mark.parametrize("first", ["a.avi", "a.mp4"])
    def test_each_video_finds_its_own_features(
        self, at_once: bool, first: str, mttsg: Mttsg, videos: tuple[Path, Path], tmp_path: Path
    ) -> None:
        data, out = tmp_path / "videos", tmp_path / "out"
        data.mkdir()
        shutil.copy2(videos[0], data / "a.mp4")
        write_video(data / "a.avi", range(75), codec="mpeg4")
        names = [first, "a.mp4" if first == "a.avi" else "a.avi"]
        for paths in [[data]] if at_once else [[data / name] for name in names]:
            ran = mttsg("extract", *paths, "--out", out, "--workers", "1")
            assert (ran.code, ran.errors) == (0, [])
        written = sorted(path.name for path in out.iterdir())
        second = f"{names[1]}.safetensors"
        assert written == (["a.avi.safetensors", "a.mp4.safetensors"] if at_once else sorted(["a.safetensors", second]))
        assert round(self.features_of(out, "a.mp4").duration or 0) == 1
        assert round(self.features_of(out, "a.avi").duration or 0) == 3
        again = mttsg("extract", data, "--out", out, "--workers", "1", "-v")
        assert (again.code, " clips of " in again.err) == (0, False)

    def test_a_name_that_another_video_takes_by_its_suffix(
        self, mttsg: Mttsg, videos: tuple[Path, Path], tmp_path: Path
    ) -> None:
        data, out = tmp_path / "videos", tmp_path / "out"
        data.mkdir()
        for name in ("a.mp4", "a.m4v", "a.mp4.mov", "b.mp4"):
            shutil.copy2(videos[0], data / name)
        assert mttsg("extract", data, "--out", out, "--workers", "1").code == 0
        assert sorted(path.name for path in out.iterdir()) == [
            "a.m4v.safetensors",
            "a.mp4.mov.safetensors",
            "a.mp4.safetensors",
            "b.safetensors",
        ]

    def test_equal_names_in_different_folders(self, mttsg: Mttsg, videos: tuple[Path, Path], tmp_path: Path) -> None:
        paths = [tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4"]
        for path in paths:
            path.parent.mkdir()
            shutil.copy2(videos[0], path)
        ran = mttsg("extract", *paths, "--out", tmp_path / "out", "--workers", "1")
        assert ran.code == 1
        assert ran.errors == [
            f"error: {paths[1]}: its features would replace those of {paths[0]}; extract it to another folder"
        ]


class TestFoldersThatCannotBeWritten:
    """An answer needs no cache; whoever wants features to keep hears at once that they cannot be kept."""

    def test_an_answer_without_a_cache(
        self, mttsg: Mttsg, model: Path, videos: tuple[Path, Path], tmp_path: Path, nowhere: Path
    ) -> None:
        arguments = ("ground", videos[0].parent, QUERY, "--model", model, "--workers", "1")
        ran = mttsg(*arguments, "--cache", nowhere)
        assert (ran.code, ran.errors) == (0, [])
        warnings = [line for line in ran.err.splitlines() if str(nowhere) in line]
        assert warnings == [f"warning: {nowhere}: cannot be written (not a directory), so features are not kept"]
        assert ran.out == mttsg(*arguments, "--cache", tmp_path / "cache").out

    def test_an_answer_in_python(self, model: Path, videos: tuple[Path, Path], tmp_path: Path, nowhere: Path) -> None:
        without = Grounder.load(model, device="cpu", cache=nowhere).ground(videos[0], QUERY)
        assert without == Grounder.load(model, device="cpu", cache=tmp_path / "cache").ground(videos[0], QUERY)

    def test_an_answer_with_a_full_disk(
        self,
        mttsg: Mttsg,
        model: Path,
        videos: tuple[Path, Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        arguments = ("ground", videos[0].parent, QUERY, "--model", model, "--workers", "1")
        expected = mttsg(*arguments, "--cache", tmp_path / "other").out
        monkeypatch.setattr(extraction, "write_features", fill_disk)
        ran = mttsg(*arguments, "--cache", tmp_path / "cache")
        assert (ran.code, ran.errors, ran.out) == (0, [], expected)
        warning = (
            f"warning: {tmp_path / 'cache'}: cannot be written (no space left on device), so features are not kept"
        )
        assert ran.err.count(warning) == 1

    @pytest.mark.parametrize("option", ["--out", "--cache"])
    def test_an_extraction_is_refused_before_a_video_is_read(
        self,
        option: str,
        mttsg: Mttsg,
        videos: tuple[Path, Path],
        nowhere: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(extraction, "extract", None)
        ran = mttsg("extract", *videos, option, nowhere, "--workers", "1")
        assert ran.code == 2
        assert ran.errors == [f"error: {nowhere}: cannot be written (not a directory)"]

    def test_an_extraction_with_a_full_disk_is_one_line_for_each_file(
        self, mttsg: Mttsg, videos: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(extraction, "write_features", fill_disk)
        ran = mttsg("extract", *videos, "--out", tmp_path / "out", "--workers", "1")
        assert ran.code == 2
        reason = f"its features cannot be written to {tmp_path / 'out'} (no space left on device)"
        assert sorted(ran.errors) == [f"error: {video}: {reason}" for video in videos]

    @pytest.mark.parametrize("where", ["--out", "the user's data folder"])
    def test_a_training_is_refused_before_a_video_is_read(
        self,
        where: str,
        mttsg: Mttsg,
        videos: tuple[Path, Path],
        tmp_path: Path,
        nowhere: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "videos").mkdir()
        shutil.copy2(videos[0], tmp_path / "videos")
        (tmp_path / "train.jsonl").write_text('{"video": "one.mp4", "query": "a", "start": 0.1, "end": 0.9}')
        monkeypatch.setattr(extraction, "extract", None)
        monkeypatch.setattr("mttsg_core.workflows.train.runs_folder", lambda: nowhere)
        ran = mttsg("train", tmp_path, *(["--out", nowhere] if where == "--out" else []), "--workers", "1")
        assert ran.code == 2
        assert ran.errors == [f"error: {nowhere}: cannot be written (not a directory)"]

    def test_finished_features_need_no_folder_to_write_to(
        self, mttsg: Mttsg, videos: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = ("extract", *videos, "--out", tmp_path / "out", "--workers", "1")
        assert mttsg(*arguments).code == 0

        def refuse(folder: Path) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr("mttsg_core.workflows.outputs.check_writable", refuse)
        assert mttsg(*arguments).code == 0
        assert mttsg(*arguments, "--overwrite").code == 2


def fill_disk(path: Path, *_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_a_published_file_asked_of_one_video_is_about_that_one(ground: Mttsg, clip: Path, tmp_path: Path) -> None:
    queries = tmp_path / "charades_sta_test.txt"
    queries.write_text(f"{clip.stem} 1.0 2.0##person opens door\nQ8ABC 0.5 4.5##person sits down\n")
    ran = ground(clip, "--queries", queries, "--format", "jsonl")
    assert ran.code == 0, ran.err
    assert {json.loads(line)["query"] for line in ran.out.splitlines()} == {"person opens door"}
    assert "sentences about 1 other video are left out" in ran.err


def test_a_published_file_names_the_videos_that_a_folder_lacks(ground: Mttsg, clip: Path, tmp_path: Path) -> None:
    queries = tmp_path / "charades_sta_test.txt"
    queries.write_text(f"{clip.stem} 1.0 2.0##person opens door\nQ8ABC 0.5 4.5##person sits down\n")
    ran = ground(clip.parent, "--queries", queries, "--format", "jsonl")
    assert ran.code == 1
    assert ran.errors == [f"error: Q8ABC: no such video in {clip.parent}"]
    assert {json.loads(line)["query"] for line in ran.out.splitlines()} == {"person opens door"}
