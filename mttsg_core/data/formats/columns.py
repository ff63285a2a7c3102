"""Tables with a header that names the columns: csv, tsv, or separated by semicolons."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mttsg_core.data.formats.base import Format, Row, Rows, number_or_text
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Problem, read_lines

_COLUMN_NAMES = {
    "video": ("video", "vid", "video_id"),
    "query": ("query", "sentence"),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
    "id": ("id", "qid"),
    "duration": ("duration",),
}
_REQUIRED = ("video", "query")
_MAX_HEADER = 10_000  # characters
_MAX_QUOTED_LINES = 50  # line breaks in a quoted cell; a quote that is open for longer is taken for a stray one


def _parse_header(line: str) -> tuple[str, list[str]]:
    """Return the delimiter and the column names in lower case."""
    delimiter = max("\t,;", key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter), [])
    return delimiter, [cell.strip().lower() for cell in cells]


def _column_of_field(columns: Sequence[str]) -> dict[str, int]:
    """Return the index of the column of each field that has one."""
    indices: dict[str, int] = {}
    for field, names in _COLUMN_NAMES.items():
        index = next((columns.index(name) for name in names if name in columns), None)
        if index is not None:
            indices[field] = index
    return indices


def _recognise(head: str) -> bool:
    header = next((line for line in head.splitlines() if line.strip()), "")
    try:
        return len(header) < _MAX_HEADER and set(_REQUIRED) <= _column_of_field(_parse_header(header)[1]).keys()
    except csv.Error:
        return False


def _read(path: Path, content: bytes) -> Rows:
    lines = read_lines(path, content)
    header = next(lines, None)
    if header is None:
        return
    if isinstance(header, Problem):
        raise DataError(str(header))
    delimiter, columns = _parse_header(header[1])
    column_of = _column_of_field(columns)
    missing = [field for field in _REQUIRED if field not in column_of]
    if missing:
        raise DataError(f"{path}:{header[0]}: the header has no column {' and no column '.join(missing)}")
    for entry in _read_records(path, lines, delimiter):
        if isinstance(entry, Problem):
            yield entry
            continue
        line, cells = entry
        if len(cells) != len(columns):
            yield Problem(path, line, f"{len(cells)} cells, but the header has {len(columns)}")
            continue
        texts = {field: cells[index] for field, index in column_of.items()}
        yield Row(
            line,
            texts["video"],
            texts["query"],
            start=number_or_text(texts.get("start", "")),
            end=number_or_text(texts.get("end", "")),
            id=texts.get("id", "").strip() or None,
            duration=number_or_text(texts.get("duration", "")),
        )


def _read_records(
    path: Path, lines: Iterable[tuple[int, str] | Problem], delimiter: str
) -> Iterator[tuple[int, list[str]] | Problem]:
    """Yield the cells of each record. A quoted cell may contain line breaks; a stray quote costs its own line only."""
    pending = deque(lines)
    while pending:
        entry = pending.popleft()
        if isinstance(entry, Problem):
            yield entry
            continue
        number, text = entry
        continuation: list[tuple[int, str] | Problem] = []
        while _quote_is_open(text, delimiter):
            following = pending.popleft() if pending and len(continuation) < _MAX_QUOTED_LINES else None
            if following is not None:
                continuation.append(following)
            if following is None or isinstance(following, Problem):
                pending.extendleft(reversed(continuation))
                yield Problem(path, number, "a quote is never closed")
                break
            text = f"{text}\n{following[1]}"
        else:
            try:
                yield number, next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
            except csv.Error as error:
                yield Problem(path, number, f"broken csv: {error}")


def _quote_is_open(text: str, delimiter: str) -> bool:
    """Tell whether the record continues on the next line."""
    if '"' not in text:
        return False
    try:
        list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


CSV_OR_TSV = Format("csv or tsv", _recognise, _read, suffixes=(".csv", ".tsv"))
