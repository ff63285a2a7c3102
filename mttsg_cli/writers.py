"""Data on standard output or in files: JSON reports, and rows of moments in the formats that other programs read."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mttsg_cli.moment_table import write_table
from mttsg_cli.rows import COLUMNS, Line, Row
from mttsg_cli.table_formats import SUBMISSIONS
from mttsg_cli.terminal import for_terminal
from mttsg_core.utils.json_lines import to_json
from mttsg_core.workflows.outputs import save


def print_json(report: Mapping[str, Any]) -> None:
    """Print one object on standard output."""
    text = json.dumps(dict(report), indent=2).replace("\x7f", "\\u007f")  # in ASCII, which every terminal can show
    print(text)  # noqa: T201


def save_rows(
    lines: Iterable[Line], form: str, path: Path | None, *, is_complete: Callable[[], bool] = lambda: True
) -> None:
    """Write rows to a file as `outputs.save` does, or to standard output. File names may be in any encoding."""
    if path is None:
        write_rows(lines, form, standard_output())
        return

    def write(target: Path) -> None:
        with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            write_rows(lines, form, stream)

    save(path, write, is_complete=is_complete)


def print_text(text: str) -> None:
    """Write a whole file to standard output, to a terminal without control characters."""
    stream = for_terminal(standard_output())
    stream.write(text)
    stream.flush()


def write_rows(lines: Iterable[Line], form: str, stream: IO[str]) -> None:
    """Write rows as they arrive, to a terminal without control characters. `form` is a key of `FORMATS`."""
    FORMATS[form](lines, stream if form == "table" else for_terminal(stream))


def standard_output() -> IO[str]:
    """Return standard output, in UTF-8 whatever the locale is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    return sys.stdout


class SeparatedRows:
    """Rows with a header, written as they arrive, whenever that is.

    Args:
        delimiter: between columns.
        stream: where they are written.
    """

    def __init__(self, delimiter: str, stream: IO[str]) -> None:
        self._stream = stream
        self._writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def write(self, rows: Iterable[Row]) -> None:
        """Write rows."""
        for row in rows:
            numbers = ["" if value is None else f"{value:.3f}" for value in (row.start, row.end, row.score)]
            self._writer.writerow([row.video, row.query, row.rank, *numbers])
            self._stream.flush()


SUBTITLES = ("srt", "vtt")

_Writer = Callable[[Iterable[Line], IO[str]], None]


def _rows(lines: Iterable[Line]) -> Iterator[Row]:
    return (line for line in lines if isinstance(line, Row))


def _write_json(lines: Iterable[Line], stream: IO[str]) -> None:
    """Write a list, one row at a time."""
    separator = "[\n"
    for row in _rows(lines):
        stream.write(separator + to_json([row.rounded()], indent=2).removeprefix("[\n").removesuffix("\n]"))
        stream.flush()
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_jsonl(lines: Iterable[Line], stream: IO[str]) -> None:
    for row in _rows(lines):
        stream.write(to_json(row.rounded()) + "\n")
        stream.flush()


def _write_separated(delimiter: str) -> _Writer:
    def write(lines: Iterable[Line], stream: IO[str]) -> None:
        rows = SeparatedRows(delimiter, stream)
        for row in _rows(lines):
            rows.write([row])

    return write


def _write_subtitles(header: str, comma: str, *, numbered: bool) -> _Writer:
    def write(lines: Iterable[Line], stream: IO[str]) -> None:
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
    "table": write_table,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_separated(","),
    "tsv": _write_separated("\t"),
    "srt": _write_subtitles("", ",", numbered=True),
    "vtt": _write_subtitles("WEBVTT\n\n", ".", numbered=False),
}
EDITS = ("otio", "edl", "fcpxml")  # timelines for editing programs, which are written of all moments at once
FORMAT_NAMES = (*FORMATS, *EDITS, *SUBMISSIONS)


def default_format(path: Path | None) -> str:
    """Return the format that the suffix of a file names, else table on a terminal and tsv otherwise."""
    if path is None:
        return "table" if sys.stdout.isatty() else "tsv"
    suffix = path.suffix[1:].lower()
    return suffix if suffix in FORMAT_NAMES else "tsv"


def _time_code(seconds: float, comma: str) -> str:
    """Return a time as 00:01:02,345, the form of subtitles."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{comma}{milliseconds:03d}"
