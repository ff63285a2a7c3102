"""JSON databases in the form of ActivityNet's, of all splits of a data set: ActionFormer and SnAG.

ActionFormer: `{"database": {video: {"subset", "duration", "annotations": [{"segment", "sentence"}, ...]}}}`.
SnAG: `{split: {video: {"duration" or "num_frames" and "fps", "annotations": [...]}}}`. Times are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from mttsg_core.data.formats.base import Format, Rows, rows_of_video
from mttsg_core.data.formats.documents import Members, as_record, keys_by_nesting, parse_document
from mttsg_core.data.formats.video_records import holds_sentences, rows_of_record
from mttsg_core.data.times import parse_seconds
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Problem
from mttsg_core.utils.text import shorten

_OBJECT = re.compile(r'\s*\{\s*"')
_DATABASE = "database"
_ANNOTATIONS = "annotations"


def _recognise(head: str) -> bool:
    if _OBJECT.match(head) is None:
        return False
    keys = keys_by_nesting(head)
    return holds_sentences(keys, "{{") or holds_sentences(keys, "{{{")


def _read(path: Path, content: bytes) -> Rows:
    document = parse_document(path, content)
    if not isinstance(document, Members):
        raise DataError(f"{path}:1: not a JSON object of videos")
    lines = count(1)
    for subset, video, value in _videos(document):
        record = as_record(value)
        if record is None:
            yield Problem(path, next(lines), f"video {shorten(video)}: not a JSON object")
            continue
        if record.get("duration") is None:
            record["duration"] = _duration_of_frames(record)
        yield from rows_of_video(path, lines, video, rows_of_record(record), subset)


def _videos(document: Members) -> Iterator[tuple[str | None, str, object]]:
    """Yield the split (None if the video itself may name it), name and object of each video."""
    for name, value in document:
        if not isinstance(value, Members):
            continue  # the version of the database, a taxonomy
        if any(key == _ANNOTATIONS for key, _ in value):
            yield None, name, value
            continue
        for video, inner in value:
            yield (None if name == _DATABASE else name), video, inner


def _duration_of_frames(record: dict[str, object]) -> float | None:
    """Return the seconds of a video whose frames are counted, or None."""
    frames, fps = parse_seconds(record.get("num_frames")), parse_seconds(record.get("fps"))
    return frames / fps if frames is not None and fps is not None and fps > 0 else None


DATABASE = Format("ActionFormer or SnAG json", _recognise, _read, has_subsets=lambda head: True)
