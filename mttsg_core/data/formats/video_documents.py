"""A JSON object of videos, each with lists of its sentences and times: ActivityNet Captions, TACoS, TimeLens-Bench."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TypeGuard

from mttsg_core.data.formats.base import Format, Row, Rows, rows_of_video
from mttsg_core.data.formats.documents import Members, as_record, keys_by_nesting, parse_document
from mttsg_core.data.times import parse_seconds
from mttsg_core.errors import DataError

_OBJECT_OF_OBJECTS = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')
_SENTENCES = ("sentences", "queries")
_TIMES = ("timestamps", "spans")


def _recognise(head: str) -> bool:
    if _OBJECT_OF_OBJECTS.match(head) is None:
        return False
    return not keys_by_nesting(head).get("{{", set()).isdisjoint((*_SENTENCES, *_TIMES))


def _read(path: Path, content: bytes) -> Rows:
    """Read `{video: {"timestamps", "sentences", "duration"}}`; see `_in_frames` for the unit of times."""
    document = parse_document(path, content)
    if not isinstance(document, Members):
        raise DataError(f"{path}:1: not a JSON object of videos")
    in_frames = _in_frames([record for _, value in document if (record := as_record(value)) is not None])
    lines = count(1)
    for video, value in document:
        yield from rows_of_video(path, lines, video, _sentences(as_record(value) or {}, in_frames=in_frames))


def _sentences(record: Mapping[str, object], *, in_frames: bool) -> Iterator[Row | str]:
    """Yield, for each sentence of a video, a row that lacks line and video, or the reason why the entry is bad."""
    sentences = next((record[key] for key in _SENTENCES if key in record), None)
    spans = next((record[key] for key in _TIMES if key in record), None)
    if not isinstance(sentences, list) or not isinstance(spans, list | None):
        yield "the video is not an object with lists of sentences and timestamps"
        return
    fps, duration = record.get("fps"), record.get("duration")
    if duration is None and _is_rate(fps):
        duration = _frame_to_seconds(record.get("num_frames"), fps)
    for index in range(max(len(sentences), len(spans or ()))):
        span = None if spans is None else spans[index] if index < len(spans) else ()
        if index >= len(sentences):
            yield "timestamps without a sentence"
        elif spans is None:
            yield Row(0, query=sentences[index], duration=duration)
        elif in_frames and not _is_rate(fps):
            yield "the video's fps is not a positive number"
        elif not isinstance(span, list) or not span or None in span:
            yield "no timestamps [start, end]"
        else:
            yield from _row(sentences[index], span, duration, fps if in_frames and _is_rate(fps) else None)


def _row(sentence: object, span: Sequence[object], duration: object, fps: float | None) -> Iterator[Row | str]:
    """Yield the row of a sentence. Its span is one `[start, end]`, or a list of them; `fps` is that of frames."""
    if fps is not None:
        span = [[_frame_to_seconds(frame, fps) for frame in item] if isinstance(item, list) else
                _frame_to_seconds(item, fps) for item in span]  # fmt: skip
    if all(isinstance(item, list) for item in span):
        yield Row(0, query=sentence, moments=span, duration=duration)
    elif len(span) == 2:
        yield Row(0, query=sentence, start=span[0], end=span[1], duration=duration)
    else:
        yield "no timestamps [start, end]"


def _in_frames(records: Sequence[Mapping[str, object]]) -> bool:
    """Tell whether the times of a file are frames, as those of TACoS are, rather than seconds.

    A rate alone says nothing about the unit of times: files in seconds have `fps` too. They are frames in a file whose
    videos have `fps` and `num_frames`, and whose times are whole numbers. If a file gives durations too, which TACoS
    does not, most of its times must lie past the end of their videos. The file as a whole decides, so that a single
    damaged video changes no other.
    """
    framed = [record for record in records if "fps" in record and record.get("num_frames") is not None]
    if not framed or 2 * len(framed) < len(records):
        return False
    times = [(time, record.get("duration")) for record in framed for time in _times(record)]
    if sum(time.is_integer() for time, _ in times) * 2 <= len(times):
        return False
    timed = [(time, duration) for time, value in times if (duration := parse_seconds(value)) is not None]
    return 2 * len(timed) <= len(times) or sum(time > duration for time, duration in timed) * 2 > len(timed)


def _times(record: Mapping[str, object]) -> Iterator[float]:
    """Yield the times of a video, those that are numbers."""
    spans = next((record[key] for key in _TIMES if key in record), None)
    for span in spans if isinstance(spans, list) else ():
        for time in span if isinstance(span, list) else ():
            if isinstance(time, int | float) and not isinstance(time, bool):
                seconds = parse_seconds(time)
                if seconds is not None and abs(seconds) < float("inf"):
                    yield seconds


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


BY_VIDEO = Format("ActivityNet Captions, TACoS or TimeLens-Bench json", _recognise, _read)
