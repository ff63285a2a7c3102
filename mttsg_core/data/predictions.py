"""Prediction files: the ranked moments that a model gave for each query.

Two formats are read, both with one JSON object per line:

- our own, `{"id", "video", "query", "moments": [[start, end, score], ...]}`, whose moments are sorted by score;
- that of QVHighlights, `{"qid", "vid", "query", "pred_relevant_windows": [[start, end, score], ...]}`, whose windows
  keep the order of the file, because the official evaluator takes the first one for the best.

A predicted moment that is not a span (start >= end, or not numbers) is reported and keeps its rank as an empty moment,
which overlaps nothing: leaving it out would promote the moments behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mttsg_core.data.pairs import MAX_SECONDS, Pair
from mttsg_core.errors import DataError
from mttsg_core.moments import Moment
from mttsg_core.utils.json_lines import Problem, read_bytes, read_json_lines, write_json_lines


class PredictionRow(NamedTuple):
    """The ranked moments of one query, and how the file names that query; None where it does not."""

    line: int
    id: str | None
    video: str | None
    query: str | None
    moments: list[Moment]


@dataclass(frozen=True)
class MatchedPredictions:
    """Predictions in the order of the pairs that they were matched to.

    Attributes:
        moments: ranked moments of each pair; empty if there is no prediction.
        missing: number of pairs without a predicted moment.
        unknown: number of rows that belong to none of the pairs.
    """

    moments: list[list[Moment]]
    missing: int
    unknown: int


@dataclass(frozen=True)
class Predictions:
    """The content of a predictions file.

    Attributes:
        file: the predictions file.
        rows: one prediction each.
        problems: what is wrong with the file. A line may have a problem and still be a row.
    """

    file: Path
    rows: list[PredictionRow]
    problems: list[Problem]

    @property
    def by_id(self) -> dict[str, list[Moment]]:
        """Ranked moments by id, for the rows that have one."""
        return {row.id: row.moments for row in self.rows if row.id is not None}

    def match(self, pairs: Sequence[Pair], video_key: Callable[[str], str] = str) -> MatchedPredictions:
        """Find the prediction of each pair: by id, else by video and query.

        Ids such as 1, 2, 3 are common to files that have nothing to do with each other. An id is therefore ignored if
        its row names another video and another query than the pair, or if it names one of them differently and some row
        names both. Pairs with the same video and query take the predictions for it in the order of the file, and the
        last one again when they run out.

        Args:
            pairs: the queries.
            video_key: maps the names of a video to its canonical name, such as `DataFolder.video_key`.
        """
        index_of_id = {row.id: index for index, row in enumerate(self.rows) if row.id is not None}
        indices_of_text: dict[tuple[str, str], list[int]] = {}
        for index, row in enumerate(self.rows):
            if row.video is not None and row.query is not None:
                indices_of_text.setdefault((video_key(row.video), row.query), []).append(index)
        used: set[int] = set()
        repeats: dict[tuple[str, str], int] = {}
        moments: list[list[Moment]] = []
        for pair in pairs:
            text = (video_key(pair.video), pair.query)
            match = index_of_id.get(pair.id)
            if match is not None:
                differences = self._differences(self.rows[match], text, video_key)
                if differences == 2 or (differences and text in indices_of_text):
                    match = None
            if match is None and text in indices_of_text:
                repeat = repeats.get(text, 0)
                repeats[text] = repeat + 1
                match = indices_of_text[text][min(repeat, len(indices_of_text[text]) - 1)]
            moments.append([] if match is None else self.rows[match].moments)
            if match is not None:
                used.add(match)
        missing = sum(not ranked for ranked in moments)
        return MatchedPredictions(moments, missing, len(self.rows) - len(used))

    @staticmethod
    def _differences(row: PredictionRow, text: tuple[str, str], video_key: Callable[[str], str]) -> int:
        """Count which of video and query the row names differently; 0 if it does not name both."""
        if row.video is None or row.query is None:
            return 0
        return (video_key(row.video) != text[0]) + (row.query != text[1])


def read_predictions(path: str | Path) -> Predictions:
    """Read a predictions file.

    Raises:
        DataError: if the file cannot be read, or none of its rows is a prediction.
    """
    path = Path(path)
    rows: list[PredictionRow] = []
    problems: list[Problem] = []
    line_of_id: dict[str, int] = {}
    for entry in read_json_lines(path, read_bytes(path)):
        if isinstance(entry, Problem):
            problems.append(entry)
            continue
        line, record = entry
        parsed = _parse_row(line, record)
        if isinstance(parsed, str):
            problems.append(Problem(path, line, parsed))
            continue
        row, faults = parsed
        if row.id is not None:
            if row.id in line_of_id:
                problems.append(
                    Problem(path, line, f"duplicate id {row.id!r}, first used in line {line_of_id[row.id]}")
                )
                continue
            line_of_id[row.id] = line
        problems.extend(Problem(path, line, fault) for fault in faults)
        rows.append(row)
    if problems and not rows:
        raise DataError(f"{path}: not a predictions file ({problems[0].reason} at line {problems[0].line})")
    return Predictions(path, rows, problems)


def _parse_row(line: int, record: Mapping[str, object]) -> tuple[PredictionRow, list[str]] | str:
    """Return a row and what is wrong with its moments, or the reason why the object is not a prediction."""
    is_qvhighlights = "pred_relevant_windows" in record
    windows = record.get("pred_relevant_windows" if is_qvhighlights else "moments")
    identity = record.get("qid" if is_qvhighlights else "id")
    names = [record.get("vid" if is_qvhighlights else "video"), record.get("query")]
    if not isinstance(windows, list):
        return "no list of moments"
    if isinstance(identity, bool) or not isinstance(identity, str | int | None):
        return "the id is neither a string nor an integer"
    video, query = (name.strip() if isinstance(name, str) else None for name in names)
    if identity is None and (video is None or query is None):
        return "neither an id nor video and query"
    moments, faults = [], []
    for rank, window in enumerate(windows, start=1):
        moment = _parse_moment(window)
        if moment.start >= moment.end:
            faults.append(f"moment {rank} is not [start, end, score] with start before end")
        moments.append(moment)
    if not is_qvhighlights:
        moments.sort(key=lambda moment: -moment.score)
    return PredictionRow(line, None if identity is None else str(identity), video, query, moments), faults


def _parse_moment(window: object) -> Moment:
    """Return the moment; if it is not a span, an empty one that keeps its score, and thereby its rank."""
    values = [_finite_or_none(value) for value in window] if isinstance(window, list) else []
    score = values[2] if len(values) > 2 else 1.0
    if len(values) < 2 or score is None:
        return Moment(0.0, 0.0, 0.0)
    start, end = values[:2] if len(values) in (2, 3) else (None, None)
    if start is None or end is None or not -MAX_SECONDS <= start < end <= MAX_SECONDS:
        return Moment(0.0, 0.0, score)
    return Moment(start, end, score)


def _finite_or_none(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def write_predictions(path: str | Path, pairs: Iterable[Pair], moments: Iterable[Sequence[Moment]]) -> None:
    """Write the ranked moments of each pair in our own format, all of them or none.

    Numbers are not rounded, so the file scores the same as the moments.

    Raises:
        DataError: if the file cannot be written.
    """
    records = (_to_object(pair, ranked) for pair, ranked in zip(pairs, moments, strict=True))
    write_json_lines(Path(path), records)


def _to_object(pair: Pair, ranked: Sequence[Moment]) -> dict[str, object]:
    spans = [[float(value) for value in moment] for moment in ranked]
    return {"id": pair.id, "video": pair.video, "query": pair.query, "moments": spans}
