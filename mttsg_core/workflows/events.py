"""Events of the workflows, and the words that describe them in logs and on a terminal.

Beside the classes here, workflows pass on the events of what they run: `Extracted`, `ExtractionProgress`,
`ExtractionFailed` and `ExtractionPassedOver` of an extraction; `TrainingStarted` (which has the model folder and the
device as well), `EpochDone` and `TrainingFinished` of a training. All are frozen dataclasses.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mttsg_core.features.extraction import Extracted, ExtractionFailed, ExtractionPassedOver, ExtractionProgress
from mttsg_core.utils.json_lines import Problem
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.training.trainer import EpochDone, TrainingFinished, TrainingStarted

__all__ = [
    "EpochDone",
    "Extracted",
    "ExtractionFailed",
    "ExtractionPassedOver",
    "ExtractionProgress",
    "InputFailed",
    "Noted",
    "ProgressAdvanced",
    "ProgressStarted",
    "PushFailed",
    "Pushed",
    "RowsSkipped",
    "SeriesAdvanced",
    "SeriesRun",
    "SeriesStarted",
    "TrainingFinished",
    "TrainingStarted",
    "Warned",
]

_TRAINING = ("EpochDone", "TrainingFinished", "TrainingStarted")  # imported on first use: their module needs torch
_SHOWN_ROWS = 3


def __getattr__(name: str) -> object:
    if name in _TRAINING:
        return getattr(import_module("mttsg_core.training.trainer"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class ProgressStarted:
    """A task of known length begins. Each video is a step of an extraction; steps of others are `ProgressAdvanced`.

    Attributes:
        task: `extraction`, `indexing`, `training`, `grounding`, `thumbnails` or `excerpts`.
        total: number of steps.
        done: number of those that were done before.
    """

    task: str
    total: int
    done: int = 0


@dataclass(frozen=True)
class ProgressAdvanced:
    """Steps of a task are done, or not needed any more."""

    task: str
    steps: int = 1


@dataclass(frozen=True)
class RowsSkipped:
    """Rows of annotation or prediction files that cannot be used."""

    problems: Sequence[Problem]


@dataclass(frozen=True)
class InputFailed:
    """A video, its features or another input cannot be used; the others are. `reason` names the file."""

    reason: str


@dataclass(frozen=True)
class Warned:
    """Something to look at that stops nothing."""

    text: str


@dataclass(frozen=True)
class Noted:
    """Something worth knowing."""

    text: str


@dataclass(frozen=True)
class Pushed:
    """The finished model is on the Hugging Face Hub. `url` is the address of its page."""

    url: str


@dataclass(frozen=True)
class PushFailed:
    """The finished model could not be pushed. `reason` says why, and how to push it later."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class SeriesStarted:
    """Several runs begin.

    Attributes:
        total: number of runs.
        done: number of those that were done before.
    """

    total: int
    done: int = 0


@dataclass(frozen=True)
class SeriesRun:
    """One of several runs begins.

    Attributes:
        number: of the run, from 1.
        total: number of runs.
        name: what is special about it.
        folder: of its model.
        resumed: whether it was stopped before, and goes on.
    """

    number: int
    total: int
    name: str
    folder: Path
    resumed: bool = False


@dataclass(frozen=True)
class SeriesAdvanced:
    """A part of a run is done. `runs` is how many runs that is, at most 1."""

    runs: float


ReadingEvent: TypeAlias = (
    ProgressStarted
    | ProgressAdvanced
    | Extracted
    | ExtractionProgress
    | ExtractionFailed
    | ExtractionPassedOver
    | InputFailed
)
"""What happens while the features of videos are found or extracted."""


class Message(NamedTuple):
    """A line about an event. `level` is one of `logging`."""

    level: int
    text: str


@singledispatch
def describe_event(event: object) -> list[Message]:
    """Return the lines to log or show for an event; none for one that only marks progress."""
    return []


@describe_event.register
def _(event: RowsSkipped) -> list[Message]:
    shown = [Message(logging.WARNING, str(problem)) for problem in event.problems[:_SHOWN_ROWS]]
    skipped = sum(not problem.row_used for problem in event.problems)
    used = len(event.problems) - skipped
    counts = [f"{count(skipped, 'bad row')} skipped"] if skipped else []
    counts += [f"{count(used, 'row')} used in part"] if used else []
    return [*shown, Message(logging.WARNING, ", ".join(counts))]


@describe_event.register
def _(event: InputFailed) -> list[Message]:
    return [Message(logging.ERROR, event.reason)]


@describe_event.register
def _(event: Warned) -> list[Message]:
    return [Message(logging.WARNING, event.text)]


@describe_event.register
def _(event: Noted) -> list[Message]:
    return [Message(logging.INFO, event.text)]


@describe_event.register
def _(event: SeriesStarted) -> list[Message]:
    kept = f", {event.done} of them done before" if event.done else ""
    return [Message(logging.INFO, f"{event.total} runs{kept}")]


@describe_event.register
def _(event: SeriesRun) -> list[Message]:
    resumed = ", resumed" if event.resumed else ""
    return [Message(logging.INFO, f"run {event.number} of {event.total}: {event.name}{resumed}")]


@describe_event.register
def _(event: Pushed) -> list[Message]:
    return [Message(logging.INFO, f"pushed: {event.url}")]


@describe_event.register
def _(event: PushFailed) -> list[Message]:
    return [Message(logging.ERROR, event.reason)]


@describe_event.register
def _(event: ExtractionFailed) -> list[Message]:
    return [Message(logging.ERROR, f"{event.job.video}: {event.reason}")]


@describe_event.register
def _(event: Extracted) -> list[Message]:
    if event.cached:
        return []
    features = count(event.clips, "feature")
    messages = [Message(logging.DEBUG, f"{event.job.video}: {features} of {event.video_seconds:.1f} s of video")]
    if event.lost_clips:
        lost = f"{event.job.video}: {event.lost_clips} of {features} are empty: their frames could not be decoded"
        messages.append(Message(logging.WARNING, lost))
    return messages
