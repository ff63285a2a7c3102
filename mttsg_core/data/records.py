"""Rows of annotation files, and what makes a row a pair."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeGuard

from mttsg_core.errors import DataError
from mttsg_core.utils.files import without_suffix
from mttsg_core.utils.json_lines import read_bytes
from mttsg_core.utils.text import shorten
from mttsg_core.video.discovery import VIDEO_SUFFIXES

MAX_SECONDS = 1e7  # 116 days; a time beyond is a mistake, not a video
Span = tuple[float, float]


class Row(NamedTuple):
    """One annotated sentence, nothing checked yet. Times are in seconds where they are numbers at all."""

    line: int
    video: object = None
    query: object = None
    start: object = None
    end: object = None
    moments: object = None
    id: object = None
    duration: object = None
    place: str = ""  # said before a reason where the line alone does not lead to the row


@dataclass(frozen=True)
class Pair:
    """A sentence about a video.

    Args:
        id: unique in its file; `<file stem>-<line>` where the row has none.
        video: the video's name as annotated.
        query: the sentence, stripped.
        moments: true spans in seconds, start < end, as annotated (an end may lie past the video); () if unknown.
        duration: seconds of the whole video, if known.
        file, line: where the row stands; see `mttsg_core.data.formats` for the lines of JSON documents.
    """

    id: str
    video: str
    query: str
    moments: tuple[Span, ...] = ()
    duration: float | None = None
    file: Path = Path()
    line: int = 0


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= MAX_SECONDS


def _time_reason(name: str, value: object) -> str:
    """Why `value` is no time. A NaN fails both comparisons below."""
    if value is None:
        return f"{name} is missing"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{name} is not a number: {shorten(value)}"
    if value < 0:
        return f"{name} is negative: {shorten(value)}"
    if value > MAX_SECONDS:
        return f"{name} is too large: {shorten(value)}"
    return f"{name} is not a number: {shorten(value)}"


def _span_reason(start: object, end: object) -> str | None:
    """Why these are no span, or None."""
    if not _is_time(start):
        return _time_reason("start", start)
    if not _is_time(end):
        return _time_reason("end", end)
    if start >= end:
        return f"start {shorten(start)} is not before end {shorten(end)}"
    return None


def _text_reason(name: str, value: object) -> str | None:
    """Why this is no text, or None."""
    if value is None:
        return f"no {name}"
    if not isinstance(value, str):
        return f"the {name} is not a string: {shorten(value)}"
    if not value.strip():
        return f"empty {name}"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"the {name} holds half of a surrogate pair"
    return None


def _spans(row: Row) -> list[Span] | str:
    """The row's moments in seconds, or the reason why they are none."""
    if row.moments is None:
        if row.start is None and row.end is None:
            return []
        reason = _span_reason(row.start, row.end)
        return [(float(row.start), float(row.end))] if reason is None else reason  # type: ignore[arg-type]
    if row.start is not None or row.end is not None:
        return "both moments and start or end"
    if not isinstance(row.moments, list):
        return f"moments is not a list: {shorten(row.moments)}"
    spans: list[Span] = []
    for number, span in enumerate(row.moments, start=1):
        if not isinstance(span, list) or len(span) != 2:
            return f"moment {number} is not [start, end]"
        reason = _span_reason(*span)
        if reason is not None:
            return f"moment {number}: {reason}"
        spans.append((float(span[0]), float(span[1])))
    return spans


def check_row(row: Row, durations: Durations, stem: str, file: Path) -> Pair | str:
    """The pair that a row describes, or the reason why it describes none."""
    reason = _text_reason("video", row.video) or _text_reason("sentence", row.query)
    if reason is not None:
        return reason
    video, query = str(row.video).strip(), str(row.query).strip()
    if row.id is not None and (isinstance(row.id, bool) or not isinstance(row.id, str | int)):
        return f"the id is neither a string nor an integer: {shorten(row.id)}"
    if isinstance(row.id, str) and (reason := _text_reason("id", row.id)) is not None:
        return reason
    identity = f"{stem}-{row.line}" if row.id is None else str(row.id)
    duration = durations.of(video) if row.duration is None else row.duration
    if duration is not None and not (_is_time(duration) and duration > 0):
        return "the duration is 0" if duration == 0 else _time_reason("duration", duration)
    spans = _spans(row)
    if isinstance(spans, str):
        return spans
    seconds = None if duration is None else float(duration)
    if seconds is not None and (reason := past_end(spans, seconds)) is not None:
        return reason
    return Pair(identity, video, query, tuple(spans), seconds, file, row.line)


def past_end(moments: Sequence[tuple[float, float]], duration: float) -> str | None:
    """The reason why moments are none of a video of so many seconds: one begins when it is over."""
    late = next((start for start, _ in moments if start >= duration), None)
    return None if late is None else f"start {late} is past the end of the video at {duration}"


class Durations:
    """Seconds by video, from `durations*.json` ({video: seconds}) and csv files with `id` and `length` beside a file.

    Read only when a row without a duration asks. Raises DataError if a `durations*.json` holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, video: str) -> object:
        """What the files say of the video, unchecked; None if they do not know it."""
        return self._known.get(video, self._known.get(without_suffix(video, VIDEO_SUFFIXES)))

    @cached_property
    def _known(self) -> dict[str, object]:
        known: dict[str, object] = {}
        for path in sorted(self._folder.glob("*.csv")):
            known.update(_lengths(path))
        for path in sorted(self._folder.glob("durations*.json")):
            try:
                content = json.loads(read_bytes(path))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}: broken json") from error
            if not isinstance(content, dict):
                raise DataError(f"{path}: not an object of seconds by video")
            known.update(content)
        return known


def _lengths(path: Path) -> dict[str, object]:
    """Column `length` by column `id` of a csv file, as text where it is no number; {} if it lacks them."""
    lines = read_bytes(path).decode("utf-8", errors="replace").splitlines()
    try:
        return {
            row["id"]: _number_or_text(row["length"])
            for row in (csv.DictReader(lines) if lines and {"id", "length"} <= set(lines[0].split(",")) else ())
            if row["id"] and row["length"]
        }
    except csv.Error as error:
        raise DataError(f"{path}: broken csv ({error})") from error


def _number_or_text(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text
