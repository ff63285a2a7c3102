"""What a training reports while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingStarted:
    """Training starts, or resumes after `epoch` epochs.

    Attributes:
        epoch: epochs done before.
        epochs: epochs in all, at most.
        videos, pairs: that it learns from.
        parameters: of the network.
        clipped: moments that end past the end of their video, and are clipped to it.
        outside: moments that start past the end of their video, and are left out.
    """

    epoch: int
    epochs: int
    videos: int
    pairs: int
    parameters: int
    clipped: int
    outside: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over.

    Attributes:
        epoch: its number, from 1.
        losses: mean of every loss term, of phi and of the share of negatives dropped (docs/method.md, section 3).
        metrics: of the validation split, in percent; empty without one.
        best: whether it is the best epoch so far.
        lr: learning rate of the next step.
        gradient_norm: mean over the steps.
        seconds: wall time, validation included.
    """

    epoch: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    best: bool
    lr: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class TrainingFinished:
    """The model folder is complete.

    Attributes:
        folder: of the model.
        best_epoch: the epoch that was kept.
        metrics: of that epoch on the validation split, in percent.
        stopped_early: whether validation stopped improving before the last epoch.
        seconds: wall time of all epochs.
    """

    folder: Path
    best_epoch: int
    metrics: Mapping[str, float]
    stopped_early: bool
    seconds: float


TrainingEvent = TrainingStarted | EpochDone | TrainingFinished
