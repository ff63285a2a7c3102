"""What decord reads wrongly: its back end refuses such a file, and `auto` reads it without decord."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.errors import ConfigError, VideoError
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample
from tests.helpers.video_files import damage, read_number, stream_copy, write_video

H264 = {"bf": "2", "g": "10"}
OPEN_HEVC = {"x265-params": "log-level=none:keyint=10:min-keyint=10:open-gop=1:bframes=3:scenecut=0"}


def numbers(path: Path, reader: str) -> list[int]:
    info = probe(path)
    return [
        read_number(frame)
        for chunk in sample(info, info.frame_times, (64, 48), reader=reader)
        for frame in chunk.frames
    ]


def late_start(folder: Path) -> Path:
    return write_video(folder / "a.mp4", range(30, 70), options=H264)


def edited(folder: Path) -> Path:
    return stream_copy(write_video(folder / "whole.mp4", range(40), options=H264), folder / "a.mp4", 0.6)


def edited_open(folder: Path) -> Path:
    return stream_copy(
        write_video(folder / "whole.mp4", range(40), codec="libx265", options=OPEN_HEVC), folder / "a.mp4", 0.6
    )


def damaged(folder: Path) -> Path:
    return damage(write_video(folder / "a.mp4", range(40), options={"g": "1", "bf": "0"}), 20)


def av1(folder: Path) -> Path:
    return write_video(folder / "a.mp4", range(40), codec="libsvtav1")


@pytest.mark.parametrize("make", [late_start, edited, edited_open, damaged, av1])
def test_decord_refuses_what_it_reads_wrongly_and_auto_reads_it(make: object, tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(VideoError, match="use reader pyav"):
        numbers(path, "decord")
    frames = numbers(path, "auto")
    assert len(frames) >= 24
    assert (np.diff(frames) >= 1).all()


def test_decord_reads_adjacent_and_sparse_frames(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = write_video(tmp_path / "a.mp4", range(40), codec="libx265", options=OPEN_HEVC)
    times = np.array([3, 4, 4, 21, 38]) / 25 + 0.01
    (chunk,) = sample(path, times, (64, 48), reader="decord", threads=1)
    assert [read_number(frame) for frame in chunk.frames] == [3, 4, 4, 21, 38]


def test_without_decord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", range(5))
    real_import = builtins.__import__

    def no_decord(name: str, *arguments: object, **options: object) -> object:
        if name == "decord":
            raise ImportError(name)
        return real_import(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", no_decord)
    assert numbers(path, "auto") == list(range(5))
    with pytest.raises(ConfigError, match="decord is not installed"):
        numbers(path, "decord")
