"""Tables with a header that names the columns: csv, tsv, or separated by semicolons, as spreadsheets write them."""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mttsg_core.data.formats.base import Format, Note, Row, Rows, row_from_values, unread_note
from mttsg_core.data.formats.fields import Fields, find_fields
from mttsg_core.data.times import with_decimal_point
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Content, LineStream, Problem, head_of, parse_json, read_lines

REQUIRED = ("video", "query")
_TIMES = ("start", "end", "duration")
_LISTS = ("moments", "clip_ids", "clip_ratings")  # in JSON
_IN_OUTPUTS = frozenset({"rank", "score"})  # columns of the moments that `ground` writes
_SEPARATOR = re.compile(r"\s*\"?sep=(.)\"?\s*", re.IGNORECASE)  # the first line of a csv file that Excel is to open
_MAX_HEADER = 10_000  # characters
_MAX_QUOTED_LINES = 50  # line breaks in a quoted cell; a quote that is open for longer is taken for a stray one
_UTF8_PAIR = re.compile(rb"[\xc2-\xf4][\x80-\xbf]")
_CP1252_PUNCTUATION = "‘’“”–—…€«»¿¡°·"


class Header(NamedTuple):
    """The header of a table.

    Attributes:
        line: of the header, counted from 1.
        delimiter: between cells.
        columns: the names.
        fields: what they stand for.
    """

    line: int
    delimiter: str
    columns: list[str]
    fields: Fields


class Table(NamedTuple):
    """A table: its header, its records as (line, a cell for each column), and what its reader should know."""

    header: Header
    records: Iterator[tuple[int, list[str]] | Problem]
    notes: list[Note]

    def rows(self) -> Iterator[Row | Problem]:
        """Yield the annotation row of each record."""
        fields = self.header.fields
        index_of = {field: self.header.columns.index(name) for field, name in fields.name_of.items()}
        for record in self.records:
            if isinstance(record, Problem):
                yield record
                continue
            line, cells = record
            values = {field: self._value(field, cells[index]) for field, index in index_of.items()}
            yield row_from_values(line, fields, values)

    def _value(self, field: str, text: str) -> object:
        """Return what a cell says: text; None if it is blank; a list where it is one in JSON."""
        if field in REQUIRED:
            return text
        text = text.strip()
        if field in _TIMES:
            text = with_decimal_point(text, certain=self.header.delimiter == ";")
        elif field in _LISTS and text:
            value, fault = parse_json(text)
            return text if fault is not None else value
        return text or None


def read_header(head: str) -> Header | None:
    """Return the header of a table from its first characters, or None if they cannot be those of a table."""
    lines = [(number, line) for number, line in enumerate(head.splitlines(), start=1) if line.strip()][:2]
    separator = _SEPARATOR.fullmatch(lines[0][1]) if lines else None
    if separator is not None:
        lines = lines[1:]
    if not lines or len(lines[0][1]) >= _MAX_HEADER:
        return None
    number, line = lines[0]
    delimiter = separator[1] if separator is not None else max("\t,;", key=line.count)
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except (csv.Error, TypeError, ValueError):  # the last two: a delimiter that csv does not take
        return None
    columns = [cell.strip() for cell in cells]
    return Header(number, delimiter, columns, find_fields(tuple(columns)))


def open_table(path: Path, content: Content, *, required: Iterable[str] = REQUIRED) -> Table | None:
    """Return the table that a file holds, or None if the file is empty. A bad record is a problem in its place.

    Args:
        path: of the file, for messages.
        content: of the file, without a byte order mark. The encoding of a `LineStream` is told by its head.
        required: fields that the header must name.

    Raises:
        DataError: if the header cannot be read, or does not name them.
    """
    notes: list[Note] = []
    if _is_windows_1252(head_of(content)):
        content = _from_windows_1252(content)
        notes.append(Note(f"{path}: not UTF-8; read as Windows-1252, the encoding of Western European spreadsheets"))
    head = head_of(content)
    if not head.strip():
        return None
    header = read_header(head[: 4 * _MAX_HEADER].decode("utf-8", errors="replace"))
    if header is None:
        raise DataError(f"{path}:1: the header cannot be read")
    missing = [field for field in required if field not in header.fields.name_of]
    if missing:
        raise DataError(f"{path}:{header.line}: the header has no column {' and no column '.join(missing)}")
    notes += unread_note(path, (name for name in header.fields.unread if name.casefold() not in _IN_OUTPUTS))
    return Table(header, _read_records(path, content, header), notes)


def _recognise(head: str) -> bool:
    header = read_header(head)
    if header is None:
        return False
    is_output = {column.casefold() for column in header.columns} >= _IN_OUTPUTS
    return header.fields.hold_rows and not is_output


def _read(path: Path, content: Content) -> Rows:
    table = open_table(path, content)
    if table is None:
        return
    yield from table.notes
    yield from table.rows()


def _read_records(path: Path, content: Content, header: Header) -> Iterator[tuple[int, list[str]] | Problem]:
    """Yield the records below the header, each with as many cells as the header."""
    lines = read_lines(path, content)
    below = (line for line in lines if (line.line if isinstance(line, Problem) else line[0]) > header.line)
    width = len(header.columns)
    for entry in _split_records(path, below, header.delimiter):
        if isinstance(entry, Problem):
            yield entry
            continue
        line, cells = entry
        if len(cells) < width or any(cell.strip() for cell in cells[width:]):
            yield Problem(path, line, f"{len(cells)} cells, but the header has {width}")
        else:
            yield line, cells[:width]  # spreadsheets add blank cells at the end


def _split_records(
    path: Path, lines: Iterable[tuple[int, str] | Problem], delimiter: str
) -> Iterator[tuple[int, list[str]] | Problem]:
    """Yield the cells of each record. A quoted cell may contain line breaks; a stray quote costs its own line only."""
    unread, returned = iter(lines), deque[tuple[int, str] | Problem]()

    def read_next() -> tuple[int, str] | Problem | None:
        return returned.popleft() if returned else next(unread, None)

    while (entry := read_next()) is not None:
        if isinstance(entry, Problem):
            yield entry
            continue
        number, text = entry
        continuation: list[tuple[int, str] | Problem] = []
        while _quote_is_open(text, delimiter):
            following = read_next() if len(continuation) < _MAX_QUOTED_LINES else None
            if following is not None:
                continuation.append(following)
            if following is None or isinstance(following, Problem):
                returned.extendleft(reversed(continuation))
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


def _from_windows_1252(content: Content) -> Content:
    """Return a file in UTF-8."""
    if isinstance(content, bytes):
        return content.decode("cp1252").encode()
    return LineStream(content.path, content.head, content.rest, "cp1252")


def _is_windows_1252(content: bytes) -> bool:
    """Tell whether a file that is not UTF-8 is text of a Western European language in Windows-1252.

    So it is taken if nothing in it is UTF-8 beyond ASCII, and each of its other bytes is a single letter or a mark of
    punctuation. Other encodings give runs of such bytes, or signs in the middle of words.
    """
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return False
    if _UTF8_PAIR.search(content):
        return False
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if re.search(r"[^\W\d_a-zA-Z]{3}", text):
        return False
    return all(char.isascii() or char.isalpha() or char in _CP1252_PUNCTUATION for char in text)


CSV_OR_TSV = Format(
    "csv or tsv",
    _recognise,
    _read,
    suffixes=(".csv", ".tsv"),
    read_stream=_read,
    has_subsets=lambda head: (header := read_header(head)) is not None and "subset" in header.fields.name_of,
)
