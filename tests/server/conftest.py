"""A page over three small videos whose frames show their numbers, answered by the small trained model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mttsg_core.inference.grounder import Grounder
from mttsg_core.server.app import Workplace, create_app
from mttsg_core.server.corrections import Corrections
from mttsg_core.server.searching import LoadedModel, Searcher
from mttsg_core.server.security import Access
from mttsg_core.server.training_job import TrainingRequest
from mttsg_core.workflows.library import VideoLibrary
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions, TrainOptions
from tests.helpers.tiny import SIZES
from tests.helpers.video_files import write_video

FRAMES, FPS = 150, 25
NAMES = ("a.mp4", "b #1 <b>ünï.mp4", "inner/c.mkv")
HERE = "http://127.0.0.1:8000"


def make_searcher(videos: Path, model: Path, cache: Path) -> Searcher:
    """Return what answers, when all videos are read."""
    grounder = Grounder.load(model, cache=cache)
    library = VideoLibrary([videos], grounder, workers=1)
    runtime = RuntimeOptions(cache=cache, offline=True, workers=1)
    searcher = Searcher(library, LoadedModel(grounder, "the first model"), runtime)
    searcher.start_reading()
    searcher.wait()
    return searcher


def make_work(searcher: Searcher, data: Path, cache: Path, clips: Path | None = None) -> Workplace:
    """Return what the page works with."""
    corrections = Corrections.for_videos(searcher.library.paths, data)
    return Workplace(searcher, corrections, tiny_training(data, cache), clips, "videos")


def tiny_training(data: Path, cache: Path, epochs: int = 3) -> TrainingRequest:
    """Return a training of a second, of a network that learns little."""
    options = TrainOptions(cache=cache, offline=True, workers=1)
    network = {**SIZES, "region_heads": 1}
    return TrainingRequest(data, FeatureOptions(), options, config={"epochs": epochs}, network=network)


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that a test trains are nobody else's default."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is searched: three videos of six seconds; no browser plays the last one."""
    folder = tmp_path_factory.mktemp("page") / "videos"
    (folder / "inner").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        codec = "mpeg4" if name.endswith(".mkv") else "libx264"
        write_video(folder / name, range(FRAMES), first=number * 1000, codec=codec)
    return folder


@pytest.fixture(scope="session")
def page_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for features of the videos."""
    return tmp_path_factory.mktemp("page-cache")


@pytest.fixture(scope="session")
def searcher(videos: Path, trained: Path, page_cache: Path) -> Searcher:
    """Answers sentences about the three videos."""
    return make_searcher(videos, trained, page_cache)


@pytest.fixture
def work(searcher: Searcher, page_cache: Path, tmp_path: Path) -> Workplace:
    """What the page works with; its data folder and its folder of clips are those of the test."""
    return make_work(searcher, tmp_path / "data", page_cache, tmp_path / "clips")


@pytest.fixture
def client(work: Workplace) -> Iterator[TestClient]:
    """A browser on this computer."""
    with TestClient(create_app(work, Access()), base_url=HERE) as opened:
        yield opened


@pytest.fixture(scope="session")
def ids(searcher: Searcher) -> list[str]:
    """The ids of the videos, in the order of `NAMES`."""
    listed = {video.name: video.id for video in searcher.library.videos}
    return [listed[name] for name in NAMES]
