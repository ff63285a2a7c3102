"""Events of the library on standard error: a line for each that is worth one, and a progress bar."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mttsg_cli.console import Bar, Reporter
from mttsg_cli.options import report_problems

if TYPE_CHECKING:
    from mttsg_core.workflows.events import ProgressStarted

_TASKS = {
    "extraction": "Reading videos",
    "training": "Training",
    "grounding": "Grounding",
    "thumbnails": "Taking thumbnails",
    "excerpts": "Cutting excerpts",
}


class _LogHandler(logging.Handler):
    """Shows what the library logs beside its events: warnings, and with --verbose what is less important."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "of_event", False):
            return
        if record.levelno >= logging.WARNING:
            self._reporter.warn(record.getMessage())
        else:
            self._reporter.detail(record.getMessage())


class EventDisplay:
    """Shows events as they happen, and counts failed inputs. Use it as a context manager: leaving it ends the bar.

    Attributes:
        failed: number of inputs that could not be used.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.failed = 0
        self._log_handler = _LogHandler(reporter)
        self._level_before = logging.NOTSET
        self._stack = ExitStack()
        self._bar: Bar | None = None
        self._left = 0  # steps until the bar is full
        self._video_seconds = 0.0

    def __enter__(self) -> EventDisplay:
        logger = logging.getLogger("mttsg")
        self._level_before = logger.level
        if self.reporter.verbose:
            logger.setLevel(logging.INFO)
        logger.addHandler(self._log_handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        logger = logging.getLogger("mttsg")
        logger.removeHandler(self._log_handler)
        logger.setLevel(self._level_before)
        self._stack.close()

    def show(self, event: object) -> None:
        """Show an event."""
        from mttsg_core.workflows.events import RowsSkipped, describe_event

        if isinstance(event, RowsSkipped):
            report_problems(self.reporter, event.problems)
            return
        for message in describe_event(event):
            self.failed += message.level == logging.ERROR
            self.reporter.message(message.level, message.text)
        self._move_bar(event)

    def _move_bar(self, event: object) -> None:
        """Start, advance or end the progress bar."""
        from mttsg_core.features.extraction import ExtractionPassedOver
        from mttsg_core.workflows.events import Extracted, ExtractionFailed, ProgressAdvanced, ProgressStarted

        if isinstance(event, ProgressStarted):
            self._start_bar(event)
        elif isinstance(event, ProgressAdvanced):
            self._advance_bar(event.steps)
        elif isinstance(event, Extracted | ExtractionFailed | ExtractionPassedOver):
            if isinstance(event, Extracted) and not event.cached:
                self._video_seconds += event.video_seconds
            self._advance_bar()

    def _start_bar(self, event: ProgressStarted) -> None:
        self._end_bar()
        self._video_seconds = 0.0
        self._left = event.total - event.done
        if self._left > 0:
            self._bar = self._stack.enter_context(self.reporter.progress(event.total, _TASKS[event.task]))
            self._bar.advance(event.done)

    def _advance_bar(self, steps: int = 1) -> None:
        if self._bar is None:
            return
        seconds = self._bar.elapsed
        rate = f"{self._video_seconds / seconds:.0f}x real time" if self._video_seconds and seconds > 0.5 else ""
        self._bar.advance(steps, rate)
        self._left -= steps
        if self._left <= 0:
            self._end_bar()

    def _end_bar(self) -> None:
        self._stack.close()
        self._bar = None


def show_large_files(reporter: Reporter, data: Path) -> None:
    """Say which annotation files are about to be read, if that takes a while."""
    from mttsg_core.workflows.reading import reading_notes

    for note in reading_notes(data):
        reporter.say(note)
