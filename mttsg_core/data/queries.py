"""Queries to ground: sentences, and the videos that each is about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Problem, is_unicode, read_json_lines, read_lines
from mttsg_core.utils.text import sentence_fault
from mttsg_core.video.discovery import VideoFile


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
    """Parse a file of queries: one sentence per line, or one JSON object per line with `query` and optionally `video`.

    Args:
        path: of the file, for messages.
        content: of the file, or of standard input.

    Returns:
        The queries, and the lines that are not queries. Blank lines are skipped.

    Raises:
        DataError: if there is no query at all.

    >>> parse_queries(Path("q.txt"), b"person opens door\\n")
    ([Query(text='person opens door', video=None)], [])
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.lstrip().startswith(b"{"):
        queries, problems = _parse_objects(path, content)
    elif _is_json_list(content):
        raise DataError(f"{path}: expected one sentence or one JSON object per line, not a JSON list")
    else:
        queries, problems = _parse_sentences(path, content)
    if not queries:
        raise DataError(f"{path}: contains no sentence" + "".join(f" ({problem})" for problem in problems[:1]))
    return queries, problems


def _parse_objects(path: Path, content: bytes) -> tuple[list[Query], list[Problem]]:
    queries: list[Query] = []
    problems: list[Problem] = []
    for entry in read_json_lines(path, content):
        if isinstance(entry, Problem):
            problems.append(entry)
            continue
        line, record = entry
        text, video = record.get("query"), record.get("video")
        if not isinstance(text, str) or not text.strip():
            problems.append(Problem(path, line, "no query"))
        elif not is_unicode(text):
            problems.append(Problem(path, line, "the query contains an unpaired surrogate"))
        elif video is not None and not isinstance(video, str):
            problems.append(Problem(path, line, "the video is not a string"))
        elif (fault := sentence_fault(text.strip())) is not None:
            problems.append(Problem(path, line, fault))
        else:
            queries.append(Query(text.strip(), video))
    return queries, problems


def _parse_sentences(path: Path, content: bytes) -> tuple[list[Query], list[Problem]]:
    queries: list[Query] = []
    problems: list[Problem] = []
    for entry in read_lines(path, content):
        if isinstance(entry, Problem):
            problems.append(entry)
            continue
        number, line = entry
        text = line.strip()
        fault = sentence_fault(text)
        if fault is not None:
            problems.append(Problem(path, number, fault))
        elif text:
            queries.append(Query(text))
    return queries, problems


def assign_queries(
    queries: Sequence[Query], videos: Iterable[VideoFile]
) -> tuple[dict[VideoFile, list[str]], list[str]]:
    """Assign queries to the videos that they are about.

    A query names its video by its path or the last parts of it, with or without suffix: `videos/a.mp4`, `a`.

    Returns:
        The sentences of each video, in order and each once; and the names that match no video.
    """
    for_all = [(index, query.text) for index, query in enumerate(queries) if query.video is None]
    by_name: dict[str, list[tuple[int, str]]] = {}
    for index, query in enumerate(queries):
        if query.video is not None:
            by_name.setdefault(PurePath(query.video).as_posix(), []).append((index, query.text))
    assigned: dict[VideoFile, list[str]] = {}
    unmatched = dict.fromkeys(by_name)
    for video in videos:
        sentences = list(for_all)
        for name in _names_of(video.path):
            if name in by_name:
                sentences += by_name[name]
                unmatched.pop(name, None)
        if sentences:
            assigned[video] = list(dict.fromkeys(text for _, text in sorted(sentences)))
    return assigned, list(unmatched)


def _names_of(path: Path) -> set[str]:
    """Return every name by which a query may refer to a video."""
    names = {path.as_posix(), path.with_suffix("").as_posix()}
    for whole in (path.absolute(), path.absolute().with_suffix("")):
        names.add(whole.as_posix())
        names |= {"/".join(whole.parts[start:]) for start in range(1, len(whole.parts))}
    return names


def _is_json_list(content: bytes) -> bool:
    """Tell whether the content is a JSON list, rather than a sentence that begins with a bracket."""
    try:
        return isinstance(json.loads(content), list)
    except (ValueError, RecursionError):
        return False
