"""What a user sees beside the data: progress, warnings, error lines and exit codes. All of it on standard error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mttsg_cli.signals import Stopped
from mttsg_cli.terminal import printable
from mttsg_core.errors import MttsgError, ToldError, is_out_of_memory
from mttsg_core.utils.text import describe_os_error

_FAST_SECONDS, _SLOW_SECONDS = 30.0, 7 * 86_400.0  # of progress, from which the remaining time is estimated
ALL_DONE, SOME_FAILED, UNUSABLE = 0, 1, 2


@dataclass(frozen=True)
class Bar:
    """A progress bar."""

    bar: Progress
    task: TaskID

    def advance(self, steps: float = 1, rate: str = "", position: str | None = None) -> None:
        """Move on by some steps, which may be parts of one; show a rate, and a position other than the steps done."""
        task = self._task
        done = task.completed + steps
        shown = f"{int(done + 1e-6)}/{int(task.total)}" if task.total is not None else f"{int(done + 1e-6)}"
        self.bar.update(self.task, completed=done, rate=rate, position=position or shown)

    def below(self, total: int | None, task: str) -> Bar:
        """Show another bar below this one, for a part of its task; `remove` ends it."""
        return Bar(self.bar, self.bar.add_task(f"  {task}", total=total, rate="", position=""))

    def remove(self) -> None:
        """Remove a bar that is below another one."""
        self.bar.remove_task(self.task)

    @property
    def elapsed(self) -> float:
        """Seconds since the bar appeared."""
        return self._task.elapsed or 0.0

    @property
    def _task(self) -> Task:
        return next(task for task in self.bar.tasks if task.id == self.task)


@dataclass(frozen=True)
class DownloadBar:
    """A bar of bytes."""

    bar: Progress
    task: TaskID

    def move_to(self, done: int, total: int) -> None:
        """Show that `done` of `total` bytes have arrived."""
        self.bar.update(self.task, completed=done, total=total)


class Reporter:
    """Writes lines to standard error.

    Args:
        quiet: write errors only.
        verbose: write details as well.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def message(self, level: int, text: str) -> None:
        """Write a line of one of the levels of `logging`."""
        if level >= logging.ERROR:
            self.error(text)
        elif level >= logging.WARNING:
            self.warn(text)
        elif level >= logging.INFO:
            self.say(text)
        else:
            self.detail(text)

    def say(self, text: str) -> None:
        """Write a line of information."""
        if not self.quiet:
            self.console.print(printable(text))

    def detail(self, text: str) -> None:
        """Write a line that only --verbose shows."""
        if self.verbose:
            self.console.print(printable(text), style="dim")

    def warn(self, text: str) -> None:
        """Write a warning: something to look at that stops nothing."""
        if not self.quiet:
            self.console.print(f"warning: {printable(text)}", style="yellow")

    def error(self, text: str) -> None:
        """Write an error: an input that failed, or why the command stops."""
        self.console.print(f"error: {printable(text)}", style="red")

    @contextmanager
    def progress(self, total: int | None, task: str, *, slow: bool = False) -> Iterator[Bar]:
        """Show a progress bar with rate and remaining time, on a terminal only.

        Args:
            total: number of steps; None if that is not known.
            task: what is done.
            slow: whether steps take minutes, so that the remaining time is estimated from all that were done.
        """
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[position]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=self.quiet or not self.console.is_terminal,
            speed_estimate_period=_SLOW_SECONDS if slow else _FAST_SECONDS,
        )
        with bar:
            yield Bar(bar, bar.add_task(task, total=total, rate="", position=""))

    @contextmanager
    def download_bar(self, total: int) -> Iterator[DownloadBar]:
        """Show a bar of bytes with rate and remaining time, on a terminal only."""
        bar = Progress(
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=self.quiet or not self.console.is_terminal,
        )
        with bar:
            yield DownloadBar(bar, bar.add_task("", total=total))


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn errors into one line and an exit code. With MTTSG_DEBUG=1 they keep their traceback."""
    try:
        yield
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped()
        with suppress(OSError):  # the terminal may be gone
            Reporter().say(f"{stopped}; finished work is kept")
        raise typer.Exit(stopped.exit_code) from None
    except BrokenPipeError:
        # The reader of our output has left. Python would report it again when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(SOME_FAILED) from None
    except ToldError:
        raise typer.Exit(UNUSABLE) from None
    except (MttsgError, OSError, MemoryError, RuntimeError) as error:
        reason = _reason(error)
        if os.environ.get("MTTSG_DEBUG") == "1" or reason is None:
            raise
        Reporter().error(reason)
        raise typer.Exit(UNUSABLE) from None


def _reason(error: Exception) -> str | None:
    """Return the line to show for an error, or None for a bug, whose traceback is needed."""
    if isinstance(error, MttsgError):
        return str(error)
    if isinstance(error, OSError):
        return describe_os_error(error)
    if is_out_of_memory(error):
        return "not enough memory: a smaller --batch-videos, fewer --workers or --device cpu may help"
    return None
