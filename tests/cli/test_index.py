"""`mttsg index`, and questions to an index."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.index_folder import METADATA, IndexFolder
from mttsg_core.search.lance_index import LanceIndex
from mttsg_core.search.shortlist import Stages
from mttsg_core.search.spaces import clip_space
from tests.conftest import Mttsg, start_mttsg

QUERY = "the red circle moves left"


@pytest.fixture
def videos(corpus: Path, tmp_path: Path) -> Path:
    """Six videos of the corpus, with cached features."""
    folder = tmp_path / "videos"
    (folder / "inner").mkdir(parents=True)
    for number, path in enumerate(sorted((corpus / "videos").glob("*.mp4"))[:6]):
        shutil.copy2(path, folder / ("inner" if number > 3 else "") / path.name)
    return folder


@pytest.fixture
def index(mttsg: Mttsg, trained: Path, cache: Path) -> Mttsg:
    """`index(ARGUMENT, ...)` runs `mttsg index` with the trained model and the cached features."""
    return partial(mttsg, "index", "--model", trained, "--cache", cache, "--workers", "1")


def test_an_index_answers_as_its_folder_does(
    index: Mttsg,
    mttsg: Mttsg,
    ground: Mttsg,
    cache: Path,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made = index("videos")
    assert made.code == 0, made.err
    assert "6 videos in videos.index: 6 new or changed" in made.err
    ask = partial(mttsg, "ground", "videos.index", QUERY, "--top", "4", "--json", "--cache", cache)
    rows = json.loads(ask().out)  # by the model that made the index
    expected = json.loads(ground("videos", QUERY, "--top", "4", "--json").out)
    assert [Path(row["video"]).name for row in rows] == [Path(row["video"]).name for row in expected]
    assert [row["score"] for row in rows] == pytest.approx([row["score"] for row in expected], abs=2e-3)
    assert "model: " in ask().err
    inner = json.loads(ask("--below", videos / "inner").out)
    assert {Path(row["video"]).parent.name for row in inner} == {"inner"}
    none = ask("--since", "2199-01-01")
    assert (none.code, none.errors) == (2, ["error: no video of the index passes --below and --since"])
    again = index("videos.index", "--json")
    assert json.loads(again.out) == {
        "videos": 6, "added": 0, "moved": 0, "removed": 0, "failures": 0,
    }  # fmt: skip


def test_filters_work_in_a_folder_too(ground: Mttsg, videos: Path) -> None:
    rows = json.loads(ground(videos, QUERY, "--all", "--json", "--below", videos / "inner").out)
    assert {Path(row["video"]).parent.name for row in rows} == {"inner"}
    assert ground(videos, QUERY, "--since", "2199-01-01").code == 2


def test_of_many_videos_the_likely_ones_are_answered(
    ground: Mttsg, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mttsg_core.workflows.narrowing.stage_sizes", lambda videos, top, sentences: Stages(4, 2))
    monkeypatch.setattr("mttsg_core.workflows.narrowing._FEW_SENTENCES", 1)
    ran = ground(videos, QUERY, "--top", "50", "--json")
    assert len({row["video"] for row in json.loads(ran.out)}) == 2
    assert "each sentence is asked of the 2 most likely of 6 videos; --exhaustive asks all" in ran.err
    every = ground(videos, QUERY, "--top", "50", "--json", "--exhaustive")
    assert len({row["video"] for row in json.loads(every.out)}) == 6
    shown = ground(videos, QUERY, "--all", "--json")
    assert len({row["video"] for row in json.loads(shown.out)}) == 6


def test_few_sentences_are_asked_of_every_video_of_a_folder(
    ground: Mttsg, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mttsg_core.workflows.narrowing.stage_sizes", lambda videos, top, sentences: Stages(4, 2))
    rows = json.loads(ground(videos, QUERY, "--top", "50", "--json").out)
    assert len({row["video"] for row in rows}) == 6


def test_a_folder_and_its_index_choose_the_same_videos(
    index: Mttsg, mttsg: Mttsg, ground: Mttsg, cache: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = index(videos, "--index", videos.parent / "library")
    assert made.code == 0, made.err
    for module in ("narrowing", "library_contents"):
        monkeypatch.setattr(f"mttsg_core.workflows.{module}.stage_sizes", lambda videos, top, sentences: Stages(4, 2))
    monkeypatch.setattr("mttsg_core.workflows.narrowing._FEW_SENTENCES", 1)
    of_index, of_folder = (
        {row["video"] for row in json.loads(ran.out)}
        for ran in (
            mttsg("ground", videos.parent / "library", QUERY, "--top", "50", "--json", "--cache", cache),
            ground(videos, QUERY, "--top", "50", "--json"),
        )
    )
    assert {Path(video).name for video in of_index} == {Path(video).name for video in of_folder}
    assert len(of_index) == 2


def test_wrong_folders_are_one_line(index: Mttsg, mttsg: Mttsg, videos: Path, tmp_path: Path) -> None:
    assert index(videos, "--index", videos).errors == [
        f"error: {videos}: exists and is not an index; choose another folder with --index"
    ]
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / METADATA).write_text("{}")
    ran = mttsg("ground", empty, QUERY)
    assert ran.code == 2 and "damaged" in ran.errors[0]
    assert "by itself" in mttsg("ground", empty, videos, QUERY).errors[0]


def test_without_lancedb_one_line_says_what_to_install(
    index: Mttsg, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    ran = index(videos, "--index", tmp_path / "library")
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "pip install 'mttsg[index]'" in ran.errors[0]


@pytest.mark.slow
@pytest.mark.subprocess
def test_killed_at_any_moment_nothing_is_wrong_and_nothing_is_lost(
    index: Mttsg, trained: Path, cache: Path, videos: Path, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    words: list[str | Path | bytes] = [
        "index",
        videos,
        "--index",
        library,
        "--model",
        trained,
        "--cache",
        cache,
        "--workers",
        "1",
    ]
    for moment in (0.3, 0.6, 0.9):
        process = start_mttsg(*words)
        started = time.monotonic()
        while not library.exists() and process.poll() is None and time.monotonic() - started < 60:
            time.sleep(0.02)
        time.sleep(moment * 0.5)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    ran = index(videos, "--index", library, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["videos"] == 6
    [model] = IndexFolder.read(library).models
    space = clip_space(Grounder.load(trained))
    assert space is not None
    table = LanceIndex(library, model.fingerprint, space.dim, space.widths)
    assert table.identities() == {video.identity for video in table.videos()}
    assert table._clips.count_rows() == sum(video.clips for video in table.videos())
