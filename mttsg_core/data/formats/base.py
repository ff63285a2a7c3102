"""What a format is: a way to recognise its files, and a way to read their rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mttsg_core.utils.json_lines import Problem

HEAD_LINES = 50  # lines of a head that `recognise` looks at
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)


class Row(NamedTuple):
    """One annotated sentence as its file gives it, unchecked: `mttsg_core.data.pairs.check_row` does that.

    Attributes:
        line: in the file, counted as `mttsg_core.data.formats` says.
        video: the video's name.
        query: the sentence.
        start: of a single moment in seconds.
        end: of a single moment in seconds.
        moments: `[[start, end], ...]` in seconds, instead of start and end.
        id: the query's own name, a string or an integer.
        duration: seconds of the whole video.
        location: put before the reason of a problem if the line alone does not lead to the row.
    """

    line: int
    video: object = None
    query: object = None
    start: object = None
    end: object = None
    moments: object = None
    id: object = None
    duration: object = None
    location: str = ""


Rows = Iterator[Row | Problem]


@dataclass(frozen=True)
class Format:
    """A published annotation format.

    Attributes:
        name: what users call it.
        recognise: tell from the first characters of a file whether `read` understands the file.
        read: turn (path, content) into rows, with a problem for each entry that is not a row. The path is for messages
            only. Raises DataError if the file as a whole is broken.
        suffixes: files with these suffixes are read in this format if no format recognises their content, so that
            each of their bad lines is reported.
    """

    name: str
    recognise: Callable[[str], bool]
    read: Callable[[Path, bytes], Rows]
    suffixes: tuple[str, ...] = ()


# The key of each field of a `Row` in the project's own JSON objects.
OWN_KEYS: Mapping[str, str] = {name: name for name in Row._fields if name not in ("line", "location")}


def row_from_object(line: int, record: Mapping[str, object], keys: Mapping[str, str]) -> Row:
    """Return the row of a JSON object.

    Args:
        line: of the row.
        record: the object.
        keys: the object's key for each field of the row; fields without one are left empty.

    >>> row_from_object(3, {"vid": "a", "sentence": "x"}, {"video": "vid", "query": "sentence"})[:3]
    (3, 'a', 'x')
    """
    return Row(line, **{name: record.get(key) for name, key in keys.items()})  # type: ignore[arg-type]


def number_or_text(text: str) -> object:
    """Return the value of a cell of a text file: None if blank, a float if it is a plain number, else the text.

    >>> number_or_text(" 3.5 "), number_or_text(""), number_or_text("1_0"), number_or_text("nan")
    (3.5, None, '1_0', 'nan')
    """
    text = text.strip()
    return (float(text) if _NUMBER.fullmatch(text) else text) if text else None
