"""What a user sees beside the data: progress, warnings, error lines, exit codes. All goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mttsg_core.errors import MttsgError, memory_ran_out

ALL_DONE, SOME_FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Bar:
    """A progress bar."""

    bar: Progress
    task: TaskID

    def advance(self, steps: int = 1, rate: str = "") -> None:
        """So many steps more are done, at that rate."""
        self.bar.update(self.task, advance=steps, rate=rate)

    def expect(self, total: int) -> None:
        """There are so many steps in all."""
        self.bar.update(self.task, total=total)

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return self.bar.tasks[0].elapsed or 0.0


class Reporter:
    """Says things on standard error.

    Args:
        quiet: only errors.
        verbose: every bad row and every file, not only how many.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def say(self, text: str) -> None:
        """A line for whoever is watching."""
        if not self.quiet:
            self.console.print(_one_line(text))

    def detail(self, text: str) -> None:
        """A line for whoever asked for more."""
        if self.verbose:
            self.console.print(_one_line(text), style="dim")

    def warn(self, text: str) -> None:
        """Something to look at that stops nothing."""
        if not self.quiet:
            self.console.print(f"warning: {_one_line(text)}", style="yellow")

    def error(self, text: str) -> None:
        """An input that failed."""
        self.console.print(f"error: {_one_line(text)}", style="red")

    @contextmanager
    def progress(self, total: int | None, what: str) -> Iterator[Bar]:
        """A bar with rate and time left, on a terminal only."""
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=self.quiet or not self.console.is_terminal,
        )
        with bar:
            yield Bar(bar, bar.add_task(what, total=total, rate=""))


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what went wrong into one line and an exit code. With MTTSG_DEBUG=1 errors keep their traceback."""
    try:
        yield
    except MttsgError as error:
        if os.environ.get("MTTSG_DEBUG") == "1":
            raise
        Reporter().error(str(error))
        raise typer.Exit(UNUSABLE) from None
    except KeyboardInterrupt:
        Reporter().say("interrupted; what was finished is kept")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of our output has left. Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(SOME_FAILED) from None
    except (MemoryError, RuntimeError) as error:
        if os.environ.get("MTTSG_DEBUG") == "1" or not memory_ran_out(error):
            raise
        Reporter().error("not enough memory: a smaller --batch-videos, fewer --workers or --device cpu may help")
        raise typer.Exit(UNUSABLE) from None
    except OSError as error:
        if os.environ.get("MTTSG_DEBUG") == "1":
            raise
        named = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        Reporter().error(named + (error.strerror or str(error)))
        raise typer.Exit(UNUSABLE) from None


def _one_line(text: str) -> str:
    """Control characters, which file names may hold, made visible."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
