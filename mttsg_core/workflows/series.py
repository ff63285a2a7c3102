"""Several trainings one after the other, as one task: how far it is, and which run is at work."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from mttsg_core.workflows import events
from mttsg_core.workflows.events import Message, Noted, ProgressAdvanced, ProgressStarted

_Event = TypeVar("_Event")
_Report = TypeVar("_Report")


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


SeriesEvent: TypeAlias = SeriesStarted | SeriesRun | SeriesAdvanced


@events.describe_event.register
def _(event: SeriesStarted) -> list[Message]:
    kept = f", {event.done} of them done before" if event.done else ""
    return [Message(logging.INFO, f"{event.total} runs{kept}")]


@events.describe_event.register
def _(event: SeriesRun) -> list[Message]:
    resumed = ", resumed" if event.resumed else ""
    return [Message(logging.INFO, f"run {event.number} of {event.total}: {event.name}{resumed}")]


def follow(
    steps: Generator[_Event, None, _Report], share: float = 1.0
) -> Generator[_Event | SeriesAdvanced, None, _Report]:
    """Pass on the events of a part of a run, with how far the run is; what to do next with its model is left out.

    Args:
        steps: the events of a training or an evaluation.
        share: of the run that they are.
    """
    left, epochs = share, 0
    with closing(steps):
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                report: _Report = end.value
                yield SeriesAdvanced(left)
                return report
            if not isinstance(event, Noted):
                yield event
            if isinstance(event, ProgressStarted) and event.task == "training":
                epochs = event.total
                part = share * event.done / epochs
            elif isinstance(event, ProgressAdvanced) and event.task == "training" and epochs:
                part = share * event.steps / epochs
            else:
                continue
            left = max(0.0, left - part)
            yield SeriesAdvanced(part)
