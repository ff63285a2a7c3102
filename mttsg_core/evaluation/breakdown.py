"""Metrics over groups of queries: where a model does well and where it does not.

Numeric properties are split into quarters of the queries, each named by its own smallest and largest value, so that
every group is large enough for its metrics to be meaningful. Where a query has several true moments, the longest one
decides its length and position. Every query is in exactly one group of each kind; queries whose value is not known form
a group of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.bootstrap import bootstrap_intervals
from mttsg_core.evaluation.metric_names import metric_kinds
from mttsg_core.moments import FloatArray
from mttsg_core.utils.text import find_words, normalise

UNKNOWN = "not known"
_THIRDS = ("first third", "middle third", "last third")
_QUARTERS = (0.25, 0.5, 0.75)

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """A group of queries.

    Attributes:
        kind: the property that the groups of this kind differ in.
        name: of the group.
        queries: their indices, ascending.
    """

    kind: str
    name: str
    queries: npt.NDArray[np.intp]


@dataclass(frozen=True)
class GroupMetrics:
    """The metrics of a group in percent, with their intervals.

    Attributes:
        kind, name: of the group.
        queries, videos: how many it has.
        metrics: by name.
        intervals: low and high end of each.
    """

    kind: str
    name: str
    queries: int
    videos: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def vocabulary(sentences: Iterable[str]) -> frozenset[str]:
    """Return the words of sentences, case-folded."""
    return frozenset(word for sentence in sentences for word in words_of(sentence))


def words_of(sentence: str) -> list[str]:
    """Return the case-folded words of a sentence, without punctuation."""
    return find_words(normalise(sentence.casefold()), r"[^\W_]", "'’", joined="*")


def group_queries(
    pairs: Sequence[Pair], durations: Sequence[float | None], seen_words: frozenset[str] | None = None
) -> list[Group]:
    """Group queries by moment length, moment position, video length, sentence length, and whether words are new.

    Args:
        pairs: the queries with their true moments.
        durations: seconds of each pair's video.
        seen_words: words of the training sentences; None leaves that kind out.
    """
    spans = np.array([max(pair.moments, key=lambda span: span[1] - span[0]) for pair in pairs], dtype=np.float64)
    lengths = np.array([np.nan if duration is None else duration for duration in durations], dtype=np.float64)
    words = np.array([len(pair.query.split()) for pair in pairs], dtype=np.float64)
    groups = _quarters("moment length", spans[:, 1] - spans[:, 0], "{:.1f}", "s")
    groups += _thirds("moment position", spans.mean(axis=1) / lengths)
    groups += _quarters("video length", lengths, "{:.1f}", "s")
    groups += _quarters("sentence length", words, "{:.0f}", "words")
    if seen_words is not None:
        new = np.array([any(word not in seen_words for word in words_of(pair.query)) for pair in pairs])
        groups += _nonempty("words", [("seen in training", ~new), ("some not seen", new)])
    return groups


def break_down(
    query_values: Mapping[str, FloatArray], videos: npt.NDArray[np.int64], groups: Sequence[Group]
) -> list[GroupMetrics]:
    """Return the recall and mIoU of each group.

    Args:
        query_values: of one evaluation, or averaged over several; see `metrics.query_values`.
        videos: the number of each query's video, (queries,).
        groups: see `group_queries`.
    """
    if not groups:
        return []
    names = metric_kinds(query_values)["Recall"]
    values = np.stack([query_values[name] for name in names], axis=1)  # (queries, metrics)
    columns = np.full((len(values), len(groups), len(names)), np.nan)
    for number, group in enumerate(groups):
        columns[group.queries, number] = values[group.queries]
    intervals = bootstrap_intervals(columns.reshape(len(values), -1), videos).reshape(len(groups), len(names), 2)
    return [
        GroupMetrics(
            kind=group.kind,
            name=group.name,
            queries=len(group.queries),
            videos=len(np.unique(videos[group.queries])),
            metrics=dict(zip(names, values[group.queries].mean(axis=0).tolist(), strict=True)),
            intervals={name: (float(low), float(high)) for name, (low, high) in zip(names, ends, strict=True)},
        )
        for group, ends in zip(groups, intervals, strict=True)
    ]


def _quarters(kind: str, values: FloatArray, number_format: str, unit: str) -> list[Group]:
    """Split queries into quarters by value; values that are displayed alike stay together. NaN is not known."""
    valid = ~np.isnan(values)
    if not valid.any():
        return _nonempty(kind, [(UNKNOWN, ~valid)])
    edges = np.unique(np.quantile(values[valid], _QUARTERS, method="lower"))
    quarter = np.searchsorted(edges, values, side="left")
    masks: dict[str, BoolArray] = {}
    for number in range(len(edges) + 1):
        mask = valid & (quarter == number)
        if mask.any():
            low, high = (number_format.format(edge) for edge in (values[mask].min(), values[mask].max()))
            label = low if low == high else f"{low}–{high}"
            name = f"{label} {unit.removesuffix('s') if label == '1' else unit}"
            masks[name] = masks.get(name, False) | mask
    return _nonempty(kind, [*masks.items(), (UNKNOWN, ~valid)])


def _thirds(kind: str, positions: FloatArray) -> list[Group]:
    """Split queries by thirds of the video. NaN is not known; a moment past the video's end is in the last third."""
    valid = ~np.isnan(positions)
    third = np.clip(np.floor(np.where(valid, positions, 0) * 3), 0, 2)
    masks = [(name, valid & (third == number)) for number, name in enumerate(_THIRDS)]
    return _nonempty(kind, [*masks, (UNKNOWN, ~valid)])


def _nonempty(kind: str, masks: Sequence[tuple[str, BoolArray]]) -> list[Group]:
    """Return the groups that have queries."""
    return [Group(kind, name, np.flatnonzero(mask)) for name, mask in masks if mask.any()]
