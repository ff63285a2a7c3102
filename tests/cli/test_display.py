"""Events on a terminal: which lines they are, and how the progress bar follows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mttsg_cli.console import Bar, Reporter
from mttsg_cli.display import EventDisplay
from mttsg_core.features.extraction import Extracted, ExtractionFailed, ExtractionJob
from mttsg_core.utils.json_lines import Problem
from mttsg_core.workflows.events import (
    InputFailed,
    Noted,
    ProgressAdvanced,
    ProgressStarted,
    RowsSkipped,
    SeriesAdvanced,
    SeriesStarted,
    Warned,
)

JOB = ExtractionJob(Path("a.mp4"), Path("a.safetensors"))


class RecordingReporter(Reporter):
    """Records the bars instead of drawing them."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[tuple[str, int | None]] = []
        self.open = 0
        self.steps = 0

    @contextmanager
    def progress(self, total: int | None, task: str, *, slow: bool = False) -> Iterator[Bar]:
        self.bars.append((task, total))
        self.steps = 0
        self.open += 1
        with super().progress(total, task, slow=slow) as bar:
            yield bar
        self.steps = int(bar.bar.tasks[0].completed)
        self.open -= 1


def test_each_kind_of_event_is_a_line_of_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with EventDisplay(Reporter(verbose=True)) as display:
        for event in (
            Noted("noted"),
            Warned("look"),
            InputFailed("a.mp4: broken"),
            ExtractionFailed(JOB, "not a video"),
            Extracted(JOB, 8, 4.0, lost_clips=2),
            Extracted(JOB, 8, 4.0, cached=True),
            ProgressAdvanced("grounding"),
            object(),
        ):
            display.show(event)
    assert display.failed == 2
    assert capsys.readouterr().err.splitlines() == [
        "noted",
        "warning: look",
        "error: a.mp4: broken",
        "error: a.mp4: not a video",
        "a.mp4: 8 features of 4.0 s of video",
        "warning: a.mp4: 2 of 8 features are empty: their frames could not be decoded",
    ]


@pytest.mark.parametrize(("verbose", "shown"), [(False, 3), (True, 5)])
def test_many_bad_rows(capsys: pytest.CaptureFixture[str], verbose: bool, shown: int) -> None:
    problems = [Problem(Path("f.jsonl"), line, "empty sentence") for line in range(1, 6)]
    with EventDisplay(Reporter(verbose=verbose)) as display:
        display.show(RowsSkipped(problems))
    hint = "" if verbose else " (--verbose shows each)"
    rows = [f"warning: f.jsonl:{line}: empty sentence" for line in range(1, shown + 1)]
    assert capsys.readouterr().err.splitlines() == [*rows, f"warning: 5 bad rows skipped{hint}"]
    assert display.failed == 0


def test_a_bar_ends_with_its_last_step() -> None:
    reporter = RecordingReporter()
    with EventDisplay(reporter) as display:
        display.show(ProgressStarted("extraction", 2))
        display.show(Extracted(JOB, 8, 4.0))
        assert reporter.open == 1
        display.show(ExtractionFailed(JOB, "not a video"))
        assert (reporter.open, reporter.steps) == (0, 2)
        display.show(ProgressStarted("training", 5, done=2))
        display.show(ProgressAdvanced("training"))
        display.show(ProgressAdvanced("training", 2))  # stopped early
        assert (reporter.open, reporter.steps) == (0, 5)
    assert reporter.bars == [("Reading videos", 2), ("Training", 5)]


def test_an_unfinished_bar_ends_with_the_display_or_the_next_bar() -> None:
    reporter = RecordingReporter()
    with EventDisplay(reporter) as display:
        display.show(ProgressStarted("thumbnails", 9))
        display.show(ProgressStarted("excerpts", 3))
        assert reporter.open == 1
    assert reporter.open == 0


def test_nothing_to_do_is_no_bar() -> None:
    reporter = RecordingReporter()
    with EventDisplay(reporter) as display:
        display.show(ProgressStarted("extraction", 0))
        display.show(ProgressStarted("training", 4, done=4))
    assert reporter.bars == []


def test_several_runs_have_a_bar_above_that_of_the_run_at_work() -> None:
    reporter = RecordingReporter()
    with EventDisplay(reporter) as display:
        display.show(SeriesStarted(3, done=1))
        [bar] = reporter.bars
        assert bar == ("All runs", 3)
        for epochs in (4, 2):
            display.show(ProgressStarted("training", epochs))
            for _ in range(epochs):
                display.show(ProgressAdvanced("training"))
                display.show(SeriesAdvanced(1 / epochs))
        assert (len(reporter.bars), reporter.open) == (1, 1)  # the others are below it
    assert (reporter.steps, reporter.open) == (3, 0)
