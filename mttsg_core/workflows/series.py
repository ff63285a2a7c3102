"""Several runs one after the other, as one task: each is begun, goes on or is passed over, and how far all are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from mttsg_core.errors import TrainingError
from mttsg_core.workflows.events import (
    InputFailed,
    Noted,
    ProgressAdvanced,
    ProgressStarted,
    SeriesAdvanced,
    SeriesRun,
    SeriesStarted,
)

_Event = TypeVar("_Event")
_Report = TypeVar("_Report")

SeriesEvent: TypeAlias = SeriesStarted | SeriesRun | SeriesAdvanced


@dataclass(frozen=True)
class PlannedSteps(Generic[_Event, _Report]):
    """One of several runs.

    Attributes:
        name: what is special about it.
        folder: of its model.
        steps: starts it, or lets it go on; its events advance the series by 1 in all. Of a run that is done already it
            only returns the report.
        is_done: whether it was done before.
        is_stopped: whether it was begun before, and goes on.
    """

    name: str
    folder: Path
    steps: Callable[[], Generator[_Event, None, _Report]]
    is_done: bool = False
    is_stopped: bool = False


@dataclass(frozen=True)
class SeriesOutcome(Generic[_Report]):
    """What came of several runs: the report of each that was finished, by its place, and a line for each other one."""

    reports: dict[int, _Report] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def run_series(
    runs: Sequence[PlannedSteps[_Event, _Report]],
) -> Generator[_Event | SeriesStarted | SeriesRun | InputFailed, None, SeriesOutcome[_Report]]:
    """Do several runs one after the other. One whose training fails is an event, and costs no other run."""
    yield SeriesStarted(len(runs), sum(one.is_done for one in runs))
    outcome: SeriesOutcome[_Report] = SeriesOutcome()
    for place, one in enumerate(runs):
        if not one.is_done:
            yield SeriesRun(place + 1, len(runs), one.name, one.folder, one.is_stopped)
        try:
            outcome.reports[place] = yield from one.steps()
        except TrainingError as error:
            outcome.failures.append(f"{one.folder}: {error}")
            yield InputFailed(outcome.failures[-1])
    return outcome


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
