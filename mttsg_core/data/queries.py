"""Queries to ground: sentences, each about one video or about every video, read from files of any size."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mttsg_core.data import formats
from mttsg_core.data.formats import columns
from mttsg_core.data.formats.base import row_from_object
from mttsg_core.data.pairs import MAX_SECONDS
from mttsg_core.data.times import parse_seconds
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import (
    Content,
    LineStream,
    Problem,
    head_of,
    is_unicode,
    read_json_lines,
    read_lines,
    refuse_utf16,
)
from mttsg_core.utils.text import normalise, sentence_fault, shorten

_log = logging.getLogger("mttsg")
_UTF8_MARK = b"\xef\xbb\xbf"
_WHOLE_BYTES = 4 << 20  # a file that is smaller is read at once
_MAX_DOCUMENT_BYTES = 64 << 20  # of JSON that is not one object per line
_JSON_LIST = re.compile(rb'\s*\[\s*["{\[]')


@dataclass(frozen=True)
class Query:
    """A sentence to ground in a video.

    Attributes:
        text: the sentence.
        video: the video's name; None for every video.
        id: its own name in its file, if it has one.
        duration: seconds of the video, if its file states them.
    """

    text: str
    video: str | None = None
    id: str | None = field(default=None, compare=False)
    duration: float | None = field(default=None, compare=False)


def parse_queries(path: Path, content: bytes) -> tuple[list[Query], list[Problem]]:
    """Parse a file of queries.

    It is an annotation file of any format that training reads, whose sentences are each asked of their own video; or
    one sentence per line; or one JSON object per line with `query` and optionally `video`; or a table with a column
    `query`.

    Args:
        path: of the file, for messages, and for its suffix.
        content: of the file, or of standard input.

    Returns:
        The queries, and the lines that are not queries. Blank lines are skipped.

    Raises:
        DataError: if there is no query at all, or the file as a whole cannot be read.

    >>> parse_queries(Path("q.txt"), b"person opens door\\n")
    ([Query(text='person opens door', video=None, id=None, duration=None)], [])
    >>> parse_queries(Path("charades_sta_test.txt"), b"3MSZA 24.3 30.4##person turn a light on.\\n")
    ([Query(text='person turn a light on.', video='3MSZA', id=None, duration=None)], [])
    """
    entries = list(_queries(path, content.removeprefix(_UTF8_MARK)))
    queries = [entry for entry in entries if isinstance(entry, Query)]
    return queries, [entry for entry in entries if isinstance(entry, Problem)]


def stream_queries(path: Path, file: BinaryIO) -> Iterator[Query | Problem]:
    """Yield the queries of a file of any size, and the lines that are not queries, as `parse_queries` returns them.

    Of a file with a query per line or record, a few are in memory at a time. The encoding of a larger table is told by
    its first 4 MB. Other JSON is read as a whole.

    Args:
        path: of the file, for messages, and for its suffix.
        file: its content, or standard input.

    Raises:
        DataError: as `parse_queries`, or if the file is JSON of more than 64 MB.
    """
    head = file.read(_WHOLE_BYTES)
    refuse_utf16(path, head)
    is_large = len(head) == _WHOLE_BYTES
    head = head.removeprefix(_UTF8_MARK)
    content: Content = head
    if is_large and not _is_document(head):
        content = LineStream(path, head, file)
    elif is_large:
        content = head + file.read(_MAX_DOCUMENT_BYTES - len(head) + 1)
        if len(content) > _MAX_DOCUMENT_BYTES:
            megabytes = _MAX_DOCUMENT_BYTES >> 20
            raise DataError(f"{path}: JSON of more than {megabytes} MB; write one query per line instead")
    yield from _queries(path, content)


def _queries(path: Path, content: Content) -> Iterator[Query | Problem]:
    """Yield queries and problems, and log notes. Raises DataError as `parse_queries`."""
    found, reason = False, ""
    for entry in _entries(path, content):
        if isinstance(entry, formats.Note):
            _log.warning("%s", entry.text)
            continue
        query = entry if isinstance(entry, Problem) else _query_of(path, entry)
        found = found or isinstance(query, Query)
        reason = reason or f" ({query})"
        yield query
    if not found:
        raise DataError(f"{path}: contains no sentence{reason}")


def _is_document(head: bytes) -> bool:
    """Tell whether a file, by its first bytes, is JSON that is not one object per line."""
    detected = formats.recognise_content(head)
    return _JSON_LIST.match(head) is not None if detected is None else detected.read_stream is None


def _entries(path: Path, content: Content) -> Iterator[formats.Row | formats.Note | Problem]:
    """Yield the rows of a file in whichever form it is; rows without a video are about every video."""
    head = head_of(content)
    if formats.recognise_content(head) is not None:
        yield from formats.rows_of(path, content)
    elif head.lstrip().startswith(b"{"):
        for entry in read_json_lines(path, content):
            yield entry if isinstance(entry, Problem) else row_from_object(*entry)
    elif isinstance(content, bytes) and (values := _json_list(content)) is not None:
        yield from _rows_of_list(path, values)
    elif _is_table(path, head):
        table = columns.open_table(path, content, required=("query",))
        if table is not None:
            yield from table.notes
            yield from table.rows()
    else:
        yield from _sentences(path, content)


def _query_of(path: Path, row: formats.Row) -> Query | Problem:
    """Return the query of a row, or the problem that there is none."""
    fault = _fault_of(row)
    if fault is not None:
        return Problem(path, row.line, row.location + fault)
    identity = str(row.id) if isinstance(row.id, str | int) and not isinstance(row.id, bool) else None
    video = None if row.video is None else str(row.video).strip()
    return Query(_text_of(row), video, identity, _duration_of(row))


def _duration_of(row: formats.Row) -> float | None:
    seconds = parse_seconds(row.duration)
    return seconds if seconds is not None and 0 < seconds <= MAX_SECONDS else None


def _text_of(row: formats.Row) -> str:
    return normalise(str(row.query).strip())


def _fault_of(row: formats.Row) -> str | None:
    """Return why a row is not a query, or None if it is one."""
    if not isinstance(row.query, str) or not row.query.strip():
        return "no query"
    if not is_unicode(row.query):
        return "the query contains an unpaired surrogate"
    if row.video is not None and not isinstance(row.video, str):
        return f"the video is not a string: {shorten(row.video)}"
    if row.video is not None and not row.video.strip():
        return "empty video"
    return sentence_fault(_text_of(row))


def _sentences(path: Path, content: Content) -> Iterator[formats.Row | Problem]:
    for entry in read_lines(path, content):
        yield entry if isinstance(entry, Problem) else formats.Row(entry[0], query=entry[1])


def _rows_of_list(path: Path, values: Sequence[object]) -> Iterator[formats.Row | Problem]:
    """Yield the rows of a JSON list of sentences, or of objects with a sentence."""
    for number, value in enumerate(values, start=1):
        if isinstance(value, str):
            yield formats.Row(number, query=value)
        elif isinstance(value, dict):
            yield row_from_object(number, value)
        else:
            yield Problem(path, number, "neither a sentence nor an object with one")


def _json_list(content: bytes) -> list[object] | None:
    """Return the values of a JSON list, or None if the content is none: a sentence may begin with a bracket."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, list) else None


def _is_table(path: Path, head: bytes) -> bool:
    """Tell whether a file is a table rather than sentences: by its suffix, unless its first line is a single cell."""
    if path.suffix.lower() not in columns.CSV_OR_TSV.suffixes:
        return False
    header = columns.read_header(head[: formats.HEAD_BYTES].decode("utf-8", errors="replace"))
    return header is not None and (len(header.columns) > 1 or "query" in header.fields.name_of)
