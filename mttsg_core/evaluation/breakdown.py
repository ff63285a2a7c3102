"""Where a model is good and where it is not: the same figures over groups of queries.

Groups of numbers are quarters of the queries, named by their own smallest and largest value, so that each is large
enough for its figures to mean something. Of several true moments, the longest says a query's length and position.
Every query is in exactly one group of each kind; those that cannot be told are in a group of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mttsg_core.data.folder import Pair
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.evaluation.figures import bootstrap_intervals
from mttsg_core.moments import FloatArray

UNKNOWN = "not known"
_THIRDS = ("first third", "middle third", "last third")
_QUARTERS = (0.25, 0.5, 0.75)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Group:
    """Some queries: `queries` are their places, ascending; `kind` is by what they were told apart."""

    kind: str
    name: str
    queries: npt.NDArray[np.intp]


@dataclass(frozen=True)
class GroupFigures:
    """The figures of a group, in percent, with their intervals.

    Attributes:
        kind, name: of the group.
        queries, videos: how many.
        metrics: figures by name.
        intervals: low and high end of each.
    """

    kind: str
    name: str
    queries: int
    videos: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def vocabulary(sentences: Iterable[str]) -> frozenset[str]:
    """The words of sentences, without regard to letter case."""
    return frozenset(word for sentence in sentences for word in words_of(sentence))


def words_of(sentence: str) -> list[str]:
    """The words of a sentence in small letters, without punctuation."""
    return _WORD.findall(sentence.casefold())


def group_queries(
    pairs: Sequence[Pair], durations: Sequence[float | None], seen: frozenset[str] | None = None
) -> list[Group]:
    """The queries by moment length, position of the moment, video length, sentence length, and whether words are new.

    Args:
        pairs: with moments.
        durations: seconds of each pair's video.
        seen: words of the training sentences; None leaves that kind out.
    """
    spans = np.array([max(pair.moments, key=lambda span: span[1] - span[0]) for pair in pairs], dtype=np.float64)
    lengths = np.array([np.nan if duration is None else duration for duration in durations], dtype=np.float64)
    words = np.array([len(pair.query.split()) for pair in pairs], dtype=np.float64)
    groups = _quarters("moment length", spans[:, 1] - spans[:, 0], "{:.1f}", "s")
    groups += _thirds("moment position", spans.mean(axis=1) / lengths)
    groups += _quarters("video length", lengths, "{:.1f}", "s")
    groups += _quarters("sentence length", words, "{:.0f}", "words")
    if seen is not None:
        new = np.array([any(word not in seen for word in words_of(pair.query)) for pair in pairs])
        groups += _named("words", [("seen in training", ~new), ("some not seen", new)])
    return groups


def break_down(evaluation: Evaluation, groups: Sequence[Group]) -> list[GroupFigures]:
    """The recall and mIoU of each group."""
    if not groups:
        return []
    names = [name for name in evaluation.values if not name.startswith("mAP")]
    values = np.stack([evaluation.values[name] for name in names], axis=1)
    videos = evaluation.video_index
    columns = np.full((len(values), len(groups), len(names)), np.nan)
    for place, group in enumerate(groups):
        columns[group.queries, place] = values[group.queries]
    intervals = bootstrap_intervals(columns.reshape(len(values), -1), videos).reshape(len(groups), len(names), 2)
    return [
        GroupFigures(
            kind=group.kind,
            name=group.name,
            queries=len(group.queries),
            videos=len(np.unique(videos[group.queries])),
            metrics=dict(zip(names, values[group.queries].mean(axis=0).tolist(), strict=True)),
            intervals={name: (float(low), float(high)) for name, (low, high) in zip(names, bounds, strict=True)},
        )
        for group, bounds in zip(groups, intervals, strict=True)
    ]


def _quarters(kind: str, values: FloatArray, form: str, unit: str) -> list[Group]:
    """Quarters of the queries by their value; values that are shown alike stay together. NaN is not known."""
    known = ~np.isnan(values)
    if not known.any():
        return _named(kind, [(UNKNOWN, ~known)])
    edges = np.unique(np.quantile(values[known], _QUARTERS, method="lower"))
    place = np.searchsorted(edges, values, side="left")
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for number in range(len(edges) + 1):
        inside = known & (place == number)
        if inside.any():
            low, high = (form.format(edge) for edge in (values[inside].min(), values[inside].max()))
            said = low if low == high else f"{low}–{high}"
            name = f"{said} {unit.removesuffix('s') if said == '1' else unit}"
            found[name] = found.get(name, False) | inside
    return _named(kind, [*found.items(), (UNKNOWN, ~known)])


def _thirds(kind: str, shares: FloatArray) -> list[Group]:
    """By thirds of the video; NaN is not known. A moment past the video's end lies in the last third."""
    known = ~np.isnan(shares)
    place = np.clip(np.floor(np.where(known, shares, 0) * 3), 0, 2)
    named = [(name, known & (place == number)) for number, name in enumerate(_THIRDS)]
    return _named(kind, [*named, (UNKNOWN, ~known)])


def _named(kind: str, masks: Sequence[tuple[str, npt.NDArray[np.bool_]]]) -> list[Group]:
    """The groups that have queries."""
    return [Group(kind, name, np.flatnonzero(mask)) for name, mask in masks if mask.any()]
