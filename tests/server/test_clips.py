"""Moments saved as files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mttsg_core.errors import MttsgError, VideoError
from mttsg_core.moments import Moment
from mttsg_core.server.clips import save_clip
from mttsg_core.video.discovery import find_videos
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample
from tests.helpers.video_files import read_number
from tests.server.conftest import FPS, NAMES


def numbers(path: Path) -> list[int]:
    """The numbers that the frames of a video show."""
    info = probe(path)
    return [read_number(frame) for chunk in sample(info, info.frame_times) for frame in chunk.frames]


def test_a_clip_is_the_moment_to_the_frame(client: TestClient, ids: list[str], tmp_path: Path) -> None:
    span = {"video": ids[1], "query": "../../x", "start": 1.0, "end": 2.2}
    saved = client.post("/api/clips", json=span)
    assert saved.status_code == 201
    [clip] = (tmp_path / "clips").glob("*.mp4")
    assert saved.json()["name"] == clip.name == "b #1 _b_ünï_1.000-2.200.mp4"
    assert numbers(clip) == list(range(1000 + FPS, 1000 + 55))


def test_nothing_is_replaced_and_beside_its_video_it_is_not_searched(videos: Path, tmp_path: Path) -> None:
    source = tmp_path / "videos" / "a.mp4"
    source.parent.mkdir()
    shutil.copy(videos / NAMES[0], source)
    (source.parent / "a_1.000-2.000.mp4").write_bytes(b"somebody's")
    saved = [save_clip(source, Moment(1, 2), "q", None) for _ in range(2)]
    assert [path.name for path in saved] == ["a_1.000-2.000-2.mp4", "a_1.000-2.000-3.mp4"]
    assert (source.parent / "a_1.000-2.000.mp4").read_bytes() == b"somebody's"
    assert {video.path.name for video in find_videos([source.parent])} == {"a.mp4", "a_1.000-2.000.mp4"}


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError):
        save_clip(tmp_path / "a.mp4", Moment(1, 2), "q", tmp_path / "clips")
    assert list((tmp_path / "clips").glob("*.mp4")) == []
    (tmp_path / "file").touch()
    with pytest.raises(MttsgError, match="--clips"):
        save_clip(tmp_path / "a.mp4", Moment(1, 2), "q", tmp_path / "file")
