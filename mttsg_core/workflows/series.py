"""Several trainings one after the other, as one task: how far it is."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TypeAlias, TypeVar

from mttsg_core.workflows.events import (
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
