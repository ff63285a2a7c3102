"""Worker processes: what becomes of jobs that finish, crash, hang or raise."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from mttsg_core.utils.processes import WorkerLost, run_in_workers

pytestmark = pytest.mark.subprocess


def work(job: str) -> str:
    """Do what the job says."""
    if job == "crash":
        os._exit(3)
    if job == "hang":
        time.sleep(600)
    if job == "raise":
        raise ValueError(job)
    return job.upper()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = set(multiprocessing.active_children())
    yield
    assert not set(multiprocessing.active_children()) - before


def test_a_crash_and_a_hang_cost_one_job_each() -> None:
    limits = {"hang": 2.0}
    jobs = [(job, limits.get(job, 600.0)) for job in ("a", "crash", "hang", "b", "c")]
    assert dict(run_in_workers(work, jobs, 2)) == {
        "a": "A",
        "b": "B",
        "c": "C",
        "crash": WorkerLost("the decoder crashed"),
        "hang": WorkerLost("not done after 2 s, given up"),
    }


def test_an_error_is_raised() -> None:
    with pytest.raises(ValueError, match="raise"):
        list(run_in_workers(work, [("raise", 600.0), ("hang", 600.0)], 1))


def test_closing_stops_the_workers() -> None:
    with closing(run_in_workers(work, [("a", 600.0), ("hang", 600.0)], 2)) as finished:
        assert next(finished) == ("a", "A")
        assert multiprocessing.active_children()
