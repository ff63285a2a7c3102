"""A training in a process of its own, one at a time, whose progress the page shows and which can be stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from mttsg_core.errors import BusyError, MttsgError, error_summary
from mttsg_core.server.progress import Progress
from mttsg_core.utils.processes import interrupts_blocked, start_worker
from mttsg_core.workflows.events import Warned
from mttsg_core.workflows.options import FeatureOptions, TrainOptions

_log = logging.getLogger("mttsg")
_PATIENCE = 5.0  # seconds that a stopped process may take to end


@dataclass(frozen=True)
class TrainingRequest:
    """What to train on, and how.

    Attributes:
        data: the data folder.
        features: of its videos.
        options: device, cache and the like.
        config, network, loss: settings, as `train` takes them.
    """

    data: Path
    features: FeatureOptions
    options: TrainOptions
    config: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)


class Stage(Enum):
    """Where a training is."""

    NONE = "none"
    RUNNING = "running"
    LOADING = "loading"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class TrainingStatus:
    """Where a training is, and how far it has come; `reason` says why it failed."""

    stage: Stage = Stage.NONE
    progress: Progress = field(default_factory=Progress)
    reason: str = ""


@dataclass(frozen=True)
class _Trained:
    """The last message of a training that ended well."""

    folder: Path


@dataclass(frozen=True)
class _Failed:
    """The last message of a training that did not."""

    reason: str


class TrainingJob:
    """One training at a time.

    Args:
        on_trained: is given the model folder when a training has ended well, in another thread. An MttsgError that it
            raises is the reason why the training failed.
    """

    def __init__(self, on_trained: Callable[[Path], object]) -> None:
        self._on_trained = on_trained
        self._status = TrainingStatus()
        self._process: BaseProcess | None = None
        self._follower: Thread | None = None
        self._lock = Lock()

    @property
    def status(self) -> TrainingStatus:
        """Where the training is."""
        return self._status

    def start(self, request: TrainingRequest) -> None:
        """Start a training. Raises BusyError if one is running."""
        with self._lock:
            if self._status.stage in (Stage.RUNNING, Stage.LOADING):
                raise BusyError("a training is running already")
            receiver, sender = get_context("spawn").Pipe(duplex=False)
            process = get_context("spawn").Process(target=_train, args=(request, sender), name="mttsg-training")
            with interrupts_blocked():
                process.start()
            sender.close()  # so that the end of the process is the end of its messages
            self._process = process
            self._status = TrainingStatus(Stage.RUNNING)
            self._follower = Thread(target=self._follow, args=(process, receiver), daemon=True)
            self._follower.start()

    def stop(self) -> None:
        """Stop the training, if one is running. What it has saved is kept, for `mttsg train --resume`."""
        with self._lock:
            if self._process is not None and self._status.stage is Stage.RUNNING:
                self._status = replace(self._status, stage=Stage.STOPPED)
                self._process.terminate()

    def wait(self) -> None:
        """Wait until the training has ended in any way."""
        follower = self._follower
        if follower is not None:
            follower.join()

    def close(self) -> None:
        """Stop the training and wait for the end of its process."""
        self.stop()
        if self._process is not None:
            self._process.join(_PATIENCE)
            if self._process.exitcode is None:
                self._process.kill()

    def _follow(self, process: BaseProcess, receiver: Connection) -> None:
        """Take in the messages of the process until it ends."""
        last: _Trained | _Failed = _Failed("the training process crashed")
        with receiver:
            while True:
                try:
                    message = receiver.recv()
                except (EOFError, OSError):
                    break
                if isinstance(message, Progress):
                    self._set(Stage.RUNNING, progress=message)
                else:
                    last = message
        process.join()
        if isinstance(last, _Failed):
            self._set(Stage.FAILED, reason=last.reason)
            return
        self._set(Stage.LOADING)
        try:
            self._on_trained(last.folder)
        except MttsgError as error:
            self._set(Stage.FAILED, reason=str(error))
        else:
            self._set(Stage.FINISHED)

    def _set(self, stage: Stage, progress: Progress | None = None, reason: str = "") -> None:
        """Change the status, unless the training was stopped meanwhile."""
        with self._lock:
            if self._status.stage is not Stage.STOPPED:
                self._status = TrainingStatus(stage, progress or self._status.progress, reason)


class _WarningHandler(logging.Handler):
    """Passes on what the library logs as warnings and not as events."""

    def __init__(self, take: Callable[[object], object]) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one record."""
        if not getattr(record, "of_event", False):
            self._take(Warned(record.getMessage()))


def _train(request: TrainingRequest, sender: Connection) -> None:
    """Train in this process, and send the progress and then the outcome."""
    start_worker()
    from mttsg_core.workflows.train import TrainReport, iter_train

    progress = Progress()

    def take(event: object) -> None:
        nonlocal progress
        if (after := progress.after(event)) != progress:
            progress = after
            sender.send(progress)

    _log.addHandler(_WarningHandler(take))
    try:
        for event in iter_train(
            request.data,
            config=request.config,
            network=request.network,
            loss=request.loss,
            features=request.features,
            options=request.options,
        ):
            if isinstance(event, TrainReport):
                sender.send(_Trained(event.folder))
            else:
                take(event)
    except MttsgError as error:
        sender.send(_Failed(str(error)))
    except (MemoryError, RuntimeError) as error:  # of the device, mostly
        sender.send(_Failed(error_summary(error)))
