"""A cluster of Ray (optional extra `ray`) that extracts features. Ray is imported when a cluster is connected to."""

from __future__ import annotations

import logging
import os
import pkgutil
import platform
import signal
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mttsg_core._version import __version__
from mttsg_core.encoders import Encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ConfigError, error_summary
from mttsg_core.features.cluster import DEFAULT_GPUS_PER_WORKER, Answer, ClusterOptions, Dispatch, Ready
from mttsg_core.features.jobs import ExtractionEvent, ExtractionJob
from mttsg_core.features.node_worker import NodeWorker, Refusal
from mttsg_core.features.settings import ExtractionSettings
from mttsg_core.utils.processes import WorkerLost

if TYPE_CHECKING:
    import ray

_CONNECT_SECONDS = 5.0  # that the head node may take to accept a connection
_CHECK_SECONDS = 120.0  # that nodes may take to tell their versions
_SKIPPED_LINES = "RAY_DEDUP_LOGS_SKIP_REGEX"  # which lines Ray does not print; read when it is imported
_VERSION = "mttsg_core._version:__version__"


class RayWorker(NodeWorker):
    """A `NodeWorker` as an actor of Ray."""

    def greet(self, version: str) -> Ready | Refusal:
        """Return where this worker is, or why it is of no use to a program of that version."""
        import ray

        name = platform.node()
        if version != __version__:
            return Refusal(_version_fault(name, __version__))
        refusal = self.prepare()
        if refusal is not None:
            return Refusal(f"{name}: {refusal.reason}")
        return Ready(ray.get_runtime_context().get_node_id(), name)


def extract_on_ray(
    jobs: Sequence[ExtractionJob],
    encoder: Encoder,
    *,
    settings: ExtractionSettings,
    options: ClusterOptions,
    workers: int | None = None,
) -> Generator[ExtractionEvent, None, None]:
    """Extract on a cluster of Ray, and yield the events that `extraction.extract` does.

    Args:
        jobs: the videos, which must be at the same path on the nodes. Their features are written by this process.
        encoder: the encoder of `settings`, as it is on this computer.
        settings: which features. Their device is of this computer.
        options: which cluster.
        workers: number of videos at a time; None for one for each CPU of the cluster.

    Raises:
        ConfigError: if Ray is not installed, the cluster cannot be used, or a node cannot extract such features.
    """
    if not jobs:
        return
    with connected(options.address), closing(RayCluster(settings, encoder, options)) as cluster:
        yield from Dispatch(jobs, cluster, workers).run()


class RayCluster:
    """Workers on the nodes of the cluster that this process is connected to. See `cluster.Cluster`.

    Args:
        settings: which features.
        encoder: the encoder of `settings`, as it is on this computer: that of the nodes must make the same features.
        options: how much of a GPU a worker takes.

    Raises:
        ConfigError: if a node has another version of this program, or the cluster lacks what the settings need.
    """

    def __init__(self, settings: ExtractionSettings, encoder: Encoder, options: ClusterOptions) -> None:
        import ray

        self._ray = ray
        self._settings = replace(settings, device=options.device)
        self._fingerprint: Settings = settings.fingerprint(encoder)
        self._numbers = count()
        self._actors: dict[int, Any] = {}
        self._calls: dict[ray.ObjectRef[Any], int] = {}
        resources = ray.cluster_resources()
        self._gpus = _gpus_per_worker(encoder, options, resources.get("GPU", 0.0))
        self.places = int(resources.get("CPU", 0.0))
        if self._gpus:
            self.places = min(self.places, int(resources["GPU"] / self._gpus + 1e-6))
        _check_versions()

    def start(self) -> int:
        """Start a worker on the node with the fewest, and return its number."""
        number = next(self._numbers)
        kind = self._ray.remote(RayWorker).options(
            num_cpus=1, num_gpus=self._gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self._actors[number] = kind.remote(self._settings, self._fingerprint)
        self._calls[self._actors[number].greet.remote(__version__)] = number
        return number

    def begin(self, worker: int, job: ExtractionJob) -> None:
        """Let a worker begin with a video."""
        self._calls[self._actors[worker].begin.remote(job)] = worker

    def proceed(self, worker: int) -> None:
        """Let a worker go on with its video."""
        self._calls[self._actors[worker].proceed.remote()] = worker

    def stop(self, worker: int) -> None:
        """End a worker, whatever it is doing."""
        self._calls = {call: number for call, number in self._calls.items() if number != worker}
        self._ray.kill(self._actors.pop(worker))

    def wait(self, seconds: float) -> list[tuple[int, Answer]]:
        """Return the answers that have come, after waiting for the first one for at most some seconds."""
        if not self._calls:
            return []
        calls = list(self._calls)
        ready, others = self._ray.wait(calls, num_returns=1, timeout=seconds)
        if ready and others:
            ready += self._ray.wait(others, num_returns=len(others), timeout=0)[0]
        answers = []
        for call in ready:
            worker = self._calls.pop(call)
            answers.append((worker, self._answer(worker, call)))
        return answers

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._actors):
            with suppress(self._ray.exceptions.RayError):
                self.stop(worker)

    def _answer(self, worker: int, call: ray.ObjectRef[Any]) -> Answer:
        """Return what a worker answers to a call; a lost one is ended, if it is not dead."""
        try:
            answer: Answer = self._ray.get(call)
        except self._ray.exceptions.RayTaskError:
            raise  # a fault of this program
        except self._ray.exceptions.RayError as error:
            with suppress(self._ray.exceptions.RayError):
                self.stop(worker)
            return WorkerLost(_loss(error))
        return answer


def _loss(error: ray.exceptions.RayError) -> str:
    """Return why a worker was lost, in a few words; messages of Ray are several lines."""
    from ray import exceptions

    if isinstance(error, exceptions.OutOfMemoryError):
        return "its node ran out of memory"
    if isinstance(error, exceptions.RayActorError | exceptions.NodeDiedError) and "creation" not in str(error):
        return "it died, or its node did"
    return error_summary(error)


def _gpus_per_worker(encoder: Encoder, options: ClusterOptions, gpus: float) -> float:
    """Return how many GPUs each worker takes; 0 for an encoder that runs on the CPU.

    Raises:
        ConfigError: if there are no GPUs and some are asked for, or a GPU is asked for by its number.
    """
    device = options.device
    needs_none = device == "cpu" or encoder.runs_in_workers
    if options.gpus_per_worker is not None and (needs_none or not gpus):
        what = f"encoder {encoder.settings['encoder']} on device {device} uses" if needs_none else "the cluster has"
        raise ConfigError(f"GPUs per worker: {what} no GPU; leave it out")
    if needs_none:
        return 0.0
    if device not in ("auto", "cuda"):
        raise ConfigError(f"device {device!r}: Ray chooses the GPU of a worker; use auto, cpu or cuda")
    if device == "cuda" and not gpus:
        raise ConfigError("device 'cuda': no node of the cluster has a GPU")
    return (options.gpus_per_worker or DEFAULT_GPUS_PER_WORKER) if gpus else 0.0


def _check_versions() -> None:
    """Check that the nodes have this version. The function that asks is one of Python, for nodes without this program.

    Raises:
        ConfigError: if a node has another version or none, or does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(pkgutil.resolve_name)
    for node in ray.nodes():
        if not (node["Alive"] and node["Resources"].get("CPU")):
            continue
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        try:
            version = ray.get(
                ask.options(num_cpus=0, max_retries=0, scheduling_strategy=here).remote(_VERSION),
                timeout=_CHECK_SECONDS,
            )
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, ImportError):
                raise
            raise ConfigError(_version_fault(name, None)) from error
        except ray.exceptions.RayError as error:
            raise ConfigError(f"{name}: does not answer ({error_summary(error)})") from error
        if version != __version__:
            raise ConfigError(_version_fault(name, str(version)))


def _version_fault(node: str, version: str | None) -> str:
    """Return what is wrong with a node that has another version of this program, or None."""
    has = "no mttsg" if version is None else f"mttsg {version}"
    return f"{node} has {has}, and this computer {__version__}: install mttsg=={__version__} on every node"


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster, unless this process is connected to one already, and leave it afterwards.

    Ray writes nothing to the terminal, and handles no signal.

    Raises:
        ConfigError: if Ray is not installed, there is no cluster, or its versions of Ray and Python are other ones.
    """
    try:
        with _prints_nothing():
            import ray
    except ImportError as error:
        raise ConfigError("a cluster needs Ray: install it with pip install 'mttsg[ray]'") from error
    if ray.is_initialized():
        yield
        return
    place = _find(address)
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with _signals_kept():
            ray.init(address=place, configure_logging=False, log_to_driver=False)
    except ImportError as error:
        raise ConfigError(f"{place}: {error_summary(error)}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(_no_cluster(place, error_summary(error))) from error
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        raise ConfigError(f"the cluster at {place} has other versions than this computer: {_plain(error)}") from error
    finally:
        logger.setLevel(level)
    try:
        yield
    finally:
        ray.shutdown()


def _find(address: str) -> str:
    """Return the address of a cluster whose head node accepts connections. Where none does, Ray waits for minutes.

    Raises:
        ConfigError: if it does not.
    """
    place, source = address, ""
    if address == "auto":
        note = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray" / "ray_current_cluster"
        if os.environ.get("RAY_ADDRESS"):
            place, source = os.environ["RAY_ADDRESS"], " of RAY_ADDRESS"
        elif note.is_file():
            place, source = note.read_text(encoding="utf-8").strip(), f" noted in {note}"
    host, colon, port = place.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ConfigError(_no_cluster(f"{place}{source}", error_summary(error))) from error
    return place


def _no_cluster(place: str, reason: str) -> str:
    if place == "auto":
        return "no cluster of Ray on this computer: start one with ray start --head, or name one as HOST:PORT"
    return f"no cluster of Ray at {place} ({reason}): ray start --head prints its address"


@contextmanager
def _prints_nothing() -> Iterator[None]:
    """Let a Ray that is imported in a block print no news of its nodes, which would go to standard output."""
    before = os.environ.get(_SKIPPED_LINES)
    os.environ[_SKIPPED_LINES] = "^"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SKIPPED_LINES]
        else:
            os.environ[_SKIPPED_LINES] = before


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep the handlers of signals in a block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plain(error: RuntimeError) -> str:
    """Return a message of several lines as one, without its title."""
    return error_summary(error).partition("ismatch: ")[2] or error_summary(error)
