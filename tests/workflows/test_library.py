"""A library of videos: what it finds, what it answers, and what it does when files come and go."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from mttsg_core import events
from mttsg_core.errors import DataError, UnknownVideoError
from mttsg_core.inference.grounder import Grounder
from mttsg_core.workflows.library import Hit, VideoLibrary
from tests.helpers.video_files import write_video

QUERY = "the red circle moves left"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three videos, one of them in a folder of its own."""
    videos = tmp_path / "videos"
    (videos / "inner").mkdir(parents=True)
    for number, name in enumerate(("a.mp4", "b.mp4", "inner/c.mp4")):
        write_video(videos / name, range(100), first=number * 100)
    return videos


@pytest.fixture
def library(folder: Path, trained: Path, tmp_path: Path) -> VideoLibrary:
    """A library of `folder`, not refreshed yet."""
    return VideoLibrary([folder], Grounder.load(trained, cache=tmp_path / "cache"), workers=1)


def refresh(library: VideoLibrary) -> list[object]:
    return list(library.iter_refresh())


def test_it_finds_videos_and_extracts_only_what_is_missing(library: VideoLibrary, folder: Path) -> None:
    assert list(library.videos) == []
    passed = refresh(library)
    assert sum(isinstance(event, events.Extracted) for event in passed) == 3
    assert [video.name for video in library.videos] == ["a.mp4", "b.mp4", "inner/c.mp4"]
    assert [video.duration for video in library.videos] == pytest.approx([4.0] * 3)
    assert library.video(library.videos[1].id).path == folder / "b.mp4"
    assert refresh(library) == []


def test_answers_are_the_best_of_all_videos(library: VideoLibrary) -> None:
    refresh(library)
    hits = library.ask(QUERY, top=4)
    expected = [
        Hit(video, moment) for video in library.videos for moment in library.grounder.ground(video.path, QUERY, top=4)
    ]
    expected.sort(key=lambda hit: -hit.moment.score)
    assert [hit.video for hit in hits] == [hit.video for hit in expected[:4]]
    np.testing.assert_allclose([hit.moment for hit in hits], [hit.moment for hit in expected[:4]], rtol=1e-4)
    both = library.ask_many([QUERY, "a thing"], top=4)
    for several, alone in zip(both, (hits, library.ask("a thing", top=4)), strict=True):
        np.testing.assert_allclose([hit.moment for hit in several], [hit.moment for hit in alone], rtol=1e-4)


def test_filters_choose_videos(library: VideoLibrary, folder: Path) -> None:
    refresh(library)
    assert {hit.video.name for hit in library.ask(QUERY, below=folder / "inner")} == {"inner/c.mp4"}
    os.utime(folder / "b.mp4", (2e9, 2e9))
    refresh(library)
    later = datetime.fromtimestamp(2e9 - 1, timezone.utc)
    assert {hit.video.name for hit in library.ask(QUERY, since=later)} == {"b.mp4"}


def test_the_curve_of_one_video(library: VideoLibrary) -> None:
    refresh(library)
    timeline, curve = library.saliency(library.videos[0].id, QUERY)
    assert timeline.duration == pytest.approx(4.0)
    assert len(curve) == timeline.clips


def test_files_come_go_and_fail(library: VideoLibrary, folder: Path) -> None:
    refresh(library)
    kept = library.videos[1].id
    (folder / "a.mp4").unlink()
    (folder / "broken.mp4").write_bytes(b"no video at all")
    passed = refresh(library)
    assert [type(event).__name__ for event in passed] == ["ProgressStarted", "ExtractionFailed"]
    assert [video.name for video in library.videos] == ["b.mp4", "inner/c.mp4"]
    assert library.video(kept).name == "b.mp4"


def test_another_model_answers_after_a_refresh(library: VideoLibrary, trained: Path, tmp_path: Path) -> None:
    refresh(library)
    before, other = library.grounder, Grounder.load(trained, cache=tmp_path / "cache")
    library.use(other)
    assert library.grounder is before
    refresh(library)
    assert library.grounder is other


def test_wrong_questions_are_errors_of_the_library(library: VideoLibrary) -> None:
    with pytest.raises(UnknownVideoError, match="'nothing'"):
        library.video("nothing")
    assert library.ask(QUERY) == []
    refresh(library)
    with pytest.raises(DataError):
        library.ask("  ")
    with pytest.raises(DataError):
        library.ask(QUERY, top=0)
