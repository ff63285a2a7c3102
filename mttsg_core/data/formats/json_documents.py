"""One JSON document per file: sentences by video (ActivityNet Captions, TACoS), or a list of rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from mttsg_core.data.formats.base import OWN_KEYS, Format, Row, Rows, row_from_object
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Problem
from mttsg_core.utils.text import shorten

_OBJECT_OF_OBJECTS = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')
_VIDEO_KEYS = re.compile(r'"(?:timestamps|sentences)"\s*:\s*\[')
_LIST_OF_OBJECTS = re.compile(r"\s*\[\s*\{")


class _Members(list[tuple[str, object]]):
    """The members of a JSON object in order, repeated names included: a video may have several entries."""


def _parse_document(path: Path, content: bytes) -> object:
    """Return the JSON value, its objects as `_Members`. Raises DataError, which names the line of the damage."""
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_Members)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: invalid JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise DataError(f"{path}:1: invalid JSON: nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{path}:1: invalid JSON: {error}") from error


def _recognise_by_video(head: str) -> bool:
    return _OBJECT_OF_OBJECTS.match(head) is not None and _VIDEO_KEYS.search(head) is not None


def _read_by_video(path: Path, content: bytes) -> Rows:
    """Read `{video: {"timestamps", "sentences", "duration"}}`.

    Times are seconds, or frames if the video has `fps`; its duration is then `num_frames / fps`.
    """
    document = _parse_document(path, content)
    if not isinstance(document, _Members):
        raise DataError(f"{path}:1: not a JSON object of videos")
    line = 0
    for video, value in document:
        for number, row in enumerate(_rows_of_video(value), start=1):
            line += 1
            location = f"video {shorten(video)}, sentence {number}: "
            if isinstance(row, str):
                yield Problem(path, line, location + row)
            else:
                yield row._replace(line=line, video=video, location=location)


def _rows_of_video(value: object) -> Iterator[Row | str]:
    """Yield, for each sentence of a video, a row that lacks line and video, or the reason why the entry is bad."""
    record = dict(value) if isinstance(value, _Members) else {}
    sentences, spans = record.get("sentences"), record.get("timestamps")
    if not isinstance(sentences, list) or not isinstance(spans, list | None):
        yield "the video is not an object with lists of sentences and timestamps"
        return
    fps, duration = record.get("fps"), record.get("duration")
    if _is_rate(fps) and (frames := record.get("num_frames")) is not None:
        duration = _frame_to_seconds(frames, fps)
    for index in range(max(len(sentences), len(spans or ()))):
        span = (None, None) if spans is None else spans[index] if index < len(spans) else ()
        if index >= len(sentences):
            yield "timestamps without a sentence"
        elif fps is not None and not _is_rate(fps):
            yield "the video's fps is not a positive number"
        elif not isinstance(span, list | tuple) or len(span) != 2 or (spans is not None and None in span):
            yield "no timestamps [start, end]"
        else:
            start, end = span if fps is None else (_frame_to_seconds(frame, fps) for frame in span)
            yield Row(0, query=sentences[index], start=start, end=end, duration=duration)


def _is_rate(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e6


def _frame_to_seconds(frame: object, fps: float) -> object:
    """Return frame / fps, unrounded; anything but a number is returned as it is, for `check_row` to report."""
    if isinstance(frame, bool) or not isinstance(frame, int | float):
        return frame
    try:
        return frame / fps
    except OverflowError:
        return float("inf")


def _recognise_list(head: str) -> bool:
    if _LIST_OF_OBJECTS.match(head) is None:
        return False
    return all(re.search(rf'"{key}"\s*:', head) is not None for key in ("video", "query"))


def _read_list(path: Path, content: bytes) -> Rows:
    """Read a list of objects with the keys of the project's own jsonl."""
    document = _parse_document(path, content)
    for line, record in enumerate(document if isinstance(document, list) else (), start=1):
        if isinstance(record, _Members):
            yield row_from_object(line, dict(record), OWN_KEYS)
        else:
            yield Problem(path, line, "not a JSON object")


BY_VIDEO = Format("ActivityNet Captions or TACoS json", _recognise_by_video, _read_by_video)
LIST = Format("json list", _recognise_list, _read_list)
