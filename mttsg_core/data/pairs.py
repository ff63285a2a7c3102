"""Video-query pairs, and the checks that turn a row of an annotation file into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from mttsg_core.data.duration_files import DurationFiles
from mttsg_core.data.formats.base import Row
from mttsg_core.utils.text import sentence_fault, shorten

MAX_SECONDS = 1e7  # 116 days; a larger time is a mistake, not a video
Span = tuple[float, float]


@dataclass(frozen=True)
class Pair:
    """A sentence about a video, with the moments that it describes.

    Attributes:
        id: unique in its file; `<file stem>-<line>` if the row has none.
        video: the video's name as annotated.
        query: the sentence, stripped.
        moments: true spans in seconds, start < end, as annotated (an end may be past the video's); () if unknown.
        duration: seconds of the whole video, if known.
        file: the annotation file.
        line: where in the file; `mttsg_core.data.formats` says how lines of JSON documents are counted.
    """

    id: str
    video: str
    query: str
    moments: tuple[Span, ...] = ()
    duration: float | None = None
    file: Path = Path()
    line: int = 0


def check_row(row: Row, file: Path, durations: DurationFiles) -> Pair | str:
    """Return the pair that a row describes, or the reason why the row is bad.

    Args:
        row: as a format read it.
        file: the annotation file.
        durations: for rows without a duration.
    """
    reason = _text_reason("video", row.video) or _text_reason("sentence", row.query)
    if reason is not None:
        return reason
    video, query = str(row.video).strip(), str(row.query).strip()
    if (reason := sentence_fault(query)) is not None:
        return reason
    if row.id is not None and (isinstance(row.id, bool) or not isinstance(row.id, str | int)):
        return f"the id is neither a string nor an integer: {shorten(row.id)}"
    if isinstance(row.id, str) and (reason := _text_reason("id", row.id)) is not None:
        return reason
    identity = f"{file.stem}-{row.line}" if row.id is None else str(row.id)
    duration = durations.get(video) if row.duration is None else row.duration
    if duration is not None and not (_is_time(duration) and duration > 0):
        return "the duration is 0" if duration == 0 else _time_reason("duration", duration)
    spans = _spans(row)
    if isinstance(spans, str):
        return spans
    seconds = None if duration is None else float(duration)
    if seconds is not None and (reason := past_end_reason(spans, seconds)) is not None:
        return reason
    return Pair(identity, video, query, tuple(spans), seconds, file, row.line)


def past_end_reason(moments: Sequence[Span], duration: float) -> str | None:
    """Return why moments do not fit a video of `duration` seconds, or None: each must start before the video ends.

    >>> past_end_reason([(2.0, 12.0)], 10.0)
    >>> past_end_reason([(2.0, 12.0), (11.0, 12.0)], 10.0)
    'start 11.0 is past the end of the video at 10.0'
    """
    late = next((start for start, _ in moments if start >= duration), None)
    return None if late is None else f"start {late} is past the end of the video at {duration}"


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= MAX_SECONDS


def _time_reason(name: str, value: object) -> str:
    """Return why `value` is not a time in seconds."""
    if value is None:
        return f"{name} is missing"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{name} is not a number: {shorten(value)}"
    if value < 0:
        return f"{name} is negative: {shorten(value)}"
    if value > MAX_SECONDS:
        return f"{name} is too large: {shorten(value)}"
    return f"{name} is not a number: {shorten(value)}"  # NaN, for which both comparisons are false


def _span_reason(start: object, end: object) -> str | None:
    """Return why [start, end] is not a span, or None if it is."""
    if not _is_time(start):
        return _time_reason("start", start)
    if not _is_time(end):
        return _time_reason("end", end)
    if start >= end:
        return f"start {shorten(start)} is not before end {shorten(end)}"
    return None


def _text_reason(name: str, value: object) -> str | None:
    """Return why `value` is not usable text, or None if it is."""
    if value is None:
        return f"no {name}"
    if not isinstance(value, str):
        return f"the {name} is not a string: {shorten(value)}"
    if not value.strip():
        return f"empty {name}"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"the {name} contains an unpaired surrogate"
    return None


def _spans(row: Row) -> list[Span] | str:
    """Return the row's moments in seconds, or the reason why they are bad."""
    if row.moments is None:
        if row.start is None and row.end is None:
            return []
        reason = _span_reason(row.start, row.end)
        return [(float(row.start), float(row.end))] if reason is None else reason  # type: ignore[arg-type]
    if row.start is not None or row.end is not None:
        return "moments given together with start or end"
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
