"""JSON objects of videos, each with a list of annotated sentences.

| data set | object | sentences |
| --- | --- | --- |
| UniTime | `id`, `duration`, `annos` | `query`, `window: [[start, end], ...]` |
| CASTELLA | `yid`, `duration`, `moments` | `local_caption`, `timestamps: [[start, end], ...]` |
| TimeLens-100K | `video_path`, `duration`, `events` | `query`, `span: [[start, end], ...]` |

The objects are a list, or one per line. `databases` reads the same sentences of objects that have a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from mttsg_core.data.formats.base import HEAD_LINES, Format, Row, Rows, row_from_object, rows_of_video
from mttsg_core.data.formats.documents import as_record, keys_by_nesting, parse_document
from mttsg_core.data.formats.fields import QUERY_NAMES, VIDEO_NAMES, plain_name
from mttsg_core.utils.json_lines import Problem, read_json_lines

SENTENCE_LISTS = ("annotations", "annos", "events", "moments")
# `id` is the video's: its features have that name, and a path may be that of another machine
_NAMES = (*VIDEO_NAMES[: VIDEO_NAMES.index("video_file")], "id", *VIDEO_NAMES[VIDEO_NAMES.index("video_file") :])
_START = re.compile(r"\s*(?:\[\s*)?\{")


def holds_sentences(keys: Mapping[str, set[str]], nesting: str) -> bool:
    """Tell whether objects with these brackets around them have a list of sentences.

    Args:
        keys: of the document, see `keys_by_nesting`.
        nesting: the brackets around the keys of the objects.
    """
    inner = {plain_name(key) for key in keys.get(f"{nesting}[{{", ())}
    return not keys.get(nesting, set()).isdisjoint(SENTENCE_LISTS) and not inner.isdisjoint(QUERY_NAMES)


def rows_of_record(record: Mapping[str, object]) -> Iterator[Row | str]:
    """Yield, for each sentence of a video, a row that lacks line and video, or the reason why the entry is bad."""
    sentences = next((record[key] for key in SENTENCE_LISTS if record.get(key) is not None), [])
    if not isinstance(sentences, list):
        yield "the video has no list of sentences"
        return
    if record.get("video_start"):
        yield "a part of a video (video_start): it is not certain where its times begin"
        return
    of_video = row_from_object(0, record)
    identity = record.get("qid") if len(sentences) == 1 else None
    for value in sentences:
        sentence = value if isinstance(value, dict) else as_record(value)
        if sentence is None:
            yield "not a JSON object with a sentence"
            continue
        row = row_from_object(0, sentence)
        yield row._replace(
            video=None,
            id=identity if row.id is None else row.id,
            duration=of_video.duration,
            subset=of_video.subset,
        )


def video_of(record: Mapping[str, object]) -> object:
    """Return the name of the video of a record, or None."""
    by_plain_name = {plain_name(key): value for key, value in record.items() if value is not None}
    return next((by_plain_name[name] for name in _NAMES if name in by_plain_name), None)


def _recognise(head: str) -> bool:
    if _START.match(head) is None:
        return False
    if head.lstrip().startswith("["):
        return _is_record(head, "[{")
    return any(_is_record(line, "{") for line in [line for line in head.splitlines() if line.strip()][:HEAD_LINES])


def _is_record(text: str, nesting: str) -> bool:
    keys = keys_by_nesting(text)
    return holds_sentences(keys, nesting) and video_of(dict.fromkeys(keys[nesting], "")) is not None


def _read(path: Path, content: bytes) -> Rows:
    lines = count(1)
    for position, record in _records(path, content):
        if isinstance(record, str):
            yield Problem(path, next(lines), position + record)
        else:
            yield from rows_of_video(path, lines, video_of(record), rows_of_record(record))


def _records(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, object] | str]]:
    """Yield where a record is in the file, and the record, or the reason why it is none."""
    if content.lstrip().startswith(b"["):
        document = parse_document(path, content)
        for number, value in enumerate(document if isinstance(document, list) else (), start=1):
            record = as_record(value)
            yield f"video {number}: ", "not a JSON object" if record is None else record
        return
    for entry in read_json_lines(path, content):
        if isinstance(entry, Problem):
            yield f"line {entry.line}: ", entry.reason
        else:
            yield f"line {entry[0]}: ", entry[1]


RECORDS = Format("UniTime, CASTELLA or TimeLens-100K json", _recognise, _read)
