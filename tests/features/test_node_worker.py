"""A worker of a cluster, called in this process: the same features and failures as on one computer."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mttsg_core.features import extraction
from mttsg_core.features.extraction import extract
from mttsg_core.features.jobs import (
    Cause,
    Extracted,
    ExtractionEvent,
    ExtractionFailed,
    ExtractionJob,
    ExtractionProgress,
)
from mttsg_core.features.node_worker import NodeWorker, Refusal, Step
from mttsg_core.features.settings import ExtractionSettings
from mttsg_core.features.video_in_work import ProgressBoard
from tests.helpers.video_files import write_video

pytestmark = pytest.mark.subprocess
CLASSIC = ExtractionSettings(reader="pyav")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, one of them of 26 seconds, and a text file."""
    folder = tmp_path_factory.mktemp("videos")
    for name, frames in (("a", 50), ("b", 650), ("c", 75)):
        write_video(folder / f"{name}.mp4", range(frames))
    (folder / "text.mp4").write_text("not a video")
    return folder


@pytest.fixture
def start() -> Iterator[Callable[..., NodeWorker]]:
    """`start(settings)` starts a worker that is prepared."""
    started = []

    def start_worker(settings: ExtractionSettings) -> NodeWorker:
        worker = NodeWorker(settings, settings.fingerprint())
        assert worker.prepare() is None
        started.append(worker)
        return worker

    yield start_worker
    for worker in started:
        worker.close()


def jobs_of(videos: Path, folder: Path) -> list[ExtractionJob]:
    return [ExtractionJob(path, folder / f"{path.stem}.safetensors") for path in sorted(videos.glob("*.mp4"))]


def run(worker: NodeWorker, job: ExtractionJob) -> list[Step]:
    """All that a worker answers about a video."""
    steps = []
    answer = worker.begin(job)
    while True:
        assert isinstance(answer, Step)
        steps.append(answer)
        if not isinstance(answer.event, ExtractionProgress):
            return steps
        answer = worker.proceed()


@pytest.mark.parametrize("kind", ["classic", "pretrained"])
def test_features_and_failures_are_those_of_one_computer(
    kind: str, start: Callable[..., NodeWorker], videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    settings = CLASSIC
    if kind == "pretrained":
        from tests.helpers.tiny_encoders import save_clip  # not above: processes of other tests import this module

        settings = ExtractionSettings(str(save_clip(tmp_path / "clip")), device="cpu", offline=True)
    local, remote = jobs_of(videos, tmp_path / "local"), jobs_of(videos, tmp_path / "remote")
    expected = {
        event.job.video: event for event in extract(local, settings) if not isinstance(event, ExtractionProgress)
    }
    worker = start(settings)
    for job, same in zip(remote, local, strict=True):
        *progress, last = run(worker, job)
        there = expected[job.video]
        assert last.event.job is not there.job
        if isinstance(there, ExtractionFailed):
            assert last == Step(ExtractionFailed(job, there.reason, there.cause))
        else:
            assert isinstance(last.event, Extracted)
            assert last.features == same.target.read_bytes()
            assert not job.target.exists(), "the program that asked writes it"
        if job.video.name == "b.mp4" and kind == "pretrained":
            assert [step.event.seconds for step in progress if isinstance(step.event, ExtractionProgress)]
        assert not list((tmp_path / "temporary").glob("mttsg-*"))


def crash_or_hang(
    numbered: tuple[int, ExtractionJob], settings: ExtractionSettings, board: ProgressBoard | None
) -> ExtractionEvent:
    """Replace `_extract_in_worker` in a process: crash on `a.mp4`, never return from `b.mp4`."""
    _, job = numbered
    if job.video.name == "a.mp4":
        os._exit(139)
    if job.video.name == "b.mp4":
        time.sleep(600)
    job.target.write_bytes(b"features")
    return Extracted(job, 1, 1.0)


def test_a_crash_and_a_hang_cost_one_video_each(
    start: Callable[..., NodeWorker], videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "_extract_in_worker", crash_or_hang)
    limits = {"b.mp4": 1.0}
    monkeypatch.setattr(ExtractionJob, "time_limit", property(lambda job: limits.get(job.video.name, 600.0)))
    worker = start(CLASSIC)
    ends = [run(worker, job)[-1] for job in jobs_of(videos, tmp_path)[:3]]
    reasons = [step.event.reason for step in ends if isinstance(step.event, ExtractionFailed)]
    assert reasons == ["the decoder crashed", "not done after 1 s, given up"]
    assert ends[2].features == b"features"


def test_a_file_that_is_not_here_is_unseen(start: Callable[..., NodeWorker], videos: Path, tmp_path: Path) -> None:
    for video in (videos / "absent.mp4", videos / "a.mp4" / "absent.mp4"):
        [step] = run(start(CLASSIC), ExtractionJob(video, tmp_path / "a"))
        assert isinstance(step.event, ExtractionFailed)
        assert step.event.cause is Cause.UNSEEN


def test_another_file_at_the_same_path_is_not_taken_for_it(
    start: Callable[..., NodeWorker], videos: Path, tmp_path: Path
) -> None:
    [step] = run(start(CLASSIC), ExtractionJob(videos / "a.mp4", tmp_path / "a", identity="of another file"))
    assert isinstance(step.event, ExtractionFailed)
    assert step.event.cause is Cause.CHANGED


def test_what_a_node_lacks_is_a_refusal(start: Callable[..., NodeWorker], videos: Path, tmp_path: Path) -> None:
    absent = ExtractionSettings(str(tmp_path / "no-encoder"), offline=True)
    refusal = NodeWorker(absent, {"encoder": str(tmp_path / "no-encoder")}).prepare()
    assert refusal is not None
    assert "no-encoder" in refusal.reason
    other = NodeWorker(CLASSIC, {**CLASSIC.fingerprint(), "version": 1}).prepare()
    assert other is not None
    assert "version 2" in other.reason
    assert "version 1" in other.reason
    answer = start(ExtractionSettings(reader="vlc")).begin(ExtractionJob(videos / "a.mp4", tmp_path / "a"))
    assert isinstance(answer, Refusal)
    assert "unknown reader 'vlc'" in answer.reason
