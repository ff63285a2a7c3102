"""Data on standard output: JSON reports and rows of moments in the formats that the next program reads."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mttsg_cli.console import Reporter
from mttsg_core.errors import ConfigError
from mttsg_core.utils.files import is_file
from mttsg_core.utils.json_lines import to_json

COLUMNS = ("video", "query", "rank", "start", "end", "score")


@dataclass(frozen=True)
class Row:
    """One answer. Times in seconds, rounded to milliseconds only here, where they are written.

    Attributes:
        label: what a reader knows the video by, where several are asked; it is no column.
    """

    video: str
    query: str
    rank: int
    start: float
    end: float
    score: float
    label: str = ""

    def rounded(self) -> dict[str, str | int | float]:
        """The columns as they are written."""
        values = {name: getattr(self, name) for name in COLUMNS}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


@dataclass(frozen=True)
class NoAnswer:
    """A sentence that nothing answers. A table shows it; it is no row for a program."""

    query: str
    where: str

    def __str__(self) -> str:
        return f"not in {self.where}: {self.query}"


def make_way(path: Path) -> None:
    """See to it, before any work is done, that a file can be written.

    Raises:
        ConfigError: if it never can.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def need_folders(*paths: Path | None) -> None:
    """See to it that those given are folders, or not there yet. Raises ConfigError for a file."""
    for path in paths:
        if path is not None and path.exists() and not path.is_dir():
            raise ConfigError(f"{path}: is a file, not a folder")


def need_two_files(rows: Path | None, page: Path | None) -> None:
    """See to it that one output does not take the place of the other. Raises ConfigError if it would."""
    if rows is not None and page is not None and rows.resolve() == page.resolve():
        raise ConfigError(f"{page}: --out and --html name one file")


def need_no_video(outputs: Iterable[Path | None], videos: Iterable[Path]) -> None:
    """See to it that no output takes the place of a video. Raises ConfigError if one would."""
    there = [path for path in outputs if path is not None and path.exists()]
    if there:
        taken = {video.resolve() for video in videos}
        for path in there:
            if path.resolve() in taken:
                raise ConfigError(f"{path}: is one of the videos, which no output may replace")


def is_due(path: Path, reporter: Reporter, *, overwrite: bool) -> bool:
    """Whether a file is still to be written, and if not, a line that says so.

    A file that is there is a finished one, but for one that `save` noted as lacking something.

    Raises:
        ConfigError: if it never can be.
    """
    make_way(path)
    if not path.is_file() or overwrite:
        return True
    if _lacks_something(path):
        reporter.say(f"{path}: some inputs failed when it was made; made anew")
        return True
    reporter.say(f"{path}: is there already, skipped; --overwrite makes it anew")
    return False


def save(path: Path, write: Callable[[Path], object], *, is_whole: Callable[[], bool] = lambda: True) -> None:
    """Let `write` fill a file, which appears when it is finished. A pipe or a terminal is written into as it is.

    Args:
        path: of the file.
        write: is given the file to fill.
        is_whole: asked when it is filled: whether all is in it. If not, a hidden note beside it says so to `is_due`.

    Raises:
        ConfigError: if it cannot be written.
    """
    from mttsg_core.features.store import file_identity
    from mttsg_core.utils.atomic import write_atomically

    def write_and_note(part: Path) -> None:
        write(part)
        if not is_whole():
            _note_of(path).write_text(file_identity(part), encoding="ascii")

    try:
        if path.exists() and not path.is_file():
            write(path)
        else:
            write_atomically(path, write_and_note)
            if is_whole() and is_file(_note_of(path)):
                _note_of(path).unlink()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _note_of(path: Path) -> Path:
    """Where it is noted that a file lacks something."""
    return path.with_name(f".{path.name}.unfinished")


def _lacks_something(path: Path) -> bool:
    """Whether this very content was noted as lacking something: a file that somebody changed since is theirs."""
    note = _note_of(path)
    if not is_file(note):
        return False
    from mttsg_core.features.store import file_identity

    return note.read_text(encoding="ascii", errors="replace") == file_identity(path)


def print_json(report: Mapping[str, Any]) -> None:
    """One object on standard output."""
    print(json.dumps(dict(report), indent=2))  # noqa: T201 -- in ASCII, which every terminal and locale takes


def save_rows(
    lines: Iterable[Row | NoAnswer], form: str, path: Path | None, *, is_whole: Callable[[], bool] = lambda: True
) -> None:
    """Write rows to a file as `save` does, or to standard output. File names that are no Unicode pass through."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        write_rows(lines, form, sys.stdout)
        return

    def write(target: Path) -> None:
        with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            write_rows(lines, form, stream)

    save(path, write, is_whole=is_whole)


def write_rows(lines: Iterable[Row | NoAnswer], form: str, stream: IO[str]) -> None:
    """Write rows as they come. `form` is a key of `FORMATS`."""
    FORMATS[form](lines, stream)


_Writer = Callable[[Iterable["Row | NoAnswer"], IO[str]], None]


def _rows(lines: Iterable[Row | NoAnswer]) -> Iterator[Row]:
    return (line for line in lines if isinstance(line, Row))


def _write_table(lines: Iterable[Row | NoAnswer], stream: IO[str]) -> None:
    found = list(lines)
    table = Table(box=None, pad_edge=False, header_style="bold")
    several = any(row.label for row in _rows(found))
    for name in COLUMNS if several else COLUMNS[1:]:
        table.add_column(name, justify="left" if name in ("video", "query") else "right", overflow="fold")
    for row in found:
        if isinstance(row, NoAnswer):
            names = [Text("")] if several else []
            table.add_row(*names, Text(_visible(row.query)), "", Text(_visible(f"not in {row.where}")), "", "")
            continue
        cells = [_clock(row.start), _clock(row.end), f"{row.score:.2f}"]
        names = [Text(_visible(row.video))] if several else []
        table.add_row(*names, Text(_visible(row.query)), str(row.rank), *cells)
    Console(file=stream).print(table)


def _write_json(lines: Iterable[Row | NoAnswer], stream: IO[str]) -> None:
    stream.write(to_json([row.rounded() for row in _rows(lines)], indent=2) + "\n")


def _write_jsonl(lines: Iterable[Row | NoAnswer], stream: IO[str]) -> None:
    for row in _rows(lines):
        stream.write(to_json(row.rounded()) + "\n")
        stream.flush()


def _write_separated(delimiter: str) -> _Writer:
    def write(lines: Iterable[Row | NoAnswer], stream: IO[str]) -> None:
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in _rows(lines):
            times = [f"{value:.3f}" for value in (row.start, row.end, row.score)]
            writer.writerow([row.video, row.query, row.rank, *times])
            stream.flush()

    return write


def _write_subtitles(header: str, comma: str, *, numbered: bool) -> _Writer:
    def write(lines: Iterable[Row | NoAnswer], stream: IO[str]) -> None:
        found = sorted(_rows(lines), key=lambda row: (row.start, row.video, row.rank))  # players want them by time
        stream.write(header)
        for number, row in enumerate(found, start=1):
            times = " --> ".join(_time_code(seconds, comma) for seconds in (row.start, row.end))
            spoken = f"{row.label}: {row.query}" if row.label else row.query
            text = " ".join(spoken.split()).replace("-->", "→")
            text = text if numbered else text.replace("&", "&amp;").replace("<", "&lt;")  # vtt has marks of its own
            stream.write((f"{number}\n" if numbered else "") + f"{times}\n{text}\n\n")

    return write


FORMATS: dict[str, _Writer] = {
    "table": _write_table,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_separated(","),
    "tsv": _write_separated("\t"),
    "srt": _write_subtitles("", ",", numbered=True),
    "vtt": _write_subtitles("WEBVTT\n\n", ".", numbered=False),
}


def default_format(path: Path | None) -> str:
    """What a file's name ends in, else a table on a terminal and tsv elsewhere; a key of `FORMATS`."""
    if path is None:
        return "table" if sys.stdout.isatty() else "tsv"
    suffix = path.suffix[1:].lower()
    return suffix if suffix in FORMATS else "tsv"


def _clock(seconds: float) -> str:
    """1:02:03.456, or 2:03.456 below an hour."""
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest / 1000:06.3f}"


def _time_code(seconds: float, comma: str) -> str:
    """00:01:02,345 as subtitles have it."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{comma}{milliseconds:03d}"


def _visible(text: str) -> str:
    """Text for a terminal: control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
