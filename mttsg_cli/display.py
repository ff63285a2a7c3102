"""Events of the library on standard error: a line for each that is worth one, and a progress bar."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mttsg_cli.console import Bar, Reporter
from mttsg_cli.downloads import DownloadDisplay
from mttsg_cli.option_values import report_problems
from mttsg_core.utils.downloads import watch_downloads
from mttsg_core.utils.text import format_clock

if TYPE_CHECKING:
    from mttsg_core.workflows.events import ExtractionProgress, ProgressStarted

_TASKS = {
    "extraction": "Reading videos",
    "training": "Training",
    "indexing": "Indexing",
    "grounding": "Grounding",
    "thumbnails": "Taking thumbnails",
    "excerpts": "Cutting excerpts",
}


class _LogHandler(logging.Handler):
    """Shows what the library logs beside its events: warnings, and with --verbose what is less important."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter
        self._warned: set[str] = set()  # several runs warn of the same

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "of_event", False):
            return
        text = record.getMessage()
        if record.levelno >= logging.WARNING and text not in self._warned:
            self._warned.add(text)
            self._reporter.warn(text)
        elif record.levelno < logging.WARNING:
            self._reporter.detail(text)


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
        self._series: Bar | None = None  # of several runs, above the bar of what is at work
        self._left = 0.0  # steps until the bar is full
        self._video_seconds = 0.0
        self._shares: dict[Path, float] = {}  # how much of each video in work is done, 0..1
        self._downloads = DownloadDisplay(reporter)
        self._watching = ExitStack()

    def __enter__(self) -> EventDisplay:
        logger = logging.getLogger("mttsg")
        self._level_before = logger.level
        if self.reporter.verbose:
            logger.setLevel(logging.INFO)
        logger.addHandler(self._log_handler)
        self._watching.callback(self._downloads.close)
        self._watching.enter_context(watch_downloads(self._downloads.show))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        logger = logging.getLogger("mttsg")
        logger.removeHandler(self._log_handler)
        logger.setLevel(self._level_before)
        self._watching.close()
        self._stack.close()

    def show(self, event: object) -> None:
        """Show an event."""
        from mttsg_core.training.events import EpochDone
        from mttsg_core.workflows.events import RowsSkipped, describe_event

        if isinstance(event, RowsSkipped):
            report_problems(self.reporter, event.problems)
            return
        for message in describe_event(event):
            self.failed += message.level == logging.ERROR
            is_detail = self._series is not None and isinstance(event, EpochDone)
            self.reporter.message(logging.DEBUG if is_detail else message.level, message.text)
        self._move_bar(event)

    def end_bar(self) -> None:
        """End the progress bar, although the work goes on: it is no longer shown."""
        self._end_bar()

    def _move_bar(self, event: object) -> None:
        """Start, advance or end the progress bar."""
        from mttsg_core.features.extraction import ExtractionPassedOver
        from mttsg_core.workflows.events import (
            Extracted,
            ExtractionFailed,
            ExtractionProgress,
            ProgressAdvanced,
            ProgressStarted,
        )

        if self._moved_series(event):
            return
        if isinstance(event, ProgressStarted):
            self._start_bar(event)
        elif isinstance(event, ProgressAdvanced):
            self._advance_bar(event.steps)
        elif isinstance(event, ExtractionProgress):
            self._advance_in_video(event)
        elif isinstance(event, Extracted | ExtractionFailed | ExtractionPassedOver):
            share = self._shares.pop(event.job.video, 0.0)
            if isinstance(event, Extracted) and not event.cached:
                self._video_seconds += event.video_seconds * (1 - share)
            self._advance_bar(1 - share)

    def _moved_series(self, event: object) -> bool:
        """Start or advance the bar of several runs. Returns whether the event is of that bar."""
        from mttsg_core.workflows.events import SeriesAdvanced, SeriesStarted

        if isinstance(event, SeriesStarted):
            self._series = self._stack.enter_context(self.reporter.progress(event.total, "All runs", slow=True))
            self._series.advance(event.done)
        elif isinstance(event, SeriesAdvanced) and self._series is not None:
            self._series.advance(event.runs)
        return isinstance(event, SeriesStarted | SeriesAdvanced)

    def _start_bar(self, event: ProgressStarted) -> None:
        self._end_bar()
        self._video_seconds = 0.0
        self._shares.clear()
        self._left = event.total - event.done
        if self._left > 0:
            name = _TASKS[event.task]
            self._bar = (
                self._series.below(event.total, name)
                if self._series is not None
                else self._stack.enter_context(self.reporter.progress(event.total, name))
            )
            self._bar.advance(event.done)

    def _advance_in_video(self, event: ExtractionProgress) -> None:
        """Move on by a part of a video. The position in it is shown if it is the only one in work."""
        share = event.seconds / event.total_seconds
        before = self._shares.get(event.job.video, 0.0)
        self._shares[event.job.video] = share
        if event.resumed:
            self._advance_bar(share - before)  # what an earlier run did does not count for the rate
            return
        self._video_seconds += event.seconds - before * event.total_seconds
        position = f"{format_clock(event.seconds)} / {format_clock(event.total_seconds)}"
        self._advance_bar(share - before, position if len(self._shares) == 1 else None)

    def _advance_bar(self, steps: float = 1, position: str | None = None) -> None:
        if self._bar is None:
            return
        seconds = self._bar.elapsed
        rate = f"{self._video_seconds / seconds:.0f}x real time" if self._video_seconds and seconds > 0.5 else ""
        self._bar.advance(steps, rate, position)
        self._left -= steps
        if self._left <= 1e-6:
            self._end_bar()

    def _end_bar(self) -> None:
        if self._series is None:
            self._stack.close()
        elif self._bar is not None:
            self._bar.remove()
        self._bar = None


def show_large_files(reporter: Reporter, data: Path) -> None:
    """Say which annotation files are about to be read, if that takes a while."""
    from mttsg_core.workflows.reading import reading_notes

    for note in reading_notes(data):
        reporter.say(note)
