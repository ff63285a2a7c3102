"""Workflows as generators: they yield events, log them, return a report, and raise only errors of the library."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar

from mttsg_core.errors import MttsgError
from mttsg_core.utils.text import describe_os_error
from mttsg_core.workflows.events import describe_event

_Event = TypeVar("_Event")
_Report = TypeVar("_Report")
OnEvent = Callable[[_Event], object]

OF_EVENT = {"of_event": True}  # attributes of the log records that repeat events
_log = logging.getLogger("mttsg")


def iterate(steps: Generator[_Event, None, _Report]) -> Iterator[_Event | _Report]:
    """Yield the events of a workflow, then its report.

    Raises:
        MttsgError: as the workflow does, and for a file that cannot be read or written.
    """
    report = yield from _logged(steps)
    yield report


def run(steps: Generator[_Event, None, _Report], on_event: OnEvent[_Event] | None = None) -> _Report:
    """Run a workflow to its end, give each event to `on_event`, and return the report.

    Raises:
        MttsgError: as `iterate`.
    """
    with closing(_logged(steps)) as logged:
        while True:
            try:
                event = next(logged)
            except StopIteration as end:
                report: _Report = end.value
                return report
            if on_event is not None:
                on_event(event)


def _logged(steps: Generator[_Event, None, _Report]) -> Generator[_Event, None, _Report]:
    with closing(steps):
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                report: _Report = end.value
                return report
            except BrokenPipeError:
                raise  # the reader of an output has left: not an error of the workflow
            except OSError as error:
                raise MttsgError(describe_os_error(error)) from error
            for message in describe_event(event):
                _log.log(message.level, "%s", message.text, extra=OF_EVENT)
            yield event
