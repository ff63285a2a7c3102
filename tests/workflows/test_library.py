"""A library of videos: what it finds, what it answers, and what it does when files come and go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from mttsg_core import events
from mttsg_core.errors import BusyError, ConfigError, DataError, UnknownVideoError
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.encoded_videos import Askable, NetworkAsker
from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.index_folder import IndexFolder
from mttsg_core.search.lance_index import LanceIndex
from mttsg_core.search.shortlist import Stages
from mttsg_core.search.spaces import ClipVectors, ContrastSpace
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
    assert library.report is not None and library.report.as_dict() == {
        "videos": 2, "added": 0, "moved": 0, "removed": 1, "failures": 1,
    }  # fmt: skip
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


def index_of(folder: Path, trained: Path, tmp_path: Path) -> VideoLibrary:
    return VideoLibrary([folder], Grounder.load(trained, cache=tmp_path / "cache"), index=tmp_path / "index", workers=1)


def test_an_index_is_asked_at_once_and_encodes_only_what_is_new(
    folder: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index_of(folder, trained, tmp_path)
    refresh(first)
    opened = VideoLibrary([tmp_path / "index"], first.grounder)
    assert opened.paths == (folder,)
    assert opened.videos == first.videos
    np.testing.assert_allclose(
        [hit.moment for hit in opened.ask(QUERY, 4)], [hit.moment for hit in first.ask(QUERY, 4)], rtol=1e-4
    )
    encoded: list[object] = []
    clips = ContrastSpace.clips
    monkeypatch.setattr(ContrastSpace, "clips", lambda *given: encoded.append(given) or clips(*given))  # type: ignore[func-returns-value]
    (folder / "a.mp4").rename(folder / "renamed.mp4")
    write_video(folder / "b.mp4", range(75), first=900)
    write_video(folder / "new.mp4", range(75), first=700)
    shutil.copy2(folder / "new.mp4", folder / "copy.mp4")
    (folder / "inner" / "c.mp4").unlink()
    passed = refresh(opened)
    assert sum(isinstance(event, events.Extracted) and not event.cached for event in passed) == 3  # with the copy
    assert len(encoded) <= 3
    assert [video.name for video in opened.videos] == ["b.mp4", "copy.mp4", "new.mp4", "renamed.mp4"]
    assert opened.report is not None
    assert (opened.report.added, opened.report.moved, opened.report.removed) == (3, 1, 1)
    encoded.clear()
    refresh(opened)
    assert encoded == []


def test_a_source_that_is_not_there_keeps_its_videos(folder: Path, trained: Path, tmp_path: Path) -> None:
    library = index_of(folder, trained, tmp_path)
    refresh(library)
    folder.rename(tmp_path / "elsewhere")
    [failed] = refresh(library)
    assert isinstance(failed, events.InputFailed) and "its 3 videos stay" in failed.reason
    assert len(library.videos) == 3


def test_one_process_at_a_time_changes_an_index(folder: Path, trained: Path, tmp_path: Path) -> None:
    library = index_of(folder, trained, tmp_path)
    refresh(library)
    with IndexFolder.read(tmp_path / "index").alone(), pytest.raises(BusyError, match="another indexing"):
        refresh(library)


def test_a_folder_of_something_else_is_not_made_an_index(folder: Path, trained: Path) -> None:
    with pytest.raises(ConfigError, match="exists and is not an index"):
        VideoLibrary([folder], Grounder.load(trained), index=folder)


def test_of_many_videos_those_are_asked_that_fit(library: VideoLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(library)
    monkeypatch.setattr(
        "mttsg_core.workflows.library_contents.stage_sizes", lambda videos, top, sentences: Stages(1, 1)
    )
    assert len({hit.video for hit in library.ask(QUERY, 20)}) == 1
    assert len({hit.video for hit in library.ask(QUERY, 20, exhaustive=True)}) == 3
    inner = library.videos[2]
    assert {hit.video for hit in library.ask(QUERY, 20, below=inner.path.parent)} == {inner}


def test_videos_stay_encoded_unless_they_or_the_model_change(
    library: VideoLibrary, folder: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(library)
    encoded: list[int] = []
    encode = NetworkAsker.encode

    def counted(self: NetworkAsker, videos: Sequence[VideoFeatures]) -> list[Askable]:
        encoded.append(len(videos))
        return encode(self, videos)

    monkeypatch.setattr(NetworkAsker, "encode", counted)
    assert [*library.iter_encode()] == [None]
    before = library.ask(QUERY, 4)
    assert encoded == [3]
    write_video(folder / "a.mp4", range(100), first=500)
    refresh(library)
    assert {hit.video.name: hit.moment for hit in library.ask(QUERY, 9)} != {
        hit.video.name: hit.moment for hit in before
    }
    assert encoded == [3, 1]
    library.use(Grounder.load(trained, cache=tmp_path / "cache"))
    refresh(library)
    library.ask(QUERY)
    assert encoded == [3, 1, 3]


def test_a_small_memory_answers_alike(folder: Path, trained: Path, tmp_path: Path) -> None:
    grounder = Grounder.load(trained, cache=tmp_path / "cache")
    large, small = VideoLibrary([folder], grounder, workers=1), VideoLibrary([folder], grounder, workers=1, memory=1)
    refresh(large)
    refresh(small)
    for _ in small.iter_encode():
        pass
    assert small.ask(QUERY, 4) == large.ask(QUERY, 4)


def test_of_a_shortlist_the_likeliest_are_answered(library: VideoLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(library)
    every = library.ask_many([QUERY, "a thing"], 20, exhaustive=True)
    assert library.ask_many([QUERY, "a thing"], 20) == every
    monkeypatch.setattr(
        "mttsg_core.workflows.library_contents.stage_sizes", lambda videos, top, sentences: Stages(videos, 1)
    )
    for hits, of_all in zip(library.ask_many([QUERY, "a thing"], 20), every, strict=True):
        [name] = {hit.video.name for hit in hits}
        assert [hit.video.name for hit in of_all].index(name) < 3
    assert library.ask_many([QUERY, "a thing"], 20, exhaustive=True) == every


def test_what_has_been_read_is_asked_while_the_rest_is_read(library: VideoLibrary) -> None:
    assert library.reading is None
    seen: list[tuple[int, tuple[int, int] | None]] = []
    for event in library.iter_refresh():
        if isinstance(event, events.Extracted):
            seen.append((len({hit.video for hit in library.ask(QUERY, 20)}), library.reading))
    # A video is added after the event that tells of it, and shown no more than once a second.
    assert seen[0] == (0, (0, 3))
    assert 1 <= seen[-1][0] <= 2 and seen[-1][1] == (seen[-1][0], 3)
    assert library.reading is None and len(library.videos) == 3


def test_another_model_answers_about_all_videos_or_none(library: VideoLibrary, trained: Path, tmp_path: Path) -> None:
    refresh(library)
    other = Grounder.load(trained, cache=tmp_path / "other cache")
    library.use(other)
    for _ in library.iter_refresh():
        assert library.grounder is not other and len(library.videos) == 3
    assert library.grounder is other and len(library.videos) == 3


def test_of_many_videos_only_those_that_change_are_read(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lancedb", reason="lancedb is not installed")
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "0.mp4", range(50))
    content = (folder / "0.mp4").read_bytes()

    def write(number: int, version: bytes) -> None:
        """The same frames, with a box of no meaning at the end, so that each file is one of its own."""
        (folder / f"{number}.mp4").write_bytes(content + (16).to_bytes(4, "big") + b"free" + version + b"%03d" % number)

    for number in range(12):
        write(number, b"first")
    library = index_of(folder, trained, tmp_path)
    refresh(library)
    counted: dict[str, list[object]] = {"identified": [], "encoded": [], "added": []}
    identified, clips, add = Grounder.cache_path, ContrastSpace.clips, LanceIndex.add

    def cache_path(self: Grounder, video: Path) -> Path:
        counted["identified"].append(video)
        return identified(self, video)

    def space_clips(self: ContrastSpace, features: VideoFeatures) -> ClipVectors:
        counted["encoded"].append(features)
        return clips(self, features)

    def added(self: LanceIndex, vectors: Mapping[str, ClipVectors]) -> None:
        counted["added"] += vectors
        add(self, vectors)

    monkeypatch.setattr(Grounder, "cache_path", cache_path)
    monkeypatch.setattr(ContrastSpace, "clips", space_clips)
    monkeypatch.setattr(LanceIndex, "add", added)
    for number in (3, 7):
        write(number, b"again")
    (folder / "9.mp4").unlink()
    (folder / "11.mp4").rename(folder / "moved.mp4")
    passed = refresh(library)
    assert sum(isinstance(event, events.Extracted) for event in passed) == 2
    assert {name: len(found) for name, found in counted.items()} == {"identified": 3, "encoded": 2, "added": 2}
    assert library.report is not None and library.report.as_dict() == {
        "videos": 11, "added": 2, "moved": 1, "removed": 1, "failures": 0,
    }  # fmt: skip
