"""Data on standard output: JSON reports and rows of moments in the formats that the next program reads."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

COLUMNS = ("video", "query", "rank", "start", "end", "score")


@dataclass(frozen=True)
class Row:
    """One answer. Times in seconds, rounded to milliseconds only here, where they are written."""

    video: str
    query: str
    rank: int
    start: float
    end: float
    score: float

    def rounded(self) -> dict[str, str | int | float]:
        """The columns as they are written."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


def print_json(report: Mapping[str, Any]) -> None:
    """One object on standard output."""
    print(json.dumps(dict(report), indent=2))  # noqa: T201 -- in ASCII, which every terminal and locale takes


def write_rows(rows: Iterable[Row], form: str, stream: IO[str]) -> int:
    """Write rows as they come; returns how many there were. `form` is a key of `FORMATS`."""
    return FORMATS[form](rows, stream)


def _write_table(rows: Iterable[Row], stream: IO[str]) -> int:
    found = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    several = len({row.video for row in found}) > 1
    for name in COLUMNS if several else COLUMNS[1:]:
        table.add_column(name, justify="left" if name in ("video", "query") else "right", overflow="fold")
    for row in found:
        cells = [_clock(row.start), _clock(row.end), f"{row.score:.2f}"]
        names = [Text(_visible(row.video))] if several else []
        table.add_row(*names, Text(_visible(row.query)), str(row.rank), *cells)
    Console(file=stream).print(table)
    return len(found)


def _write_json(rows: Iterable[Row], stream: IO[str]) -> int:
    found = [row.rounded() for row in rows]
    stream.write(_as_json(found, indent=2) + "\n")
    return len(found)


def _write_jsonl(rows: Iterable[Row], stream: IO[str]) -> int:
    count = 0
    for row in rows:
        stream.write(_as_json(row.rounded()) + "\n")
        stream.flush()
        count += 1
    return count


def _write_separated(delimiter: str) -> Callable[[Iterable[Row], IO[str]], int]:
    def write(rows: Iterable[Row], stream: IO[str]) -> int:
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerow(COLUMNS)
        count = 0
        for row in rows:
            times = [f"{value:.3f}" for value in (row.start, row.end, row.score)]
            writer.writerow([row.video, row.query, row.rank, *times])
            stream.flush()
            count += 1
        return count

    return write


def _as_json(value: object, indent: int | None = None) -> str:
    """JSON as it is read best; escapes where a file name is no Unicode, since JSON is UTF-8."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if _is_unicode(text) else json.dumps(value, indent=indent)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write_subtitles(header: str, comma: str, *, numbered: bool) -> Callable[[Iterable[Row], IO[str]], int]:
    def write(rows: Iterable[Row], stream: IO[str]) -> int:
        found = sorted(rows, key=lambda row: (row.video, row.start, row.rank))
        stream.write(header)
        for number, row in enumerate(found, start=1):
            times = " --> ".join(_time_code(seconds, comma) for seconds in (row.start, row.end))
            text = " ".join(row.query.split()).replace("-->", "→")
            text = text if numbered else text.replace("&", "&amp;").replace("<", "&lt;")  # vtt has marks of its own
            stream.write((f"{number}\n" if numbered else "") + f"{times}\n{text}\n\n")
        return len(found)

    return write


FORMATS: dict[str, Callable[[Iterable[Row], IO[str]], int]] = {
    "table": _write_table,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_separated(","),
    "tsv": _write_separated("\t"),
    "srt": _write_subtitles("", ",", numbered=True),
    "vtt": _write_subtitles("WEBVTT\n\n", ".", numbered=False),
}


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
