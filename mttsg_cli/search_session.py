"""One run of `mttsg search`: a library that is read once, and a line after the other that is asked of it."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mttsg_cli.background_reading import BackgroundReading
from mttsg_cli.console import SOME_FAILED, Reporter
from mttsg_cli.display import EventDisplay
from mttsg_cli.ground_videos import open_index
from mttsg_cli.inputs import Inputs
from mttsg_cli.model_loading import load_grounder
from mttsg_cli.moment_table import write_hits
from mttsg_cli.option_values import gigabytes
from mttsg_cli.rows import Row
from mttsg_cli.search_commands import COMMANDS, Leave, Searching
from mttsg_cli.signals import Stopped
from mttsg_cli.terminal import for_terminal
from mttsg_cli.writers import SeparatedRows, standard_output
from mttsg_core.errors import ConfigError, DataError, MttsgError
from mttsg_core.utils.paths import search_history
from mttsg_core.utils.text import count, format_clock
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions
from mttsg_core.workflows.outputs import require_folders

if TYPE_CHECKING:
    from mttsg_core.workflows.library import VideoLibrary

_PROMPT = "search> "
_TOP = 5  # moments that are shown at a time
_Read = Callable[[], str]  # returns a line; raises EOFError at the end, KeyboardInterrupt to begin it again


@dataclass(frozen=True)
class SearchOptions:
    """What the prompt shows and writes.

    Attributes:
        top: number of moments that are shown at a time; None for the usual number.
        clips: folder of the moments that are cut out; None for the current one.
        memory: GB for encoded videos; None for the usual amount.
    """

    top: int | None
    clips: Path | None
    memory: float | None = None


def run_search(
    paths: Sequence[Path],
    model: Path | None,
    options: SearchOptions,
    features: FeatureOptions,
    runtime: RuntimeOptions,
    reporter: Reporter,
    *,
    zero_shot: bool,
) -> None:
    """Read the videos, or open an index, then answer lines until there are no more.

    Raises:
        MttsgError: if no model or no video can be used.
        typer.Exit: if input from a pipe, or a video beside it, failed.
    """
    require_folders(runtime.cache, options.clips)
    from mttsg_core.features.extraction import default_workers

    index = Inputs(tuple(paths), ()).index
    if index is not None and zero_shot:
        raise ConfigError("--zero-shot: an index answers by the model that it was made by")
    with EventDisplay(reporter) as display:
        is_typed = sys.stdin.isatty() and sys.stdout.isatty()
        rest: Iterator[object] = iter(())
        if index is not None:
            library = open_index(index, model, features, runtime, reporter, memory=gigabytes(options.memory)).library
        else:
            library, rest = _read_videos(
                paths, model, options, features, runtime, display, zero_shot=zero_shot, can_wait=not is_typed
            )
        reporter.say(_about(library))
        shows_scores = library.grounder.predictor.has_comparable_scores
        if not shows_scores:
            reporter.say("the scores of this model are not calibrated: they order the answers, and are not shown")
        searching = Searching(
            library,
            partial(write_hits, stream=sys.stdout) if is_typed else _separated_rows(),
            reporter,
            options.top or _TOP,
            options.clips or Path(),
            runtime.workers or default_workers(),
            shows_scores,
        )
        if is_typed:
            with _ctrl_c_is_not_the_end(), BackgroundReading(library, rest) as reading:
                searching.take_problems = reading.take_problems
                _answer_lines(searching, _prompt(reporter))
            return
        failed = _answer_lines(searching, _piped_lines())
    if failed or display.failed:
        raise typer.Exit(SOME_FAILED)


def _read_videos(
    paths: Sequence[Path],
    model: Path | None,
    options: SearchOptions,
    features: FeatureOptions,
    runtime: RuntimeOptions,
    display: EventDisplay,
    *,
    zero_shot: bool,
    can_wait: bool,
) -> tuple[VideoLibrary, Iterator[object]]:
    """Return the videos with their features, and the rest of the reading unless it `can_wait`.

    Where videos have to be read that were not read before, a person waits for the first of them alone.

    Raises:
        DataError: if no video can be used.
    """
    from mttsg_core.features.extraction import Extracted, ExtractionProgress
    from mttsg_core.workflows.library import VideoLibrary

    grounder, _ = load_grounder(model, paths, features, runtime, display.reporter, zero_shot=zero_shot)
    library = VideoLibrary(paths, grounder, workers=runtime.workers, memory=gigabytes(options.memory))
    events = library.iter_refresh()
    for event in events:
        display.show(event)
        if not can_wait and library.videos and isinstance(event, Extracted | ExtractionProgress):
            display.end_bar()
            break
    if not library.videos:
        raise DataError(f"{', '.join(map(str, paths))}: no video can be used")
    return library, events


def _about(library: VideoLibrary) -> str:
    """Return how many videos can be asked, how long they are, and how many more are being read."""
    length = format_clock(sum(video.duration for video in library.videos))
    if library.reading is None:
        return f"{count(len(library.videos), 'video')}, {length}"
    read, found = library.reading
    return f"{read:,} of {count(found, 'video')}, {length}; the others are being read meanwhile"


def _answer_lines(searching: Searching, read: _Read) -> int:
    """Answer a line after the other; return how many could not be answered."""
    failed = 0
    while True:
        try:
            searching.handle(read())
        except (EOFError, Leave):
            return failed
        except MttsgError as error:
            searching.reporter.error(str(error))
            failed += 1
        except KeyboardInterrupt as error:  # at a prompt, Ctrl-C is not the end
            if isinstance(error, Stopped):
                raise


def _separated_rows() -> Callable[[Sequence[Row]], None]:
    return SeparatedRows("\t", for_terminal(standard_output())).write


def _piped_lines() -> _Read:
    """Return what reads the next line of standard input, in UTF-8 whatever the locale is."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")

    def read() -> str:
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    return read


def _prompt(reporter: Reporter) -> _Read:
    """Return what reads a line from the terminal, with history where prompt_toolkit is installed."""
    reporter.say(":help shows what can be typed, Ctrl-D leaves")
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory, InMemoryHistory
    except ImportError:
        reporter.say("without history and completion; pip install 'mttsg[search]' brings them")
        return partial(input, _PROMPT)
    path = search_history()
    session: PromptSession[str] = PromptSession(
        _PROMPT,
        history=InMemoryHistory() if path is None else FileHistory(path),
        completer=WordCompleter(list(COMMANDS), sentence=True),
        complete_while_typing=False,
        enable_history_search=True,
    )
    return session.prompt


@contextmanager
def _ctrl_c_is_not_the_end() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt any number of times, rather than end the program."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
