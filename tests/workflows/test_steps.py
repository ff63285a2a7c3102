"""How workflows run: events in order, one report, logged warnings, and errors of the library only."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path

import pytest

from mttsg_core.errors import ConfigError, MttsgError
from mttsg_core.utils.json_lines import Problem
from mttsg_core.workflows.events import InputFailed, Noted, ProgressAdvanced, RowsSkipped, Warned
from mttsg_core.workflows.steps import iterate, run


class Workflow:
    """Yields three events and returns a report; records how far it came and whether it was closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.steps = 0
        self.closed = False

    def __call__(self) -> Generator[Noted, None, str]:
        try:
            for _ in range(3):
                self.steps += 1
                yield Noted(f"step {self.steps}")
                if self.error is not None:
                    raise self.error
            return "report"
        finally:
            self.closed = True


def test_a_call_does_the_whole_work() -> None:
    workflow = Workflow()
    assert run(workflow()) == "report"
    assert (workflow.steps, workflow.closed) == (3, True)


def test_each_event_is_passed_on_once_and_the_report_is_not_an_event() -> None:
    events: list[Noted] = []
    assert run(Workflow()(), events.append) == "report"
    assert events == [Noted("step 1"), Noted("step 2"), Noted("step 3")]


def test_an_iterator_ends_with_the_report() -> None:
    assert list(iterate(Workflow()())) == [Noted("step 1"), Noted("step 2"), Noted("step 3"), "report"]


def test_an_error_of_the_callback_reaches_the_caller_and_ends_the_work() -> None:
    workflow = Workflow()

    def stop(event: Noted) -> None:
        raise OSError(28, "No space left on device", "their.log")

    with pytest.raises(OSError, match=r"their\.log"):
        run(workflow(), stop)
    assert (workflow.steps, workflow.closed) == (1, True)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ConfigError("x: wrong"), ConfigError, "x: wrong"),
        (OSError(28, "No space left on device", "/x/y"), MttsgError, "/x/y: No space left on device"),
        (PermissionError(13, "Permission denied"), MttsgError, "Permission denied"),
        (BrokenPipeError(32, "Broken pipe"), BrokenPipeError, "Broken pipe"),
        (ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
    ],
)
def test_files_that_cannot_be_used_are_errors_of_the_library(
    error: Exception, kind: type[Exception], text: str
) -> None:
    for attempt in (lambda: run(Workflow(error)()), lambda: list(iterate(Workflow(error)()))):
        with pytest.raises(kind) as caught:
            attempt()
        assert type(caught.value) is kind
        assert text in str(caught.value)


def test_what_stops_nothing_is_logged_once(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = [Problem(Path("rows.jsonl"), line, "empty sentence") for line in range(1, 6)]

    def workflow() -> Generator[object, None, None]:
        yield Noted("noted")
        yield Warned("a warning with %s and {braces}")
        yield InputFailed("a.mp4: not a video")
        yield RowsSkipped(problems)
        yield ProgressAdvanced("grounding")

    with caplog.at_level(logging.INFO, "mttsg"):
        run(workflow())
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("mttsg", "INFO", "noted"),
        ("mttsg", "WARNING", "a warning with %s and {braces}"),
        ("mttsg", "ERROR", "a.mp4: not a video"),
        *(("mttsg", "WARNING", f"rows.jsonl:{line}: empty sentence") for line in (1, 2, 3)),
        ("mttsg", "WARNING", "5 bad rows skipped"),
    ]
    assert capsys.readouterr().out == ""
