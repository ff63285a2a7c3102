"""Extraction on a cluster: which worker gets which video, and what happens when a worker is lost with its node.

Only features travel, and they are written here, each file at once: nodes need to see the videos, and nothing else. A
worker has one video at a time, and no further call waits at it. What starts workers and speaks with them is a
`Cluster`; that of Ray is in `ray_cluster`.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol, TypeAlias

from mttsg_core.errors import ConfigError
from mttsg_core.features.jobs import Cause, ExtractionEvent, ExtractionFailed, ExtractionJob, ExtractionProgress
from mttsg_core.features.node_worker import Refusal, Step
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.processes import WorkerLost

DEFAULT_GPUS_PER_WORKER = 0.25

_MOST_LOSSES = 3  # workers that a video may cost, and that may be lost in a row before they have a place
_WAIT_SECONDS = 1.0  # between two looks at workers that are starting
_PATIENCE = 30.0  # seconds without any worker after which a line says so
_LAST_HOPE = 60.0  # seconds that videos which no node sees wait for a node that is not there yet
_LOOK_AHEAD = 1000  # waiting videos that are looked through for one that a node sees

_log = logging.getLogger("mttsg")


@dataclass(frozen=True)
class ClusterOptions:
    """Which cluster extracts features, and how much of its GPUs a worker takes.

    Attributes:
        address: of its head node as `HOST:PORT`, or `auto` for the cluster that this computer belongs to.
        gpus_per_worker: that a pretrained encoder takes on a cluster with GPUs: 0.25 lets four workers share one.
            None is 0.25.
        device: where pretrained encoders run: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigError: if `gpus_per_worker` is not above 0, or above 1 and not a whole number.
    """

    address: str = "auto"
    gpus_per_worker: float | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        gpus = self.gpus_per_worker
        if gpus is not None and not (0 < gpus <= 1 or (math.isfinite(gpus) and gpus > 1 and gpus == int(gpus))):
            raise ConfigError(f"{gpus} GPUs per worker: must be above 0, and whole if it is above 1")


@dataclass(frozen=True)
class Ready:
    """What a worker says once it has a place.

    Attributes:
        node: id of its node.
        name: of the node, for people.
    """

    node: str
    name: str


Answer: TypeAlias = Ready | Step | Refusal | WorkerLost


class Cluster(Protocol):
    """Starts workers, which are known by numbers, and speaks with them."""

    @property
    def places(self) -> int:
        """Number of workers that have room at the same time."""
        ...

    def start(self) -> int:
        """Start a worker, and return its number. It answers `Ready` once there is room for it."""
        ...

    def begin(self, worker: int, job: ExtractionJob) -> None:
        """Let a worker begin with a video; it answers with a `Step`."""
        ...

    def proceed(self, worker: int) -> None:
        """Let a worker go on with its video; it answers with the next `Step`."""
        ...

    def stop(self, worker: int) -> None:
        """End a worker."""
        ...

    def wait(self, seconds: float) -> Sequence[tuple[int, Answer]]:
        """Return the answers that have come, after waiting for the first one for at most some seconds."""
        ...


@dataclass(eq=False)
class _Task:
    """A video to extract.

    Attributes:
        job: as it was given.
        losses: number of workers that were lost while they had it.
        unseen: names, by id, of the nodes that do not see the file.
    """

    job: ExtractionJob
    losses: int = 0
    unseen: dict[str, str] = field(default_factory=dict)

    def for_node(self) -> ExtractionJob:
        """Return the job as a node needs it: the same path wherever the program was started."""
        return replace(self.job, video=self.job.video.absolute())


class Dispatch:
    """Gives videos to the workers of a cluster.

    Args:
        jobs: the videos, in the order in which they are to be done.
        cluster: extracts them.
        workers: number of workers at a time; None for as many as there is room for.
    """

    def __init__(self, jobs: Sequence[ExtractionJob], cluster: Cluster, workers: int | None = None) -> None:
        self._waiting = deque(map(_Task, jobs))
        self._cluster = cluster
        self._limit = self._most_starts = workers or max(1, cluster.places)
        self._starting: dict[int, float] = {}  # since when, by worker
        self._idle: dict[int, Ready] = {}
        self._busy: dict[int, tuple[Ready, _Task]] = {}
        self._lost_starts = 0
        self._warned: set[str] = set()

    def run(self) -> Iterator[ExtractionEvent]:
        """Yield the events of the videos, as `extraction.extract` does.

        Raises:
            ConfigError: if a node cannot extract any video, or no worker can be started.
        """
        while self._waiting or self._busy:
            self._give()
            self._start()
            if not self._busy and self._is_last_hope_gone():
                yield from self._fail_unseen()
            for worker, answer in self._cluster.wait(_WAIT_SECONDS):
                yield from self._take(worker, answer)
            self._warn_of_waiting()

    def _give(self) -> None:
        """Give waiting videos to idle workers whose nodes see them. When none is left, end whoever has no video."""
        for worker, ready in list(self._idle.items()):
            ahead = islice(self._waiting, _LOOK_AHEAD)
            task = next((task for task in ahead if ready.node not in task.unseen), None)
            if task is not None:
                self._waiting.remove(task)
                del self._idle[worker]
                self._busy[worker] = (ready, task)
                self._cluster.begin(worker, task.for_node())
        if not self._waiting:
            for worker in (*self._idle, *self._starting):
                self._cluster.stop(worker)
            self._idle.clear()
            self._starting.clear()

    def _start(self) -> None:
        """Start workers up to the limit. Idle ones count: they stand where no waiting video is seen."""
        present = len(self._starting) + len(self._idle) + len(self._busy)
        for _ in range(min(self._limit - present, len(self._waiting) - len(self._starting))):
            self._starting[self._cluster.start()] = time.monotonic()

    def _is_last_hope_gone(self) -> bool:
        """Return whether no worker will come whose node may see the videos that are waiting."""
        return not self._starting or bool(self._idle and self._waited > _LAST_HOPE)

    def _fail_unseen(self) -> Iterator[ExtractionEvent]:
        """Give up the first waiting videos: no idle worker's node sees them."""
        nodes = {ready.node for ready in self._idle.values()}
        while self._waiting and nodes <= self._waiting[0].unseen.keys():
            task = self._waiting.popleft()
            names = ", ".join(sorted(set(task.unseen.values())))
            reason = f"is not seen by {names}: nodes need videos at the same path, as on shared storage"
            yield ExtractionFailed(task.job, reason, Cause.UNSEEN)

    def _take(self, worker: int, answer: Answer) -> Iterator[ExtractionEvent]:
        """Use the answer of a worker."""
        if isinstance(answer, Ready):
            del self._starting[worker]
            self._idle[worker] = answer
            self._lost_starts = 0
        elif isinstance(answer, Refusal):
            raise ConfigError(answer.reason)
        elif isinstance(answer, WorkerLost):
            yield from self._take_loss(worker, answer.reason)
        elif isinstance(answer.event, ExtractionProgress):
            yield replace(answer.event, job=self._busy[worker][1].job)
            self._cluster.proceed(worker)
        else:
            ready, task = self._busy.pop(worker)
            self._idle[worker] = ready
            yield from self._take_end(ready, task, answer)

    def _take_end(self, ready: Ready, task: _Task, step: Step) -> Iterator[ExtractionEvent]:
        """Write the features of a video, or say why there are none."""
        event = replace(step.event, job=task.job)
        if isinstance(event, ExtractionFailed) and event.cause is Cause.UNSEEN and os.path.lexists(task.job.video):
            task.unseen[ready.node] = ready.name
            self._waiting.appendleft(task)
            self._warn(f"{ready.name} does not see videos in {task.job.video.absolute().parent}: other nodes are tried")
            return
        if isinstance(event, ExtractionFailed) and event.cause is Cause.UNWRITTEN:
            event = replace(event, reason=f"{event.reason} of {ready.name}")
        if step.features is not None:
            features = step.features
            try:
                write_atomically(task.job.target, lambda part: part.write_bytes(features))
            except OSError as error:
                event = ExtractionFailed.unwritten(task.job, error)
        yield event

    def _take_loss(self, worker: int, reason: str) -> Iterator[ExtractionEvent]:
        """Let another worker do the video of one that is lost, unless the video has cost several."""
        if self._starting.pop(worker, None) is not None:
            self._lost_starts += 1
            self._limit = max(1, self._limit - 1)  # it is not tried again and again while others work
            none_works = not self._busy and not self._idle
            if none_works and self._lost_starts >= max(_MOST_LOSSES, self._most_starts):
                raise ConfigError(f"the cluster cannot start workers: {reason}")
            return
        if self._idle.pop(worker, None) is not None:
            return
        ready, task = self._busy.pop(worker)
        task.losses += 1
        if task.losses < _MOST_LOSSES:
            _log.info("%s: begun again, as its worker on %s was lost (%s)", task.job.video, ready.name, reason)
            self._waiting.appendleft(task)
        else:
            lost = f"{task.losses} workers were lost while they had it, the last one: {reason}"
            yield ExtractionFailed(task.job, lost)

    @property
    def _waited(self) -> float:
        """Seconds since the first worker was started that has no place yet."""
        return time.monotonic() - min(self._starting.values(), default=time.monotonic())

    def _warn_of_waiting(self) -> None:
        """Say that no worker has a place, if that takes long."""
        if not self._busy and not self._idle and self._waited > _PATIENCE:
            self._warn("waiting for a first worker: the cluster is busy, or slow to start one")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("%s", text)
