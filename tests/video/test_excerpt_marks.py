"""Marks on folders of excerpts, and the walks that pass over what is marked."""

from __future__ import annotations

import os
from pathlib import Path

from mttsg_core.data.file_index import VideoIndex
from mttsg_core.video.discovery import VIDEO_SUFFIXES, find_videos
from mttsg_core.video.excerpt_marks import MARK, ExcerptFilter, mark_excerpts, marked_excerpts


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def test_a_new_folder_is_marked_as_a_whole(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    clips = tmp_path / "clips"
    clips.mkdir()
    mark_excerpts(clips, [clips / "q" / "1.mp4"], VIDEO_SUFFIXES)
    touch(clips, "q/1.mp4", "later.mp4")
    mark_excerpts(clips, [clips / "2.mp4"], VIDEO_SUFFIXES)
    assert (clips / MARK).read_text().splitlines()[1:] == ["*"]
    assert [video.path for video in find_videos([tmp_path])] == [tmp_path / "a.mp4"]
    assert VideoIndex([(tmp_path, True)]).paths() == [tmp_path / "a.mp4"]
    assert len(find_videos([clips])) == 2  # it is named itself
    assert [video.path for video in find_videos([clips / "q"])] == [clips / "q" / "1.mp4"]


def test_in_a_folder_with_other_videos_the_excerpts_are_listed(tmp_path: Path) -> None:
    own = touch(tmp_path, "mine/own.mp4")
    folder = tmp_path / "mine"
    excerpts = [folder / "x.mp4", folder / "q" / "y.mp4"]
    mark_excerpts(folder, excerpts[:1], VIDEO_SUFFIXES)
    mark_excerpts(folder, excerpts, VIDEO_SUFFIXES)
    touch(tmp_path, "mine/x.mp4", "mine/q/y.mp4")
    assert (folder / MARK).read_text().splitlines()[1:] == ["x.mp4", "q/y.mp4"]
    for searched in (tmp_path, folder):
        assert [video.path for video in find_videos([searched])] == own


def test_names_that_are_no_text(tmp_path: Path) -> None:
    touch(tmp_path, "own.mp4")
    name = os.fsdecode(b"\xff.mp4")
    mark_excerpts(tmp_path, [tmp_path / name, tmp_path / "a\nb.mp4"], VIDEO_SUFFIXES)
    assert marked_excerpts(tmp_path, [MARK]) == {name}
    assert marked_excerpts(tmp_path, []) == set()


def test_a_mark_that_cannot_be_read_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / MARK).mkdir()
    assert ExcerptFilter(tmp_path.parent).enter(tmp_path, [], [MARK, "a.mp4"]) == [MARK, "a.mp4"]
