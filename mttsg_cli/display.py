"""Events of the library on standard error: a line for each that is worth one, and a progress bar."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from types import TracebackType

from mttsg_cli.console import Bar, Reporter
from mttsg_cli.options import report_problems

_TASKS = {
    "extraction": "Reading videos",
    "grounding": "Grounding",
    "thumbnails": "Taking thumbnails",
    "excerpts": "Cutting excerpts",
}


class EventDisplay:
    """Shows events as they happen, and counts failed inputs. Use it as a context manager: leaving it ends the bar.

    Attributes:
        failed: number of inputs that could not be used.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.failed = 0
        self._stack = ExitStack()
        self._bar: Bar | None = None
        self._left = 0  # steps until the bar is full
        self._video_seconds = 0.0

    def __enter__(self) -> EventDisplay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
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
        from mttsg_core.workflows import events

        if isinstance(event, events.ProgressStarted):
            self._start_bar(event.total, _TASKS.get(event.task, event.task))
        elif isinstance(event, events.Extracted):
            self._video_seconds += 0 if event.cached else event.video_seconds
            self._advance_bar()
        elif isinstance(event, events.ExtractionFailed | events.ProgressAdvanced):
            self._advance_bar()
        elif type(event).__module__.endswith(("workflows.train", "training.trainer")):
            self._follow_training(event)

    def _follow_training(self, event: object) -> None:
        from mttsg_core.training.trainer import EpochDone, TrainingFinished, TrainingStarted

        if isinstance(event, TrainingStarted):
            self._start_bar(event.epochs, "Training", done=event.epoch)
        elif isinstance(event, EpochDone):
            self._advance_bar()
        elif isinstance(event, TrainingFinished):
            self._end_bar()

    def _start_bar(self, total: int, task: str, done: int = 0) -> None:
        self._end_bar()
        self._video_seconds = 0.0
        self._left = total - done
        if self._left > 0:
            self._bar = self._stack.enter_context(self.reporter.progress(total, task))
            self._bar.advance(done)

    def _advance_bar(self) -> None:
        if self._bar is None:
            return
        seconds = self._bar.elapsed
        rate = f"{self._video_seconds / seconds:.0f}x real time" if self._video_seconds and seconds > 0.5 else ""
        self._bar.advance(rate=rate)
        self._left -= 1
        if self._left <= 0:
            self._end_bar()

    def _end_bar(self) -> None:
        self._stack.close()
        self._bar = None
