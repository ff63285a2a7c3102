"""Data on standard output or in files: JSON reports, and rows of moments in the formats that other programs read."""

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

from mttsg_cli.terminal import for_terminal, printable
from mttsg_core.utils.json_lines import to_json
from mttsg_core.workflows.outputs import save

MISSING = "–"  # in tables, for a number that does not exist
COLUMNS = ("video", "query", "rank", "start", "end", "score")


@dataclass(frozen=True)
class Row:
    """One moment. Times are in seconds, and rounded to milliseconds only when they are written.

    Attributes:
        score: None where nothing is calibrated.
        label: short name of the video for readers, where there are several videos; not a column.
    """

    video: str
    query: str
    rank: int
    start: float
    end: float
    score: float | None
    label: str = ""

    def rounded(self) -> dict[str, str | int | float | None]:
        """Return the columns as they are written."""
        values = {name: getattr(self, name) for name in COLUMNS}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


@dataclass(frozen=True)
class NoAnswer:
    """A sentence without any moment. Only the table shows it; other formats have no row for it."""

    query: str
    where: str

    def __str__(self) -> str:
        return f"not in {self.where}: {self.query}"


def print_json(report: Mapping[str, Any]) -> None:
    """Print one object on standard output."""
    text = json.dumps(dict(report), indent=2).replace("\x7f", "\\u007f")  # in ASCII, which every terminal can show
    print(text)  # noqa: T201


def save_rows(
    lines: Iterable[Row | NoAnswer], form: str, path: Path | None, *, is_complete: Callable[[], bool] = lambda: True
) -> None:
    """Write rows to a file as `outputs.save` does, or to standard output. File names may be in any encoding."""
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        write_rows(lines, form, sys.stdout)
        return

    def write(target: Path) -> None:
        with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            write_rows(lines, form, stream)

    save(path, write, is_complete=is_complete)


def write_rows(lines: Iterable[Row | NoAnswer], form: str, stream: IO[str]) -> None:
    """Write rows as they arrive, to a terminal without control characters. `form` is a key of `FORMATS`."""
    FORMATS[form](lines, stream if form == "table" else for_terminal(stream))


_Writer = Callable[[Iterable["Row | NoAnswer"], IO[str]], None]


def _rows(lines: Iterable[Row | NoAnswer]) -> Iterator[Row]:
    return (line for line in lines if isinstance(line, Row))


def _write_table(lines: Iterable[Row | NoAnswer], stream: IO[str]) -> None:
    rows = list(lines)
    table = Table(box=None, pad_edge=False, header_style="bold")
    several = any(row.label for row in _rows(rows))
    for name in COLUMNS if several else COLUMNS[1:]:
        table.add_column(name, justify="left" if name in ("video", "query") else "right", overflow="fold")
    for row in rows:
        if isinstance(row, NoAnswer):
            names = [Text("")] if several else []
            table.add_row(*names, Text(printable(row.query)), "", Text(printable(f"not in {row.where}")), "", "")
            continue
        score = MISSING if row.score is None else f"{row.score:.2f}"
        cells = [_clock(row.start), _clock(row.end), score]
        names = [Text(printable(row.video))] if several else []
        table.add_row(*names, Text(printable(row.query)), str(row.rank), *cells)
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
            numbers = ["" if value is None else f"{value:.3f}" for value in (row.start, row.end, row.score)]
            writer.writerow([row.video, row.query, row.rank, *numbers])
            stream.flush()

    return write


def _write_subtitles(header: str, comma: str, *, numbered: bool) -> _Writer:
    def write(lines: Iterable[Row | NoAnswer], stream: IO[str]) -> None:
        rows = sorted(_rows(lines), key=lambda row: (row.start, row.video, row.rank))  # players expect them by time
        stream.write(header)
        for number, row in enumerate(rows, start=1):
            times = " --> ".join(_time_code(seconds, comma) for seconds in (row.start, row.end))
            caption = f"{row.label}: {row.query}" if row.label else row.query
            text = " ".join(caption.split()).replace("-->", "→")
            text = text if numbered else text.replace("&", "&amp;").replace("<", "&lt;")  # vtt has markup
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
    """Return the format that the suffix of a file names, else table on a terminal and tsv otherwise."""
    if path is None:
        return "table" if sys.stdout.isatty() else "tsv"
    suffix = path.suffix[1:].lower()
    return suffix if suffix in FORMATS else "tsv"


def _clock(seconds: float) -> str:
    """Return a time as 1:02:03.456, or as 2:03.456 below an hour."""
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest / 1000:06.3f}"


def _time_code(seconds: float, comma: str) -> str:
    """Return a time as 00:01:02,345, the form of subtitles."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{comma}{milliseconds:03d}"
