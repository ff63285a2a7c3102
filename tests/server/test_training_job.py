"""One training at a time, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import Mock

import pytest
from starlette.testclient import TestClient

from mttsg_core.errors import BusyError, ModelError
from mttsg_core.features.extraction import ExtractionProgress
from mttsg_core.features.jobs import ExtractionJob
from mttsg_core.server.corrections import Corrections
from mttsg_core.server.progress import Progress
from mttsg_core.server.training_job import Stage, TrainingJob, _Trained
from mttsg_core.workflows.events import Noted, ProgressAdvanced, ProgressStarted, Warned
from tests.server.conftest import NAMES, tiny_training
from tests.server.test_corrections import correction


def wait_until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


@pytest.fixture
def data(videos: Path, tmp_path: Path) -> Path:
    """A data folder of three rows."""
    corrections = Corrections.for_videos([videos], tmp_path / "data")
    for number, name in enumerate(NAMES):
        corrections.add(correction(videos / name, f"thing {number}"))
    return tmp_path / "data"


def test_one_at_a_time_and_stopped(data: Path, page_cache: Path) -> None:
    trained: list[Path] = []
    job = TrainingJob(trained.append)
    request = tiny_training(data, page_cache, epochs=100_000)
    job.start(request)
    with pytest.raises(BusyError):
        job.start(request)
    wait_until(lambda: job.status.progress.task == "training" and job.status.progress.done > 1)
    assert "epoch" in job.status.progress.text
    job.stop()
    job.wait()
    assert (job.status.stage, trained) == (Stage.STOPPED, [])
    job.stop()  # does nothing
    job.close()


def test_what_fails_says_why(tmp_path: Path, page_cache: Path) -> None:
    job = TrainingJob(lambda folder: None)
    job.start(tiny_training(tmp_path / "absent", page_cache))
    job.wait()
    assert (job.status.stage, "no such folder" in job.status.reason) == (Stage.FAILED, True)

    def refuse(folder: Path) -> None:
        raise ModelError(f"{folder.name}: cannot be used")

    job = TrainingJob(refuse)
    receiver, sender = Pipe(duplex=False)
    sender.send(_Trained(Path("model")))
    sender.close()
    job._follow(Mock(spec=BaseProcess), receiver)  # of a training that has ended
    assert (job.status.stage, "cannot be used" in job.status.reason) == (Stage.FAILED, True)


def test_there_must_be_something_to_train_on(client: TestClient) -> None:
    answer = client.post("/api/training")
    assert (answer.status_code, "nothing to train on" in answer.json()["error"]) == (400, True)
    assert client.delete("/api/training").status_code == 202
    assert client.get("/api/state").json()["training"]["stage"] == "none"
    assert client.post("/api/model", json={"model": 7}).status_code == 400


def test_progress_counts_parts_of_videos_once() -> None:
    job = ExtractionJob(Path("a.mp4"), Path("a.safetensors"))
    progress = Progress().after(ProgressStarted("extraction", 2))
    progress = progress.after(ExtractionProgress(job, 30.0, 60.0))
    assert (progress.done, progress.text) == (0, "a.mp4: 30 of 60 s")
    progress = progress.after(ProgressAdvanced("extraction")).after(Noted("a line"))
    assert (progress.done, progress.total, progress.text) == (1, 2, "a line")
    assert progress.after(Warned("too few")).warnings == ("too few",)
