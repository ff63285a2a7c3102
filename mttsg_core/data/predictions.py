"""Answers to queries as files: what a model wrote, or what anybody else's did.

Two formats are read, both one JSON object a line: ours, `{"id", "video", "query", "moments": [[start, end, score]]}`,
and that of QVHighlights, `{"qid", "vid", "query", "pred_relevant_windows": [[start, end, score]]}`. Ours is ranked by
score. QVHighlights' stays in the order of the file, as its own evaluator takes the first window for the best.

An answer that is no span (start >= end, or not numbers) is reported and keeps its rank as an empty moment, which
overlaps nothing: leaving it out would promote the answers behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mttsg_core.data.folder import Pair
from mttsg_core.data.records import MAX_SECONDS
from mttsg_core.errors import DataError
from mttsg_core.moments import Moment
from mttsg_core.utils.json_lines import Problem, read_bytes, read_json_lines, write_json_lines


class PredictionRow(NamedTuple):
    """The ranked moments of one query, and how the file names that query; None where it does not say."""

    line: int
    id: str | None
    video: str | None
    query: str | None
    moments: list[Moment]


@dataclass(frozen=True)
class Matched:
    """Predictions in the order of the pairs that they were matched to.

    Args:
        moments: ranked moments of each pair; empty where there is no prediction.
        missing: pairs without a prediction.
        unknown: predictions that belong to none of the pairs.
    """

    moments: list[list[Moment]]
    missing: int
    unknown: int


@dataclass(frozen=True)
class Predictions:
    """A predictions file: one answer a row, and what is wrong with it. A row with a problem may still be an answer."""

    file: Path
    answers: list[PredictionRow]
    problems: list[Problem]

    @property
    def by_id(self) -> dict[str, list[Moment]]:
        """Ranked moments by id, for the rows that have one."""
        return {answer.id: answer.moments for answer in self.answers if answer.id is not None}

    def match(self, pairs: Sequence[Pair], video_key: Callable[[str], str] = str) -> Matched:
        """Find the prediction of each pair: by id, else by video and query.

        An id is not trusted where the row names another video and another query than the pair, nor where it names
        another of them and some row names both: ids such as 1, 2, 3 are common to files that have nothing to do with
        each other. Pairs with the same video and query take the
        predictions for it in the order of the file, the last one again when they run out.

        Args:
            pairs: the queries.
            video_key: maps a video's name to its canonical form, such as `DataFolder.video_key`.
        """
        by_id = {answer.id: index for index, answer in enumerate(self.answers) if answer.id is not None}
        by_text: dict[tuple[str, str], list[int]] = {}
        for index, answer in enumerate(self.answers):
            if answer.video is not None and answer.query is not None:
                by_text.setdefault((video_key(answer.video), answer.query), []).append(index)
        used: set[int] = set()
        times_asked: dict[tuple[str, str], int] = {}
        moments: list[list[Moment]] = []
        for pair in pairs:
            text = (video_key(pair.video), pair.query)
            place = by_id.get(pair.id)
            if place is not None:
                differences = self._differences(self.answers[place], text, video_key)
                if differences == 2 or (differences and text in by_text):
                    place = None
            if place is None and text in by_text:
                turn = times_asked.get(text, 0)
                times_asked[text] = turn + 1
                place = by_text[text][min(turn, len(by_text[text]) - 1)]
            moments.append([] if place is None else self.answers[place].moments)
            if place is not None:
                used.add(place)
        missing = sum(not found for found in moments)
        return Matched(moments, missing, len(self.answers) - len(used))

    @staticmethod
    def _differences(answer: PredictionRow, text: tuple[str, str], video_key: Callable[[str], str]) -> int:
        """How many of video and query the row names otherwise; 0 if it does not name both."""
        if answer.video is None or answer.query is None:
            return 0
        return (video_key(answer.video) != text[0]) + (answer.query != text[1])


def read_predictions(path: str | Path) -> Predictions:
    """Read a predictions file.

    Raises:
        DataError: if the file cannot be read, or not one of its rows is a prediction.
    """
    path = Path(path)
    answers: list[PredictionRow] = []
    problems: list[Problem] = []
    line_of: dict[str, int] = {}
    for entry in read_json_lines(path, read_bytes(path)):
        if isinstance(entry, Problem):
            problems.append(entry)
            continue
        line, record = entry
        read = _prediction_row(line, record)
        if isinstance(read, str):
            problems.append(Problem(path, line, read))
            continue
        answer, faults = read
        if answer.id is not None:
            if answer.id in line_of:
                problems.append(Problem(path, line, f"the id {answer.id!r} is used before, at {line_of[answer.id]}"))
                continue
            line_of[answer.id] = line
        problems.extend(Problem(path, line, fault) for fault in faults)
        answers.append(answer)
    if problems and not answers:
        raise DataError(f"{path}: not a predictions file ({problems[0].reason} at line {problems[0].line})")
    return Predictions(path, answers, problems)


def _prediction_row(line: int, record: Mapping[str, object]) -> tuple[PredictionRow, list[str]] | str:
    """A row's answer and what is wrong with its moments, or the reason why the row is no answer."""
    published = "pred_relevant_windows" in record
    windows = record.get("pred_relevant_windows" if published else "moments")
    identity = record.get("qid" if published else "id")
    names = [record.get("vid" if published else "video"), record.get("query")]
    if not isinstance(windows, list):
        return "no list of moments"
    if isinstance(identity, bool) or not isinstance(identity, str | int | None):
        return "the id is neither a string nor an integer"
    video, query = (name.strip() if isinstance(name, str) else None for name in names)
    if identity is None and (video is None or query is None):
        return "neither an id nor video and query"
    moments, faults = [], []
    for rank, window in enumerate(windows, start=1):
        moment = _moment(window)
        if moment.start >= moment.end:
            faults.append(f"moment {rank} is not [start, end, score] with start before end")
        moments.append(moment)
    if not published:
        moments.sort(key=lambda moment: -moment.score)
    return PredictionRow(line, None if identity is None else str(identity), video, query, moments), faults


def _moment(window: object) -> Moment:
    """The moment, or one of no length and of the same score, if it has one, that holds its rank."""
    values = [_real(value) for value in window] if isinstance(window, list) else []
    score = values[2] if len(values) > 2 else 1.0
    if len(values) < 2 or score is None:
        return Moment(0.0, 0.0, 0.0)
    start, end = values[:2] if len(values) in (2, 3) else (None, None)
    if start is None or end is None or not -MAX_SECONDS <= start < end <= MAX_SECONDS:
        return Moment(0.0, 0.0, score)
    return Moment(start, end, score)


def _real(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def write_predictions(path: str | Path, pairs: Iterable[Pair], moments: Iterable[Sequence[Moment]]) -> None:
    """Write the ranked moments of each pair in our format, unrounded and in one step: read again, they score the same.

    Raises:
        DataError: if the file cannot be written.
    """
    asked = zip(pairs, moments, strict=True)
    write_json_lines(Path(path), (_record(pair, ranked) for pair, ranked in asked))


def _record(pair: Pair, ranked: Sequence[Moment]) -> dict[str, object]:
    spans = [[float(value) for value in moment] for moment in ranked]
    return {"id": pair.id, "video": pair.video, "query": pair.query, "moments": spans}
