"""Times as annotation files write them: seconds, or clock times, as numbers or as text."""

from __future__ import annotations

import re

# 22.3, .5, 1e3, with or without a unit
_NUMBER = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?)\s*(?:(s|secs?|seconds?)|(ms|msecs?|milliseconds?))?",
    re.ASCII | re.IGNORECASE,
)
# m:ss, h:mm:ss, and fractions of the second behind a point, or behind a comma as in subtitles
_CLOCK = re.compile(r"(?:(\d{1,4}):([0-5]?\d)|(\d{1,6})):([0-5]\d)(?:[.,](\d{1,9}))?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_GROUPED_THOUSANDS = re.compile(r"[+-]?\d{1,3},\d{3}", re.ASCII)


def parse_seconds(value: object) -> float | None:
    """Return the seconds that a value stands for, or None if it is not certain that it stands for a time.

    Whether a video can be that long is not checked: the result may be negative, infinite or NaN.

    >>> parse_seconds(22.3), parse_seconds("22.3"), parse_seconds("1:02.5"), parse_seconds("1:00:06,240")
    (22.3, 22.3, 62.5, 3606.24)
    >>> parse_seconds("29200 ms"), parse_seconds("29,2"), parse_seconds("1:75"), parse_seconds(True)
    (29.2, None, None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return _parse_text(value.strip()) if isinstance(value, str) else None


def parse_milliseconds(value: object) -> object:
    """Return the seconds that a number of milliseconds stands for; any other value is returned as it is.

    >>> parse_milliseconds(29200), parse_milliseconds("29200"), parse_milliseconds("0:29.2")
    (29.2, 29.2, '0:29.2')
    """
    if isinstance(value, str) and not _is_plain_number(value.strip()):
        return value
    milliseconds = parse_seconds(value)
    return value if milliseconds is None else milliseconds / 1000


def with_decimal_point(text: str, *, certain: bool) -> str:
    """Return a number with its decimal comma replaced by a point; any other text is returned as it is.

    Args:
        text: a cell of a table.
        certain: whether a comma can only be a decimal comma. If not, `1,234` may be a thousand: it stays as it is.

    >>> with_decimal_point("29,2", certain=False), with_decimal_point("1,234", certain=False)
    ('29.2', '1,234')
    """
    if _DECIMAL_COMMA.fullmatch(text) and (certain or not _GROUPED_THOUSANDS.fullmatch(text)):
        return text.replace(",", ".")
    return text


def _is_plain_number(text: str) -> bool:
    match = _NUMBER.fullmatch(text)
    return match is not None and match[2] is None and match[3] is None


def _parse_text(text: str) -> float | None:
    number = _NUMBER.fullmatch(text)
    if number is not None:
        return float(number[1]) / 1000 if number[3] else float(number[1])
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        return None
    hours, minutes, only_minutes, seconds, fraction = clock.groups()
    whole = int(hours or 0) * 3600 + int(minutes or only_minutes) * 60 + int(seconds)
    return float(f"{whole}.{fraction or 0}")  # read as one number, so that 0:29.2 is 29.2 to the last bit
