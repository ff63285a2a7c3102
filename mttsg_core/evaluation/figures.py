"""Which figures an evaluation gives, what each query adds to each of them, and how sure they are.

A figure is the mean over queries of one column of values in percent. A query that does not count in a figure (mAP of
short moments, where it has none) holds NaN there. Every other module takes means and intervals from these columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import ConfigError, DataError
from mttsg_core.evaluation.metrics import (
    AP_IOUS,
    LENGTH_RANGES,
    RECALL_AT,
    RECALL_IOUS,
    Ranked,
    Truths,
    average_precision,
    moments_of_length,
    query_values,
)
from mttsg_core.moments import FloatArray

SAMPLES, LEVEL = 1000, 0.95  # draws of a bootstrap, and the share of them inside an interval
MOST_ANSWERS = 1000  # the largest n of R@n
_AP_SHOWN = (0.5, 0.75)
_DRAWS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class MetricConfig:
    """What is measured.

    Attributes:
        ns, ious: R@n,IoU=m for every n with every m.
        strict: a hit is IoU > m instead of IoU >= m.
        precision: mAP as well, which takes a little longer.

    Raises:
        ConfigError: if an n is not in 1..1000, or an m is not in 0..1.
    """

    ns: tuple[int, ...] = RECALL_AT
    ious: tuple[float, ...] = RECALL_IOUS
    strict: bool = False
    precision: bool = False

    def __post_init__(self) -> None:
        if not self.ns or not self.ious:
            raise ConfigError("recall needs at least one n and one IoU")
        for n in self.ns:
            if not 1 <= n <= MOST_ANSWERS:
                raise ConfigError(f"R@n needs n of 1 to {MOST_ANSWERS}, not {n}")
        for iou in self.ious:
            if not 0 <= iou <= 1:
                raise ConfigError(f"an IoU is between 0 and 1, not {iou:g}")

    @property
    def headline(self) -> str:
        """The figure to show where there is room for one: R@1,IoU=0.5, or the nearest to it."""
        iou = min(self.ious, key=lambda iou: abs(iou - 0.5))
        return f"R@{min(self.ns)},IoU={iou:g}"


DEFAULT = MetricConfig()


def figure_values(truths: Truths, predictions: Ranked, measures: MetricConfig) -> dict[str, FloatArray]:
    """What each query adds to each figure, (queries,) in percent; NaN where it does not count.

    Raises:
        DataError: if there are no queries, a query has no true moment, or the lengths differ.
    """
    values = query_values(truths, predictions, measures.ns, measures.ious, strict=measures.strict)
    if not measures.precision:
        return values
    precision = 100 * average_precision(truths, predictions, strict=measures.strict)
    values["mAP"] = precision.mean(axis=1)
    values |= {f"mAP@{iou:g}": precision[:, AP_IOUS.index(iou)] for iou in _AP_SHOWN}
    for name, (low, high) in LENGTH_RANGES.items():
        kept, moments = moments_of_length(truths, low, high)
        if kept:
            column = np.full(len(truths), np.nan)
            inside = average_precision(moments, [predictions[query] for query in kept], strict=measures.strict)
            column[kept] = 100 * inside.mean(axis=1)
            values[f"mAP-{name}"] = column
    return values


def mean_figures(values: Mapping[str, FloatArray]) -> dict[str, float]:
    """The figures themselves; one in which no query counts is left out."""
    counted = {name: column[~np.isnan(column)] for name, column in values.items()}
    return {name: float(column.mean()) for name, column in counted.items() if column.size}


def bootstrap_intervals(
    columns: FloatArray,
    videos: npt.ArrayLike,
    samples: int = SAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> FloatArray:
    """Percentile intervals of the means of many columns at once, (columns, 2), when whole videos are drawn again.

    One set of draws serves all columns; for a column without NaN it is that of `metrics.bootstrap_interval`.

    Args:
        columns: (queries, columns), NaN where a query does not count.
        videos: (queries,) equal for queries of one video.
        samples: draws.
        seed: of the draws.
        level: share of the draws inside the interval.

    Raises:
        DataError: if there are no queries or the lengths differ.
    """
    keys = np.asarray(videos)
    if columns.ndim != 2 or not columns.size or columns.shape[:1] != keys.shape:
        raise DataError(f"a bootstrap needs one row and one video a query, not {columns.shape} and {keys.shape}")
    names, video = np.unique(keys, return_inverse=True)
    there = ~np.isnan(columns)
    filled = np.where(there, columns, 0.0)
    every = range(columns.shape[1])
    sums = np.stack([np.bincount(video, filled[:, column], len(names)) for column in every], axis=1)
    counts = np.stack([np.bincount(video, there[:, column], len(names)) for column in every], axis=1)
    rng = np.random.default_rng(seed)
    means = np.empty((samples, columns.shape[1]))
    step = max(1, _DRAWS_AT_ONCE // len(names))
    for first in range(0, samples, step):
        size = min(step, samples - first)
        drawn = rng.integers(len(names), size=(size, len(names))) + len(names) * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * len(names)).reshape(size, -1).astype(np.float64)
        number = times @ counts
        part = means[first : first + size]
        part[:] = np.nan
        np.divide(times @ sums, number, out=part, where=number > 0)
    edges = [(1 - level) / 2, (1 + level) / 2]
    return np.array([_quantiles(means[:, column], edges) for column in every])


def figure_intervals(
    values: Mapping[str, FloatArray], videos: npt.ArrayLike, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Low and high end of each figure's 95 % interval in percent, by name; those of `mean_figures`."""
    names = [name for name, column in values.items() if not np.isnan(column).all()]
    found = bootstrap_intervals(np.stack([values[name] for name in names], axis=1), videos, seed=seed)
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, found, strict=True)}


def _quantiles(means: FloatArray, edges: list[float]) -> FloatArray:
    """Over the draws in which any query counted; a column with none keeps NaN."""
    counted = means[~np.isnan(means)]
    return np.quantile(counted, edges) if counted.size else np.full(len(edges), np.nan)
