"""Queries to ground: sentences, and the videos that each is about."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mttsg_core.data import formats
from mttsg_core.data.formats import columns
from mttsg_core.data.formats.base import row_from_object
from mttsg_core.data.name_index import NameIndex, name_forms, trailing_parts
from mttsg_core.errors import DataError
from mttsg_core.utils.files import without_suffix
from mttsg_core.utils.json_lines import Problem, is_unicode, read_json_lines, read_lines
from mttsg_core.utils.text import normalise, sentence_fault, shorten
from mttsg_core.video.discovery import VIDEO_SUFFIXES, VideoFile
from mttsg_core.video.identify import PICTURE_SUFFIXES

_log = logging.getLogger("mttsg")
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Query:
    """A sentence to ground in a video.

    Attributes:
        text: the sentence.
        video: the video's name; None for every video.
    """

    text: str
    video: str | None = None


def parse_queries(path: Path, content: bytes) -> tuple[list[Query], list[Problem]]:
    """Parse a file of queries.

    It is an annotation file of any format that training reads, whose sentences are each asked of their own video; or
    one sentence per line; or one JSON object per line with `query` and optionally `video`; or a table with a column
    `query`.

    Args:
        path: of the file, for messages, and for its suffix.
        content: of the file, or of standard input.

    Returns:
        The queries, and the lines that are not queries. Blank lines are skipped.

    Raises:
        DataError: if there is no query at all, or the file as a whole cannot be read.

    >>> parse_queries(Path("q.txt"), b"person opens door\\n")
    ([Query(text='person opens door', video=None)], [])
    >>> parse_queries(Path("charades_sta_test.txt"), b"3MSZA 24.3 30.4##person turn a light on.\\n")
    ([Query(text='person turn a light on.', video='3MSZA')], [])
    """
    content = content.removeprefix(_UTF8_MARK)
    queries: list[Query] = []
    problems: list[Problem] = []
    for entry in _entries(path, content):
        if isinstance(entry, Problem):
            problems.append(entry)
        elif isinstance(entry, formats.Note):
            _log.warning("%s", entry.text)
        else:
            query = _query_of(entry)
            if isinstance(query, Query):
                queries.append(query)
            else:
                problems.append(Problem(path, entry.line, entry.location + query))
    if not queries:
        raise DataError(f"{path}: contains no sentence" + "".join(f" ({problem})" for problem in problems[:1]))
    return queries, problems


def assign_queries(
    queries: Sequence[Query], videos: Iterable[VideoFile]
) -> tuple[dict[VideoFile, list[str]], dict[str, str]]:
    """Assign queries to the videos that they are about.

    A query names its video by its path or the last parts of it, with or without suffix: `videos/a.mp4`, `a`. Capitals
    and separators count only where several videos differ in nothing else.

    Returns:
        The sentences of each video, in order and each once; and the names that do not tell one of the videos, each with
        the reason.
    """
    videos = list(videos)
    by_path, by_parts = _index(videos, _paths_of), _index(videos, _parts_of)
    video_of: dict[str, VideoFile] = {}
    unmatched: dict[str, str] = {}
    for name in dict.fromkeys(query.video for query in queries if query.video is not None):
        lookups = (index.find(form) for index in (by_path, by_parts) for form in name_forms(name))
        matches = _meant(next(filter(None, lookups), []))
        if len(matches) == 1:
            video_of[name] = matches[0]
        elif matches:
            shown = ", ".join(str(video.path) for video in matches[:3])
            unmatched[name] = f"{len(matches)} videos match: {shown}"
        else:
            unmatched[name] = "no such video"
    assigned: dict[VideoFile, dict[str, None]] = {video: {} for video in videos}
    for query in queries:
        for video in videos if query.video is None else filter(None, [video_of.get(query.video)]):
            assigned[video][query.text] = None
    return {video: list(sentences) for video, sentences in assigned.items() if sentences}, unmatched


def _entries(path: Path, content: bytes) -> Iterator[formats.Row | formats.Note | Problem]:
    """Yield the rows of a file in whichever form it is; rows without a video are about every video."""
    if formats.recognise_content(content) is not None:
        yield from formats.rows_of(path, content)
    elif content.lstrip().startswith(b"{"):
        for entry in read_json_lines(path, content):
            yield entry if isinstance(entry, Problem) else row_from_object(*entry)
    elif (values := _json_list(content)) is not None:
        yield from _rows_of_list(path, values)
    elif _is_table(path, content):
        table = columns.open_table(path, content, required=("query",))
        if table is not None:
            yield from table.notes
            yield from table.rows()
    else:
        yield from _sentences(path, content)


def _query_of(row: formats.Row) -> Query | str:
    """Return the query of a row, or the reason why there is none."""
    if not isinstance(row.query, str) or not row.query.strip():
        return "no query"
    if not is_unicode(row.query):
        return "the query contains an unpaired surrogate"
    if row.video is not None and not isinstance(row.video, str):
        return f"the video is not a string: {shorten(row.video)}"
    if row.video is not None and not row.video.strip():
        return "empty video"
    text = normalise(row.query.strip())
    fault = sentence_fault(text)
    return Query(text, None if row.video is None else row.video.strip()) if fault is None else fault


def _sentences(path: Path, content: bytes) -> Iterator[formats.Row | Problem]:
    for entry in read_lines(path, content):
        yield entry if isinstance(entry, Problem) else formats.Row(entry[0], query=entry[1])


def _rows_of_list(path: Path, values: Sequence[object]) -> Iterator[formats.Row | Problem]:
    """Yield the rows of a JSON list of sentences, or of objects with a sentence."""
    for number, value in enumerate(values, start=1):
        if isinstance(value, str):
            yield formats.Row(number, query=value)
        elif isinstance(value, dict):
            yield row_from_object(number, value)
        else:
            yield Problem(path, number, "neither a sentence nor an object with one")


def _json_list(content: bytes) -> list[object] | None:
    """Return the values of a JSON list, or None if the content is none: a sentence may begin with a bracket."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, list) else None


def _is_table(path: Path, content: bytes) -> bool:
    """Tell whether a file is a table rather than sentences: by its suffix, unless its first line is a single cell."""
    if path.suffix.lower() not in columns.CSV_OR_TSV.suffixes:
        return False
    header = columns.read_header(content[: formats.HEAD_BYTES].decode("utf-8", errors="replace"))
    return header is not None and (len(header.columns) > 1 or "query" in header.fields.name_of)


def _index(videos: Iterable[VideoFile], names_of: Callable[[VideoFile], Iterable[str]]) -> NameIndex[VideoFile]:
    """Return an index of videos by some of their names, with and without suffix."""
    index: NameIndex[VideoFile] = NameIndex()
    for video in videos:
        for name in names_of(video):
            index.add(name, video)
            index.add(without_suffix(name, VIDEO_SUFFIXES), video)
    return index


def _paths_of(video: VideoFile) -> Iterable[str]:
    return (video.path.as_posix(), video.path.absolute().as_posix(), video.name.as_posix())


def _parts_of(video: VideoFile) -> Iterable[str]:
    return trailing_parts(video.path.absolute().as_posix())


def _meant(videos: list[VideoFile]) -> list[VideoFile]:
    """Return the videos that a name stands for: pictures that move only if there is nothing else."""
    return [video for video in videos if video.path.suffix.lower() not in PICTURE_SUFFIXES] or videos
