"""Which sentences to ask of which videos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Problem, is_unicode, read_json_lines
from mttsg_core.video.discovery import VideoFile


@dataclass(frozen=True)
class Query:
    """A sentence, and the video it is asked of; None asks it of every video."""

    query: str
    video: str | None = None


def parse_queries(path: Path, content: bytes) -> tuple[list[Query], list[Problem]]:
    """Questions of a file: JSON objects with `query` and maybe `video`, one a line, or else plain lines.

    Args:
        path: named in the problems.
        content: of the file, or of standard input.

    Returns:
        The questions, and the lines that are none. Blank lines are neither.

    Raises:
        DataError: if there is no question at all.
    """
    questions: list[Query] = []
    problems: list[Problem] = []
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.lstrip().startswith(b"{"):
        for entry in read_json_lines(path, content):
            if isinstance(entry, Problem):
                problems.append(entry)
                continue
            line, record = entry
            query, video = record.get("query"), record.get("video")
            if not isinstance(query, str) or not query.strip():
                problems.append(Problem(path, line, "no query"))
            elif not is_unicode(query):
                problems.append(Problem(path, line, "the query holds half of a surrogate pair"))
            elif video is not None and not isinstance(video, str):
                problems.append(Problem(path, line, "the video is not a string"))
            else:
                questions.append(Query(query.strip(), video))
    else:
        if _is_json_list(content):
            raise DataError(f"{path}: one sentence, or one JSON object, a line; not a JSON list")
        for number, raw in enumerate(content.splitlines(), 1):
            try:
                sentence = raw.decode("utf-8").strip()
            except UnicodeDecodeError:
                problems.append(Problem(path, number, "not in UTF-8"))
                continue
            if sentence:
                questions.append(Query(sentence))
    if not questions:
        raise DataError(f"{path}: no sentence in it" + "".join(f" ({problem})" for problem in problems[:1]))
    return questions, problems


def assign(questions: Sequence[Query], videos: Iterable[VideoFile]) -> tuple[dict[VideoFile, list[str]], list[str]]:
    """The sentences of each video, in order and each once, and the names of videos that are asked about but not there.

    A question names its video by its path or the last parts of that, with or without suffix: `videos/a.mp4`, `a`.
    """
    of_all = [(place, question.query) for place, question in enumerate(questions) if question.video is None]
    named: dict[str, list[tuple[int, str]]] = {}
    for place, question in enumerate(questions):
        if question.video is not None:
            named.setdefault(PurePath(question.video).as_posix(), []).append((place, question.query))
    asked: dict[VideoFile, list[str]] = {}
    missing = dict.fromkeys(named)
    for video in videos:
        sentences = list(of_all)
        for name in _names(video.path):
            if name in named:
                sentences += named[name]
                missing.pop(name, None)
        if sentences:
            asked[video] = list(dict.fromkeys(query for _, query in sorted(sentences)))
    return asked, list(missing)


def _names(path: Path) -> set[str]:
    """What a video may be called."""
    names = {path.as_posix(), path.with_suffix("").as_posix()}
    for whole in (path.absolute(), path.absolute().with_suffix("")):
        names.add(whole.as_posix())
        names |= {"/".join(whole.parts[place:]) for place in range(1, len(whole.parts))}
    return names


def _is_json_list(content: bytes) -> bool:
    """Is it a JSON list? A sentence may well begin with a bracket."""
    try:
        return isinstance(json.loads(content), list)
    except (ValueError, RecursionError):
        return False
