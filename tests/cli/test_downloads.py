"""Downloads on standard error: a line with name, size and place, and one bar on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from mttsg_cli.console import Reporter
from mttsg_cli.display import EventDisplay
from mttsg_cli.downloads import DownloadDisplay
from mttsg_core.features.extraction import Extracted, ExtractionJob, ExtractionProgress
from mttsg_core.utils.downloads import DownloadMeter, DownloadProgress
from mttsg_core.workflows.events import ProgressStarted

MODEL, FOLDER = "laion/clip", Path("/models/hub")


def progress(done: int, *, finished: bool = False) -> DownloadProgress:
    return DownloadProgress(MODEL, FOLDER, done * 1_000_000, 605_000_000, finished)


def terminal(reporter: Reporter) -> io.StringIO:
    """Have a reporter write to a terminal of 80 columns, and return what it writes."""
    written = io.StringIO()
    reporter.console = Console(file=written, force_terminal=True, width=80, highlight=False, emoji=False, markup=False)
    return written


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    display = DownloadDisplay(Reporter())
    for done in (1, 200, 605):
        display.show(progress(done))
    display.show(progress(605, finished=True))
    assert capsys.readouterr().err.splitlines() == [
        "downloading laion/clip (605 MB, once) to /models/hub",
        "downloaded 605 MB in 0 s",
    ]


def test_an_interrupted_or_a_small_download(capsys: pytest.CaptureFixture[str]) -> None:
    display = DownloadDisplay(Reporter())
    display.show(DownloadProgress("config", FOLDER, 500, 1000))
    display.show(DownloadProgress("config", FOLDER, 1000, 1000, finished=True))
    assert capsys.readouterr().err == ""
    display.show(progress(3))
    display.show(progress(3, finished=True))
    assert "downloaded" not in capsys.readouterr().err


def test_on_a_terminal_one_bar_shows_size_and_rate() -> None:
    reporter = Reporter()
    written = terminal(reporter)
    display = DownloadDisplay(reporter)
    display.show(progress(1))
    display.show(progress(300))
    assert display._bar is not None
    display._bar.bar.refresh()
    display.show(progress(605, finished=True))
    assert "300.0/605.0 MB" in written.getvalue()
    assert written.getvalue().count("downloading laion/clip (605 MB, once) to /models/hub") == 1


def test_downloads_in_a_display_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with EventDisplay(Reporter()):
        DownloadMeter(MODEL, FOLDER, first_seconds=0).update(1, 2_000_000)
    DownloadMeter(MODEL, FOLDER, first_seconds=0).update(1, 2_000_000)
    assert capsys.readouterr().err.splitlines() == ["downloading laion/clip (2 MB, once) to /models/hub"]


def test_the_bar_of_a_long_video_moves_by_its_seconds() -> None:
    reporter = Reporter()
    written = terminal(reporter)
    job = ExtractionJob(Path("hour.mp4"), Path("hour.safetensors"))
    with EventDisplay(reporter) as display:
        display.show(ProgressStarted("extraction", 1))
        display.show(ExtractionProgress(job, 600.0, 3548.0, resumed=True))
        display.show(ExtractionProgress(job, 750.0, 3548.0))
        assert display._bar is not None
        task = display._bar.bar.tasks[0]
        assert (task.completed, task.fields["position"]) == (pytest.approx(750 / 3548), "12:30 / 59:08")
        assert display._video_seconds == pytest.approx(150.0)  # the rate leaves out what was done before
        display._bar.bar.refresh()
        display.show(Extracted(job, 7096, 3548.0))
    assert task.finished
    assert "12:30 / 59:08" in written.getvalue()


def test_the_bar_of_many_videos_counts_them() -> None:
    reporter = Reporter()
    terminal(reporter)
    jobs = [ExtractionJob(Path(name), Path("x")) for name in ("a", "b", "c")]
    with EventDisplay(reporter) as display:
        display.show(ProgressStarted("extraction", 3))
        display.show(ExtractionProgress(jobs[0], 50.0, 100.0))
        display.show(ExtractionProgress(jobs[1], 25.0, 100.0))
        assert display._bar is not None
        task = display._bar.bar.tasks[0]
        assert (task.completed, task.fields["position"]) == (pytest.approx(0.75), "0/3")
        display.show(Extracted(jobs[0], 8, 100.0))
        assert (task.completed, task.fields["position"]) == (pytest.approx(1.25), "1/3")
