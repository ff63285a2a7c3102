"""Rows as JSON objects, one per line or in a list: the project's own format, and that of QVHighlights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mttsg_core.data.formats.base import HEAD_LINES, Format, Rows, fields_of, row_from_object, unread_note
from mttsg_core.data.formats.documents import as_record, keys_by_nesting, parse_document
from mttsg_core.data.formats.fields import find_fields
from mttsg_core.utils.json_lines import Content, Problem, parse_json, read_json_lines

# Keys that are not fields of a row, but belong to it, in predictions that are read as queries.
_KNOWN_KEYS = frozenset({"pred_relevant_windows", "pred_saliency_scores", "rank", "score"})
_LIST_OF_OBJECTS = re.compile(r"\s*\[\s*\{")
_SUBSET_KEY = re.compile(r'"(?:subset|split)"\s*:', re.IGNORECASE)


def is_prediction(record: Mapping[str, object]) -> bool:
    """Tell whether an object holds predictions (windows with scores, or a ranked moment) rather than annotations.

    >>> is_prediction({"video": "a", "query": "b", "moments": [[1, 2, 0.5]]})
    True
    >>> is_prediction({"video": "a", "query": "b", "moments": [[1, 2]]})
    False
    """
    moments = record.get("moments")
    scored = isinstance(moments, list) and bool(moments) and isinstance(moments[0], list) and len(moments[0]) == 3
    return scored or "pred_relevant_windows" in record or {"rank", "score"} <= record.keys()


def _recognise_lines(head: str) -> bool:
    rows = [record for record in _objects(head) if fields_of(record).hold_rows]
    annotations = [record for record in rows if not is_prediction(record)]
    # An empty list of moments occurs in predictions too: it counts only if every row is an annotation.
    certain = [record for record in annotations if record.get("moments") != []]
    return bool(certain) or 0 < len(annotations) == len(rows)


def _objects(head: str) -> Iterator[dict[str, object]]:
    lines = [line for line in head.splitlines() if line.strip()]
    for line in lines[:HEAD_LINES]:
        value, _ = parse_json(line) if line.lstrip().startswith("{") else (None, None)
        if isinstance(value, dict):
            yield value


def _recognise_list(head: str) -> bool:
    if _LIST_OF_OBJECTS.match(head) is None:
        return False
    keys = keys_by_nesting(head).get("[{", set())
    is_predicted = "pred_relevant_windows" in keys or {"rank", "score"} <= keys
    return find_fields(tuple(sorted(keys))).hold_rows and not is_predicted


def _read_lines(path: Path, content: Content) -> Rows:
    return _read(path, read_json_lines(path, content))


def _read_list(path: Path, content: bytes) -> Rows:
    document = parse_document(path, content)
    return _read(path, _members(path, document if isinstance(document, list) else []))


def _members(path: Path, values: Iterable[object]) -> Iterator[tuple[int, dict[str, object]] | Problem]:
    for line, value in enumerate(values, start=1):
        record = as_record(value)
        yield Problem(path, line, "not a JSON object") if record is None else (line, record)


def _read(path: Path, entries: Iterable[tuple[int, dict[str, object]] | Problem]) -> Rows:
    unread: dict[str, None] = {}
    for entry in entries:
        if isinstance(entry, Problem):
            yield entry
            continue
        line, record = entry
        unread |= dict.fromkeys(key for key in fields_of(record).unread if key not in _KNOWN_KEYS)
        yield row_from_object(line, record)
    yield from unread_note(path, unread)


def _has_subsets(head: str) -> bool:
    return _SUBSET_KEY.search(head) is not None


ROWS = Format(
    "jsonl",
    _recognise_lines,
    _read_lines,
    suffixes=(".jsonl", ".ndjson"),
    read_stream=_read_lines,
    has_subsets=_has_subsets,
)
LIST = Format("json list", _recognise_list, _read_list, has_subsets=_has_subsets)
