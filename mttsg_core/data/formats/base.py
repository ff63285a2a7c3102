"""What a format is: a way to recognise its files, and a way to read their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mttsg_core.data.formats.fields import Fields, find_fields
from mttsg_core.data.times import parse_milliseconds
from mttsg_core.utils.json_lines import LineStream, Problem
from mttsg_core.utils.text import shorten

HEAD_LINES = 50  # lines of a head that `recognise` looks at
_SHOWN_NAMES = 8  # of columns that are not read


class Row(NamedTuple):
    """One annotated sentence as its file gives it, unchecked: `mttsg_core.data.pairs.check_row` does that.

    Attributes:
        line: in the file, counted as `mttsg_core.data.formats` says.
        video: the video's name.
        query: the sentence.
        start: of a single moment: what `mttsg_core.data.times.parse_seconds` takes.
        end: of a single moment, likewise.
        moments: `[[start, end], ...]`, or a single `[start, end]`, instead of start and end.
        id: the query's own name, a string or an integer.
        duration: of the whole video, a time like the others.
        subset: the split that the row belongs to, in a file of several splits.
        clip_ids: numbers of the clips of 2 s that annotators rated.
        clip_ratings: of each of these clips a list of ratings, one per annotator.
        location: put before the reason of a problem if the line alone does not lead to the row.
        names: what the file calls the fields, for messages.
    """

    line: int
    video: object = None
    query: object = None
    start: object = None
    end: object = None
    moments: object = None
    id: object = None
    duration: object = None
    subset: object = None
    clip_ids: object = None
    clip_ratings: object = None
    location: str = ""
    names: Mapping[str, str] = {}


class Note(NamedTuple):
    """Something about a whole file that its reader should know, such as columns that are not read."""

    text: str


Rows = Iterator[Row | Problem | Note]


@dataclass(frozen=True)
class Format:
    """A published annotation format.

    Attributes:
        name: what users call it.
        recognise: tell from the first characters of a file whether `read` understands the file.
        read: turn (path, content) into rows, with a problem for each entry that is not a row, and notes. The path is
            for messages only. Raises DataError if the file as a whole is broken.
        read_stream: as `read`, of a file of which a few lines are in memory at a time; None for documents.
        suffixes: files with these suffixes are read in this format if no format recognises their content, so that
            each of their bad lines is reported.
        has_subsets: whether its files may hold several splits, so that it is worth reading one to see which.
    """

    name: str
    recognise: Callable[[str], bool]
    read: Callable[[Path, bytes], Rows]
    suffixes: tuple[str, ...] = ()
    read_stream: Callable[[Path, LineStream], Rows] | None = None
    has_subsets: Callable[[str], bool] = lambda head: False


def fields_of(record: Mapping[str, object]) -> Fields:
    """Return the fields that the keys of a JSON object stand for. A key without a value does not count."""
    return find_fields(tuple(key for key, value in record.items() if value is not None))


def row_from_object(line: int, record: Mapping[str, object]) -> Row:
    """Return the row of a JSON object.

    >>> row_from_object(3, {"vid": "a", "sentence": "x", "start_ms": 500})[:4]
    (3, 'a', 'x', 0.5)
    """
    fields = fields_of(record)
    return row_from_values(line, fields, {field: record[name] for field, name in fields.name_of.items()})


def row_from_values(line: int, fields: Fields, values: Mapping[str, object]) -> Row:
    """Return the row with the given value of each field, as the file gives it."""
    converted = {
        field: parse_milliseconds(value) if field in fields.milliseconds else value for field, value in values.items()
    }
    return Row(line, names=fields.name_of, **converted)  # type: ignore[arg-type]


def rows_of_video(
    path: Path, lines: Iterator[int], video: object, sentences: Iterable[Row | str], subset: object = None
) -> Iterator[Row | Problem]:
    """Yield the rows of a video in a file that lists its sentences, and a problem for each bad one.

    Args:
        path: the file.
        lines: gives each sentence of the file its number.
        video: the video's name.
        sentences: rows that lack line and video, or the reasons why they are bad.
        subset: the split of the rows that do not name one.
    """
    for number, row in enumerate(sentences, start=1):
        line = next(lines)
        location = f"video {shorten(video)}, sentence {number}: "
        if isinstance(row, str):
            yield Problem(path, line, location + row)
        else:
            own_subset = subset if row.subset is None else row.subset
            yield row._replace(line=line, video=video, location=location, subset=own_subset)


def unread_note(path: Path, unread: Iterable[str]) -> Iterator[Note]:
    """Yield a note that names the columns or keys of a file that are not read, if there are any."""
    names = [shorten(name) for name in dict.fromkeys(unread) if name]
    if names:
        more = ["..."] if len(names) > _SHOWN_NAMES else []
        yield Note(f"{path}: not read: {', '.join([*names[:_SHOWN_NAMES], *more])}")
