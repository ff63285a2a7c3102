"""JSON with one object per line: the project's own format, and that of QVHighlights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mttsg_core.data.formats.base import HEAD_LINES, OWN_KEYS, Format, Rows, row_from_object
from mttsg_core.utils.json_lines import Problem, parse_json, read_json_lines

_QVHIGHLIGHTS_KEYS = {
    "video": "vid",
    "query": "query",
    "moments": "relevant_windows",
    "id": "qid",
    "duration": "duration",
}


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


def _recognise(keys: Mapping[str, str]) -> Callable[[str], bool]:
    required = {keys["video"], keys["query"]}

    def recognise(head: str) -> bool:
        rows = [record for record in _objects(head) if required <= record.keys()]
        annotations = [record for record in rows if not is_prediction(record)]
        # An empty list of moments occurs in predictions too: it counts only if every row is an annotation.
        certain = [record for record in annotations if record.get("moments") != []]
        return bool(certain) or 0 < len(annotations) == len(rows)

    return recognise


def _objects(head: str) -> Iterator[dict[str, object]]:
    lines = [line for line in head.splitlines() if line.strip()]
    for line in lines[:HEAD_LINES]:
        value, _ = parse_json(line) if line.lstrip().startswith("{") else (None, None)
        if isinstance(value, dict):
            yield value


def _read(keys: Mapping[str, str]) -> Callable[[Path, bytes], Rows]:
    def read(path: Path, content: bytes) -> Rows:
        for entry in read_json_lines(path, content):
            yield entry if isinstance(entry, Problem) else row_from_object(*entry, keys)

    return read


OWN = Format("jsonl", _recognise(OWN_KEYS), _read(OWN_KEYS), suffixes=(".jsonl", ".ndjson"))
QVHIGHLIGHTS = Format("QVHighlights jsonl", _recognise(_QVHIGHLIGHTS_KEYS), _read(_QVHIGHLIGHTS_KEYS))
