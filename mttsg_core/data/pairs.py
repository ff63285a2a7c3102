"""Video-query pairs, and the checks that turn a row of an annotation file into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mttsg_core.data.clip_ratings import ClipRatings, parse_ratings
from mttsg_core.data.duration_files import DurationFiles
from mttsg_core.data.formats.base import Row
from mttsg_core.data.times import parse_seconds
from mttsg_core.utils.text import normalise, sentence_fault, shorten

MAX_SECONDS = 1e7  # 116 days; a larger time is a mistake, not a video
Span = tuple[float, float]
_ROUNDING = 1.0  # seconds by which a stated duration may be too short: many are rounded down to whole seconds
_SHORTEST_MS = 100  # milliseconds: no moment is shorter
_SHOWN_MOMENTS = 3  # reasons to show, where all moments of a row are bad


@dataclass(frozen=True)
class Pair:
    """A sentence about a video, with the moments that it describes.

    Attributes:
        id: unique in its file; `<file stem>-<line>` if the row has none.
        video: the video's name as annotated.
        query: the sentence, stripped, in Unicode's composed form (NFC).
        moments: true spans in seconds, start < end, as annotated (an end may be past the video's); () if unknown.
        duration: seconds of the whole video, if known.
        file: the annotation file.
        line: where in the file; `mttsg_core.data.formats` says how lines of JSON documents are counted.
        ratings: how annotators rated clips of the video as highlights; None if unknown.
    """

    id: str
    video: str
    query: str
    moments: tuple[Span, ...] = ()
    duration: float | None = None
    file: Path = Path()
    line: int = 0
    ratings: ClipRatings | None = None


@dataclass(frozen=True)
class CheckedRow:
    """What `check_row` makes of a row.

    Attributes:
        pair: None if the row cannot be used.
        reasons: why it cannot, or why some of its moments or its ratings of clips cannot.
        has_id: whether the row gives the pair's id.
    """

    pair: Pair | None
    reasons: list[str] = field(default_factory=list)
    has_id: bool = False


def check_row(row: Row, file: Path, durations: DurationFiles, *, check_ends: bool = True) -> CheckedRow:
    """Return the pair that a row describes, or why there is none.

    A bad one among several moments is left out, and equal ones are one.

    Args:
        row: as a format read it.
        file: the annotation file.
        durations: for rows without a duration.
        check_ends: whether a moment is bad if it starts past the end of the video, see `late_reason`.
    """
    reason = _text_reason("video", row.video) or _text_reason("sentence", row.query)
    if reason is not None:
        return CheckedRow(None, [reason])
    video, query = str(row.video).strip(), normalise(str(row.query).strip())
    if (reason := sentence_fault(query)) is not None:
        return CheckedRow(None, [reason])
    if row.id is not None and (isinstance(row.id, bool) or not isinstance(row.id, str | int)):
        return CheckedRow(None, [f"the id is neither a string nor an integer: {shorten(row.id)}"])
    if isinstance(row.id, str) and (reason := _text_reason("id", row.id)) is not None:
        return CheckedRow(None, [reason])
    seconds = None
    given = durations.get(video) if row.duration is None else row.duration
    if given is not None:
        seconds = parse_seconds(given)
        if seconds == 0:
            return CheckedRow(None, ["the duration is 0"])
        reason = _time_reason(row.names.get("duration", "duration"), given, seconds)
        if reason is not None or seconds is None:
            return CheckedRow(None, [reason or ""])
    spans, reasons = _check_moments(row)
    if seconds is not None and check_ends:
        late = [late_reason(span, seconds, _ROUNDING) for span in spans]
        spans = [span for span, reason in zip(spans, late, strict=True) if reason is None]
        reasons += [reason for reason in late if reason is not None]
    if reasons and not spans:
        return CheckedRow(None, ["; ".join(reasons[:_SHOWN_MOMENTS])])
    ratings = parse_ratings(row.clip_ids, row.clip_ratings, seconds)
    if isinstance(ratings, str):
        reasons, ratings = [*reasons, ratings], None
    identity = f"{file.stem}-{row.line}" if row.id is None else str(row.id)
    pair = Pair(identity, video, query, tuple(dict.fromkeys(spans)), seconds, file, row.line, ratings)
    return CheckedRow(pair, reasons, row.id is not None)


def late_reason(moment: Span, duration: float, tolerance: float = 0.0) -> str | None:
    """Return why a moment does not fit a video of `duration` seconds, or None: it must start before the video ends.

    >>> late_reason((2.0, 12.0), 10.0)
    >>> late_reason((11.0, 12.0), 10.0)
    'start 11.0 is past the end of the video at 10.0'
    >>> late_reason((2000.0, 4000.0), 10.0)
    'start 2000.0 is past the end of the video at 10.0; name the columns start_ms and end_ms if these are milliseconds'

    Args:
        moment: start and end in seconds.
        duration: of the video.
        tolerance: seconds by which the start may be past the end nevertheless.
    """
    start, end = moment
    if start < duration + tolerance:
        return None
    reason = f"start {start} is past the end of the video at {round(duration, 3)}"
    if start >= 10 * duration and end - start >= _SHORTEST_MS and end / 1000 <= duration + _ROUNDING:
        reason += "; name the columns start_ms and end_ms if these are milliseconds"
    return reason


def _time_reason(name: str, value: object, seconds: float | None) -> str | None:
    """Return why `value`, which stands for `seconds`, is not a time of a video, or None if it is."""
    if value is None:
        return f"{name} is missing"
    if seconds is None or seconds != seconds:  # NaN
        return f"{name} is not a time: {shorten(value)}"
    if seconds < 0:
        return f"{name} is negative: {shorten(value)}"
    if seconds > MAX_SECONDS:
        return f"{name} is too large: {shorten(value)}"
    return None


def _check_moments(row: Row) -> tuple[list[Span], list[str]]:
    """Return the good moments of a row in seconds, and why the others are bad."""
    if row.moments is None:
        if row.start is None and row.end is None:
            return [], []
        span = _check_span(row.start, row.end, row.names)
        return ([], [span]) if isinstance(span, str) else ([span], [])
    name = row.names.get("moments", "moments")
    if row.start is not None or row.end is not None:
        return [], [f"{name} given together with start or end"]
    if not isinstance(row.moments, list):
        return [], [f"{name} is not a list: {shorten(row.moments)}"]
    if len(row.moments) == 2 and not any(isinstance(item, list) for item in row.moments):
        span = _check_span(row.moments[0], row.moments[1], {})
        return ([], [span]) if isinstance(span, str) else ([span], [])
    spans, reasons = [], []
    for number, item in enumerate(row.moments, start=1):
        if not isinstance(item, list) or len(item) != 2:
            reasons.append(f"moment {number} is not [start, end]")
            continue
        span = _check_span(item[0], item[1], {})
        if isinstance(span, str):
            reasons.append(f"moment {number}: {span}")
        else:
            spans.append(span)
    return spans, reasons


def _check_span(start: object, end: object, names: Mapping[str, str]) -> Span | str:
    """Return [start, end] in seconds, or the reason why it is not a span."""
    first, last = parse_seconds(start), parse_seconds(end)
    reason = _time_reason(names.get("start", "start"), start, first) or _time_reason(names.get("end", "end"), end, last)
    if reason is not None or first is None or last is None:
        return reason or ""
    if first >= last:
        return f"start {shorten(start)} is not before end {shorten(end)}"
    return first, last


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
