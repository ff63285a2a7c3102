"""Prediction files: the ranked moments that a model gave for each query.

These forms are read, each as JSON objects one per line or in a list, and the last as a csv or tsv table too:

- our own, `{"id", "video", "query", "moments": [[start, end, score], ...]}`, whose moments are sorted by score, or keep
  the order of the file where one of them has none;
- that of QVHighlights, `{"qid", "vid", "query", "pred_relevant_windows": [[start, end, score], ...]}`, whose windows
  keep the order of the file, because the official evaluator takes the first one for the best;
- the moments that `mttsg ground` writes, one a row: `{"video", "query", "rank", "start", "end", "score"}`. Those of one
  video and sentence are ordered by rank, or without ranks by score.

The first two may have a score for each clip of 2 s of the video, by which the clips are ranked as highlights:
`saliency` in our own form, `pred_saliency_scores` in that of QVHighlights.

A predicted moment that is not a span (start >= end, or not numbers) is reported and keeps its rank as an empty moment,
which overlaps nothing: leaving it out would promote the moments behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mttsg_core.data.formats import columns
from mttsg_core.data.formats.base import fields_of
from mttsg_core.data.formats.documents import as_record, parse_document
from mttsg_core.data.formats.fields import plain_name
from mttsg_core.data.name_index import NameIndex, name_forms, trailing_parts
from mttsg_core.data.pairs import MAX_SECONDS, Pair
from mttsg_core.data.times import parse_seconds, with_decimal_point
from mttsg_core.errors import DataError
from mttsg_core.moments import Moment
from mttsg_core.utils.json_lines import Problem, read_bytes, read_json_lines
from mttsg_core.utils.text import normalise

_NO_SPAN = Moment(0.0, 0.0, 0.0)
_HEAD_BYTES = 1 << 16
_RANKING = ("rank", "score")


class PredictionRow(NamedTuple):
    """What was predicted for one query, and how the file names that query; None where it does not.

    Attributes:
        line: of the file.
        id, video, query: how it names the query.
        moments: ranked.
        saliency: scores of the video's clips of 2 s; empty if there are none.
    """

    line: int
    id: str | None
    video: str | None
    query: str | None
    moments: list[Moment]
    saliency: Sequence[float] = ()


@dataclass(frozen=True)
class MatchedPredictions:
    """Predictions in the order of the pairs that they were matched to.

    Attributes:
        moments: ranked moments of each pair; empty if there is no prediction.
        missing: number of pairs without a predicted moment.
        unknown: number of rows that belong to none of the pairs.
        saliency: scores of the clips of 2 s of each pair's video; empty if there are none.
    """

    moments: list[list[Moment]]
    missing: int
    unknown: int
    saliency: list[Sequence[float]] = field(default_factory=list)


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

        A video may have another path here than in the annotations, as the files that `ground` was given have: the last
        parts of it count, as far as only one of the annotated videos has them.

        Args:
            pairs: the queries.
            video_key: maps the names of a video to its canonical name, such as `DataFolder.video_key`.
        """
        texts = [(video_key(pair.video), pair.query) for pair in pairs]
        find_key = _KeyFinder((key for key, _ in texts), video_key)
        named = [
            None if row.video is None or row.query is None else (find_key(row.video), row.query) for row in self.rows
        ]
        index_of_id = {row.id: index for index, row in enumerate(self.rows) if row.id is not None}
        indices_of_text: dict[tuple[str, str], list[int]] = {}
        for index, text in enumerate(named):
            if text is not None:
                indices_of_text.setdefault(text, []).append(index)
        used: set[int] = set()
        repeats: dict[tuple[str, str], int] = {}
        moments: list[list[Moment]] = []
        saliency: list[Sequence[float]] = []
        for pair, text in zip(pairs, texts, strict=True):
            match = index_of_id.get(pair.id)
            if match is not None and (row_text := named[match]) is not None:
                differences = (row_text[0] != text[0]) + (row_text[1] != text[1])
                if differences == 2 or (differences and text in indices_of_text):
                    match = None
            if match is None and text in indices_of_text:
                repeat = repeats.get(text, 0)
                repeats[text] = repeat + 1
                match = indices_of_text[text][min(repeat, len(indices_of_text[text]) - 1)]
            moments.append([] if match is None else self.rows[match].moments)
            saliency.append(() if match is None else self.rows[match].saliency)
            if match is not None:
                used.add(match)
        missing = sum(not ranked for ranked in moments)
        return MatchedPredictions(moments, missing, len(self.rows) - len(used), saliency)


class _KeyFinder:
    """Finds the key of the annotated video that a predicted video is.

    Args:
        keys: of the annotated videos.
        video_key: maps the names of a video to its key.
    """

    def __init__(self, keys: Iterable[str], video_key: Callable[[str], str]) -> None:
        self._keys = set(keys)
        self._video_key = video_key
        self._by_name: NameIndex[str] = NameIndex()
        for key in self._keys:
            for name in trailing_parts(key):
                self._by_name.add(name, key)
        self._found: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> str:
        key = self._video_key(name)
        if key in self._keys:
            return key
        for part in trailing_parts(name_forms(name)[0].replace("\\", "/")):
            for form in name_forms(part):
                matches = self._by_name.find(form)
                if matches:
                    return matches[0] if len(matches) == 1 else key
        return key


def read_predictions(path: str | Path) -> Predictions:
    """Read a predictions file.

    Raises:
        DataError: if the file cannot be read, or none of its rows is a prediction.
    """
    path = Path(path)
    collected = _Collected(path)
    for entry in _records(path, read_bytes(path)):
        collected.add(entry)
    problems = collected.problems
    if problems and not collected.rows:
        raise DataError(f"{path}: not a predictions file ({problems[0].reason} at line {problems[0].line})")
    return Predictions(path, [row.ranked() if isinstance(row, _Moments) else row for row in collected.rows], problems)


def _records(path: Path, content: bytes) -> Iterator[tuple[int, Mapping[str, object]] | Problem]:
    """Yield the objects of a JSON list, the records of a table, or the objects of JSON lines."""
    if content.lstrip().startswith(b"["):
        document = parse_document(path, content)
        for line, value in enumerate(document if isinstance(document, list) else (), start=1):
            record = as_record(value)
            yield Problem(path, line, "not a JSON object") if record is None else (line, record)
        return
    header = columns.read_header(content[:_HEAD_BYTES].decode("utf-8", errors="replace"))
    if header is None or not {"video", "query", "start", "end"} <= header.fields.name_of.keys():
        yield from read_json_lines(path, content)
        return
    names = header.fields.name_of
    numbers = {names["start"], names["end"], *(name for name in header.columns if plain_name(name) in _RANKING)}
    table = columns.open_table(path, content)
    for entry in () if table is None else table.records:
        if isinstance(entry, Problem):
            yield entry
            continue
        cells: dict[str, str | None] = {}
        for name, cell in zip(header.columns, map(str.strip, entry[1]), strict=True):
            text = with_decimal_point(cell, certain=header.delimiter == ";") if name in numbers else cell
            cells[name] = text or None
        yield entry[0], cells


@dataclass
class _Moments:
    """The moments of one query in a file with a moment a row: of each its rank, if it has one, and the moment."""

    line: int
    id: str | None
    video: str | None
    query: str | None
    moments: list[tuple[float | None, Moment]] = field(default_factory=list)

    def ranked(self) -> PredictionRow:
        """Return them in order of rank, those without one last and by score."""
        order = sorted(self.moments, key=lambda item: (item[0] is None, item[0] or 0.0, -item[1].score))
        return PredictionRow(self.line, self.id, self.video, self.query, [moment for _, moment in order])


class _Collected:
    """The rows and problems of a file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.rows: list[PredictionRow | _Moments] = []
        self.problems: list[Problem] = []
        self._path = path
        self._line_of_id: dict[str, int] = {}
        self._moments: dict[tuple[str | None, ...], _Moments] = {}

    def add(self, entry: tuple[int, Mapping[str, object]] | Problem) -> None:
        """Add an object of the file."""
        if isinstance(entry, Problem):
            self.problems.append(entry)
            return
        line, record = entry
        parsed = _parse_row(line, record)
        if isinstance(parsed, str):
            self._report(line, parsed)
        elif isinstance(parsed, _Moments):
            self._add_moment(parsed)
        else:
            self._add_row(*parsed)

    def _add_moment(self, row: _Moments) -> None:
        known = self._moments.get((row.id, row.video, row.query))
        if known is None:
            self._moments[row.id, row.video, row.query] = row
            self.rows.append(row)
        else:
            known.moments += row.moments
        if row.moments[0][1][:2] == _NO_SPAN[:2]:
            self._report(row.line, "the moment has no start before its end")

    def _add_row(self, row: PredictionRow, faults: list[str]) -> None:
        if row.id is not None:
            if row.id in self._line_of_id:
                self._report(row.line, f"duplicate id {row.id!r}, first used in line {self._line_of_id[row.id]}")
                return
            self._line_of_id[row.id] = row.line
        for fault in faults:
            self._report(row.line, fault)
        self.rows.append(row)

    def _report(self, line: int, reason: str) -> None:
        self.problems.append(Problem(self._path, line, reason))


def _parse_row(line: int, record: Mapping[str, object]) -> tuple[PredictionRow, list[str]] | _Moments | str:
    """Return a row and what is wrong with it, a single moment, or the reason why the object is neither."""
    is_qvhighlights = "pred_relevant_windows" in record
    windows = record.get("pred_relevant_windows" if is_qvhighlights else "moments")
    identity = record.get("qid" if is_qvhighlights else "id")
    names = [record.get("vid" if is_qvhighlights else "video"), record.get("query")]
    if isinstance(identity, bool) or not isinstance(identity, str | int | None):
        return "the id is neither a string nor an integer"
    if not isinstance(windows, list):
        return _parse_single(line, record)
    video, query = (name.strip() if isinstance(name, str) else None for name in names)
    if identity is None and (video is None or query is None):
        return "neither an id nor video and query"
    moments, faults = [], []
    for rank, window in enumerate(windows, start=1):
        moment = _parse_moment(window)
        if moment.start >= moment.end:
            faults.append(f"moment {rank} is not [start, end, score] with start before end")
        moments.append(moment)
    if not is_qvhighlights and not any(map(_has_no_score, windows)):
        moments.sort(key=lambda moment: -moment.score)
    name = "pred_saliency_scores" if is_qvhighlights else "saliency"
    saliency = _parse_saliency(record.get(name))
    if saliency is None:
        faults.append(f"{name} is not a list of numbers, and is left out")
    query = None if query is None else normalise(query)
    row = PredictionRow(
        line, None if identity is None else str(identity), video, query, moments, saliency if saliency else ()
    )
    return row, faults


def _parse_saliency(value: object) -> list[float] | None:
    """Return the scores of clips, empty if there are none; None if the value is something else."""
    if value is None:
        return []
    if not isinstance(value, list):
        return None
    scores = [score for score in map(_finite_or_none, value) if score is not None]
    return scores if len(scores) == len(value) else None


def _parse_single(line: int, record: Mapping[str, object]) -> _Moments | str:
    """Return the moment of a row with one, as `ground` writes it; a row without rank and score is an annotation."""
    ranking = {name: value for key, value in record.items() if (name := plain_name(key)) in _RANKING}
    fields = fields_of(record).name_of
    if not ranking or "start" not in fields or "end" not in fields:
        return "no list of moments"
    values = {name: record[key] for name, key in fields.items()}
    video, query, identity = values.get("video"), values.get("query"), values.get("id")
    if not isinstance(video, str) or not isinstance(query, str):
        return "no video and query"
    rank, score = (_finite_or_none(parse_seconds(ranking.get(name))) for name in _RANKING)
    span = [parse_seconds(values[name]) for name in ("start", "end")]
    moment = _parse_moment([*span, 1.0 if score is None else score])
    name_of_row = None if identity is None else str(identity)
    return _Moments(line, name_of_row, video.strip(), normalise(query.strip()), [(rank, moment)])


def _parse_moment(window: object) -> Moment:
    """Return the moment; if it is not a span, an empty one that keeps its score, and thereby its rank."""
    values = [_finite_or_none(value) for value in window] if isinstance(window, list) else []
    score = values[2] if len(values) > 2 and not _has_no_score(window) else 1.0
    if len(values) < 2 or score is None:
        return _NO_SPAN
    start, end = values[:2] if len(values) in (2, 3) else (None, None)
    if start is None or end is None or not -MAX_SECONDS <= start < end <= MAX_SECONDS:
        return Moment(0.0, 0.0, score)
    return Moment(start, end, score)


def _has_no_score(window: object) -> bool:
    """Return whether the score of a moment is left open, as where nothing is calibrated."""
    return isinstance(window, list) and len(window) == 3 and window[2] is None


def _finite_or_none(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
