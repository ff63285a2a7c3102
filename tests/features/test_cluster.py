"""Extraction on a cluster, without one: a stand-in runs its workers in this process, and loses them when told to."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mttsg_core.errors import ConfigError
from mttsg_core.features import cluster as cluster_module
from mttsg_core.features.cluster import Answer, ClusterOptions, Dispatch, Ready
from mttsg_core.features.jobs import (
    Cause,
    Extracted,
    ExtractionEvent,
    ExtractionFailed,
    ExtractionJob,
    ExtractionProgress,
)
from mttsg_core.features.node_worker import Refusal, Step
from mttsg_core.utils.processes import WorkerLost

Work = Callable[[str, ExtractionJob], Sequence[Answer]]  # what a worker on a node answers about a video, in turn


def extract_well(node: str, job: ExtractionJob) -> list[Answer]:
    return [Step(ExtractionProgress(job, 1.0, 2.0)), Step(Extracted(job, 4, 2.0), job.video.name.encode())]


class StandIn:
    """Nodes in turn have room for workers; each worker answers as `work` says. Records what happens.

    Args:
        work: of the workers.
        nodes: names of the nodes; a worker without a name gets no room, and a lost one is an exception's text.
        places: that the cluster says it has.
    """

    def __init__(self, work: Work = extract_well, nodes: Sequence[str | Answer | None] = ("a", "b"), places: int = 2):
        self.places = places
        self._work, self._nodes = work, deque(nodes)
        self._node: dict[int, str] = {}
        self._answers: deque[tuple[int, Answer]] = deque()
        self._rest: dict[int, deque[Answer]] = {}
        self.started = 0
        self.stopped: list[int] = []
        self.begun: list[tuple[str, str]] = []  # node and video
        self.most_busy = 0

    def start(self) -> int:
        number, self.started = self.started, self.started + 1
        node = self._nodes[0]
        self._nodes.rotate(-1)
        if isinstance(node, str):
            self._node[number] = node
            self._answers.append((number, Ready(node, f"node {node}")))
        elif node is not None:
            self._answers.append((number, node))
        return number

    def begin(self, worker: int, job: ExtractionJob) -> None:
        assert not self._rest.get(worker), "a worker has one video at a time"
        self.begun.append((self._node[worker], job.video.name))
        self._rest[worker] = deque(self._work(self._node[worker], job))
        self.most_busy = max(self.most_busy, sum(map(bool, self._rest.values())))
        self.proceed(worker)

    def proceed(self, worker: int) -> None:
        self._answers.append((worker, self._rest[worker].popleft()))

    def stop(self, worker: int) -> None:
        assert worker not in self.stopped
        self.stopped.append(worker)

    def wait(self, seconds: float) -> list[tuple[int, Answer]]:
        return [self._answers.popleft()] if self._answers else []


@pytest.fixture
def jobs(tmp_path: Path) -> list[ExtractionJob]:
    """Six videos, whose contents nobody reads."""
    paths = [tmp_path / f"{number}.mp4" for number in range(6)]
    for path in paths:
        path.touch()
    return [ExtractionJob(path, tmp_path / "out" / f"{path.stem}.safetensors") for path in paths]


def ends(events: Iterator[ExtractionEvent]) -> dict[str, ExtractionEvent]:
    """The last event of each video, by name; there is exactly one."""
    named: dict[str, ExtractionEvent] = {}
    for event in events:
        if not isinstance(event, ExtractionProgress):
            assert event.job.video.name not in named
            named[event.job.video.name] = event
    return named


def test_every_video_is_extracted_once_and_written_here(jobs: list[ExtractionJob]) -> None:
    cluster = StandIn()
    events = list(Dispatch(jobs, cluster).run())
    assert sum(isinstance(event, ExtractionProgress) for event in events) == 6
    assert [event.job for event in events if isinstance(event, Extracted)] == jobs
    assert [job.target.read_bytes() for job in jobs] == [job.video.name.encode() for job in jobs]
    assert sorted(video for _, video in cluster.begun) == [job.video.name for job in jobs]
    assert (cluster.started, cluster.most_busy) == (2, 2)
    assert len(cluster.stopped) == 1, "the one that had nothing to do while the other was busy"


@pytest.mark.parametrize(("workers", "started"), [(1, 1), (4, 4), (100, 6), (None, 2)])
def test_no_more_workers_than_asked_for_or_videos(jobs: list[ExtractionJob], workers: int | None, started: int) -> None:
    cluster = StandIn()
    assert len(ends(Dispatch(jobs, cluster, workers).run())) == 6
    assert cluster.started == started


def test_nodes_get_absolute_paths_and_events_have_the_given_ones(
    jobs: list[ExtractionJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Path] = []

    def note(node: str, job: ExtractionJob) -> list[Answer]:
        seen.append(job.video)
        return extract_well(node, job)

    job = replace(jobs[0], video=Path("0.mp4"))
    events = list(Dispatch([job], StandIn(note)).run())
    assert seen == [tmp_path / "0.mp4"]
    assert {event.job for event in events} == {job}


def test_a_failure_of_a_video_is_not_tried_again(jobs: list[ExtractionJob]) -> None:
    def work(node: str, job: ExtractionJob) -> list[Answer]:
        return [Step(ExtractionFailed(job, "the decoder crashed"))] if job == jobs[1] else extract_well(node, job)

    cluster = StandIn(work)
    failed = [event for event in ends(Dispatch(jobs, cluster).run()).values() if isinstance(event, ExtractionFailed)]
    assert failed == [ExtractionFailed(jobs[1], "the decoder crashed")]
    assert len(cluster.begun) == 6


def test_a_lost_worker_costs_its_video_another_try(jobs: list[ExtractionJob]) -> None:
    lost: list[str] = []

    def work(node: str, job: ExtractionJob) -> list[Answer]:
        if job == jobs[2] and len(lost) < 2:
            lost.append(node)
            return [Step(ExtractionProgress(job, 1.0, 2.0)), WorkerLost("the node died")]
        return extract_well(node, job)

    cluster = StandIn(work)
    assert all(isinstance(event, Extracted) for event in ends(Dispatch(jobs, cluster).run()).values())
    assert (len(lost), len(cluster.begun), cluster.started) == (2, 8, 4)
    assert cluster.most_busy <= 2


def test_a_video_that_costs_three_workers_fails(jobs: list[ExtractionJob]) -> None:
    def work(node: str, job: ExtractionJob) -> list[Answer]:
        return [WorkerLost("out of memory")] if job == jobs[0] else extract_well(node, job)

    found = ends(Dispatch(jobs, StandIn(work)).run())
    failure = found.pop("0.mp4")
    assert isinstance(failure, ExtractionFailed)
    assert failure.reason == "3 workers were lost while they had it, the last one: out of memory"
    assert all(isinstance(event, Extracted) for event in found.values())


def test_workers_that_cannot_be_started_are_an_error(jobs: list[ExtractionJob]) -> None:
    cluster = StandIn(nodes=[WorkerLost("its environment is damaged")])
    with pytest.raises(ConfigError, match="the cluster cannot start workers: its environment is damaged"):
        list(Dispatch(jobs, cluster).run())
    assert cluster.started <= 4


def test_a_node_where_no_worker_starts_is_left_alone(jobs: list[ExtractionJob]) -> None:
    cluster = StandIn(nodes=["a", *[WorkerLost("the node died")] * 3], places=4)
    assert all(isinstance(event, Extracted) for event in ends(Dispatch(jobs, cluster).run()).values())
    assert cluster.started <= 5


def test_a_node_that_cannot_extract_at_all_is_an_error(jobs: list[ExtractionJob]) -> None:
    with pytest.raises(ConfigError, match="node b: there is no such encoder"):
        list(Dispatch(jobs, StandIn(nodes=["a", Refusal("node b: there is no such encoder")])).run())


class TestUnseenVideos:
    """Nodes that lack the storage, or files that only this computer has."""

    @staticmethod
    def seen_by(*nodes: str) -> Work:
        def work(node: str, job: ExtractionJob) -> list[Answer]:
            if node in nodes:
                return extract_well(node, job)
            return [Step(ExtractionFailed(job, "no such file", Cause.UNSEEN))]

        return work

    def test_other_nodes_get_them(self, jobs: list[ExtractionJob], caplog: pytest.LogCaptureFixture) -> None:
        cluster = StandIn(self.seen_by("b"))
        with caplog.at_level(logging.WARNING, "mttsg"):
            found = ends(Dispatch(jobs, cluster).run())
        assert all(isinstance(event, Extracted) for event in found.values())
        warning = f"node a does not see videos in {jobs[0].video.parent}: other nodes are tried"
        assert [record.getMessage() for record in caplog.records] == [warning]
        assert cluster.started == 2

    def test_what_no_node_sees_is_a_failure_with_their_names(self, jobs: list[ExtractionJob]) -> None:
        def work(node: str, job: ExtractionJob) -> Sequence[Answer]:
            return self.seen_by()(node, job) if job == jobs[3] else extract_well(node, job)

        found = ends(Dispatch(jobs, StandIn(work)).run())
        failure = found.pop("3.mp4")
        assert isinstance(failure, ExtractionFailed)
        assert failure.reason.startswith("is not seen by node a, node b: nodes need videos at the same path")
        assert all(isinstance(event, Extracted) for event in found.values())

    def test_a_video_that_is_gone_here_too_is_not_tried_again(self, jobs: list[ExtractionJob]) -> None:
        for job in jobs:
            job.video.unlink()
        cluster = StandIn(self.seen_by())
        found = ends(Dispatch(jobs, cluster).run())
        assert {event.reason for event in found.values() if isinstance(event, ExtractionFailed)} == {"no such file"}
        assert len(cluster.begun) == 6

    def test_a_long_list_is_not_searched_again_and_again(
        self, jobs: list[ExtractionJob], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster_module, "_LOOK_AHEAD", 2)
        found = ends(Dispatch(jobs, StandIn(self.seen_by("b"))).run())
        assert all(isinstance(event, Extracted) for event in found.values())
        found = ends(Dispatch(jobs, StandIn(self.seen_by())).run())
        assert all(isinstance(event, ExtractionFailed) for event in found.values())

    def test_workers_without_room_are_not_waited_for_for_ever(
        self, jobs: list[ExtractionJob], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster_module, "_LAST_HOPE", 0.0)
        found = ends(Dispatch(jobs, StandIn(self.seen_by(), nodes=["a", None])).run())
        assert all(isinstance(event, ExtractionFailed) for event in found.values())


def test_a_cluster_without_room_is_told(
    jobs: list[ExtractionJob], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cluster_module, "_PATIENCE", 0.0)
    cluster = StandIn(nodes=[None])
    waits = []

    def wait(seconds: float) -> list[tuple[int, Answer]]:
        waits.append(seconds)
        return [(0, Ready("a", "node a"))] if len(waits) == 3 else StandIn.wait(cluster, seconds)

    monkeypatch.setattr(cluster, "wait", wait)
    cluster._node[0] = "a"
    assert len(ends(Dispatch(jobs, cluster).run())) == 6
    [record] = caplog.records
    assert record.getMessage() == "waiting for a first worker: the cluster is busy, or slow to start one"
    assert 1 in cluster.stopped, "nothing is left for a worker without room"


def test_features_that_cannot_be_written_here_are_one_failure(jobs: list[ExtractionJob]) -> None:
    (jobs[0].target.parent).mkdir()
    jobs[0].target.mkdir()
    found = ends(Dispatch(jobs, StandIn()).run())
    failure = found.pop("0.mp4")
    assert isinstance(failure, ExtractionFailed)
    assert failure.cause is Cause.UNWRITTEN
    assert all(isinstance(event, Extracted) for event in found.values())


def test_what_a_node_cannot_write_names_the_node(jobs: list[ExtractionJob]) -> None:
    def work(node: str, job: ExtractionJob) -> list[Answer]:
        return [Step(ExtractionFailed.unwritten(job, OSError(28, "No space left on device")))]

    [event] = ends(Dispatch(jobs[:1], StandIn(work)).run()).values()
    assert isinstance(event, ExtractionFailed)
    assert event.reason.endswith("(no space left on device) of node a")


@pytest.mark.parametrize("gpus", [0.0, -1.0, 1.5, float("nan"), float("inf")])
def test_parts_of_gpus_that_cannot_be_had(gpus: float) -> None:
    with pytest.raises(ConfigError, match="GPUs per worker: must be above 0"):
        ClusterOptions("auto", gpus)


@pytest.mark.parametrize("gpus", [0.25, 1.0, 2.0, None])
def test_parts_of_gpus_that_can_be_had(gpus: float | None) -> None:
    assert ClusterOptions("auto", gpus).gpus_per_worker == gpus
