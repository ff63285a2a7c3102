"""Metrics of temporal sentence grounding: pure functions of true moments and ranked predictions, in seconds.

    >>> from mttsg_core import metrics
    >>> true_moments = [[(2.0, 8.0)], [(0.0, 4.0), (10.0, 12.0)]]
    >>> predictions = [[(2.0, 9.0, 0.9)], [(11.0, 12.0, 0.8), (0.0, 4.0, 0.7)]]
    >>> metrics.recall_at(true_moments, predictions, n=1, iou=0.7)
    50.0
    >>> metrics.compute_metrics(true_moments, predictions)["R@5,IoU=0.7"]
    100.0

Conventions, the same as in the published evaluators:

- R@n,IoU=m: the share of queries for which any of the first n predictions has IoU >= m (`strict`: > m) with a true
  moment. mIoU: the mean IoU of the first prediction. Of several true moments, the best overlapping one counts.
- An IoU that equals a threshold in decimals equals it here, whatever binary rounding does to it (`matching.exact_iou`).
- mAP: see `average_precision`. Over the first 10 predictions; the mean over queries and over IoU 0.5, 0.55, ..., 0.95.
- mAP of a length range: only true moments of that length, and queries that have one, with all their predictions.
- A query without a prediction counts as a miss, with IoU and AP 0.
- Highlight scores: see `highlights`.
- Predictions count in the order given, best first. AP sorts them by score again; equal scores keep that order.
- No non-maximum suppression is applied: predictions are scored as given.

Named metrics are percentages, `best_ious` and `average_precision` are in 0..1; nothing is rounded. A metric is the mean
over queries of one column of `query_values`: means, intervals and breakdowns are all taken from these columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mttsg_core.data.clip_ratings import CLIP_SECONDS
from mttsg_core.errors import ConfigError
from mttsg_core.evaluation.average_precision import (
    AP_IOUS,
    AP_PREDICTIONS,
    LENGTH_RANGES,
    average_precision,
    mean_average_precision,
    precision_values,
    select_by_length,
)
from mttsg_core.evaluation.bootstrap import LEVEL, SAMPLES, bootstrap_interval, bootstrap_intervals
from mttsg_core.evaluation.highlights import RELEVANCE, highlight_values
from mttsg_core.evaluation.matching import RankedPredictions, TrueMoments, best_ious
from mttsg_core.evaluation.metric_names import convention_sentences, heading_lines, metric_kinds
from mttsg_core.moments import FloatArray

__all__ = [
    "AP_IOUS",
    "AP_PREDICTIONS",
    "LENGTH_RANGES",
    "LEVEL",
    "RELEVANCE",
    "SAMPLES",
    "MetricConfig",
    "average_precision",
    "best_ious",
    "bootstrap_interval",
    "bootstrap_intervals",
    "compute_metrics",
    "convention_sentences",
    "conventions",
    "heading_lines",
    "highlight_values",
    "hits_at",
    "mean_average_precision",
    "mean_iou",
    "mean_values",
    "metric_intervals",
    "metric_kinds",
    "query_values",
    "recall_at",
    "select_by_length",
]

MAX_N = 1000  # the largest n of R@n


@dataclass(frozen=True)
class MetricConfig:
    """Which metrics an evaluation computes.

    Attributes:
        ns, ious: R@n,IoU=m for every n with every m.
        strict: whether a hit is IoU > m instead of IoU >= m.
        average_precision: whether to compute mAP as well, which takes a little longer.
        highlights: whether to compute highlight scores, where queries have ratings and predictions scores of clips.

    Raises:
        ConfigError: if there is no n or no m, an n is not in 1..1000, or an m is not in 0..1.
    """

    ns: tuple[int, ...] = (1, 5)
    ious: tuple[float, ...] = (0.3, 0.5, 0.7)
    strict: bool = False
    average_precision: bool = False
    highlights: bool = False

    def __post_init__(self) -> None:
        if not self.ns or not self.ious:
            raise ConfigError("recall needs at least one n and one IoU")
        for n in self.ns:
            if not 1 <= n <= MAX_N:
                raise ConfigError(f"R@n needs n of 1 to {MAX_N}, not {n}")
        for iou in self.ious:
            if not 0 <= iou <= 1:
                raise ConfigError(f"an IoU is between 0 and 1, not {iou:g}")

    @property
    def headline(self) -> str:
        """The metric to show where there is room for one: R@1,IoU=0.5, or the nearest to it."""
        iou = min(self.ious, key=lambda iou: abs(iou - 0.5))
        return f"R@{min(self.ns)},IoU={iou:g}"


DEFAULT_CONFIG = MetricConfig()


def recall_at(
    true_moments: TrueMoments,
    predictions: RankedPredictions,
    n: int = 1,
    iou: float = 0.5,
    *,
    strict: bool = False,
) -> float:
    """Return R@n,IoU=iou in percent.

    >>> recall_at([[(0, 10)], [(0, 10)]], [[(0, 5, 0.9)], [(7, 9, 0.9), (0, 8, 0.5)]], n=1, iou=0.5)
    50.0

    Raises:
        DataError: as `best_ious`.
    """
    hits = hits_at(best_ious(true_moments, predictions, n), n, iou, strict=strict)
    return float((100.0 * hits).mean())


def mean_iou(true_moments: TrueMoments, predictions: RankedPredictions) -> float:
    """Return mIoU in percent, the mean IoU of the first prediction.

    >>> mean_iou([[(0, 10)], [(0, 10)]], [[(0, 5, 0.9)], []])
    25.0

    Raises:
        DataError: as `best_ious`.
    """
    return float((100 * best_ious(true_moments, predictions)[:, 0]).mean())


def compute_metrics(
    true_moments: TrueMoments, predictions: RankedPredictions, config: MetricConfig = DEFAULT_CONFIG
) -> dict[str, float]:
    """Return all metrics of `config` in percent, by name: "R@1,IoU=0.3", ..., "R@5,IoU=0.7", "mIoU", "mAP", ...

    >>> compute_metrics([[(0, 10)]], [[(0, 6, 0.9)]], MetricConfig(ns=(1,), ious=(0.5, 0.7)))
    {'R@1,IoU=0.5': 100.0, 'R@1,IoU=0.7': 0.0, 'mIoU': 60.0}

    Raises:
        DataError: if there are no queries, a query has no true moment, or the lengths differ.
    """
    return mean_values(query_values(true_moments, predictions, config))


def query_values(
    true_moments: TrueMoments, predictions: RankedPredictions, config: MetricConfig = DEFAULT_CONFIG
) -> dict[str, FloatArray]:
    """Return what each query contributes to each metric: columns (queries,) in percent, NaN where it does not count.

    Raises:
        DataError: if there are no queries, a query has no true moment, or the lengths differ.
    """
    ious = best_ious(true_moments, predictions, max(config.ns))  # (queries, n)
    values: dict[str, FloatArray] = {
        f"R@{n},IoU={iou:g}": 100 * hits_at(ious, n, iou, strict=config.strict).astype(np.float64)
        for n in config.ns
        for iou in config.ious
    }
    values["mIoU"] = 100 * ious[:, 0]
    if config.average_precision:
        values |= precision_values(true_moments, predictions, strict=config.strict)
    return values


def hits_at(ious: FloatArray, n: int, iou: float, *, strict: bool = False) -> npt.NDArray[np.bool_]:
    """Return whether one of the first n predictions hits, (queries,), from their `best_ious` (queries, at least n)."""
    best = ious[:, :n].max(axis=1)
    return np.asarray(best > iou if strict else best >= iou)


def mean_values(values: Mapping[str, FloatArray]) -> dict[str, float]:
    """Return the mean of each column of `query_values`; a column in which no query counts is left out."""
    counted = {name: column[~np.isnan(column)] for name, column in values.items()}
    return {name: float(column.mean()) for name, column in counted.items() if column.size}


def metric_intervals(
    values: Mapping[str, FloatArray], videos: npt.ArrayLike, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return the low and high end of each metric's 95 % interval in percent, by name; see `bootstrap_intervals`.

    Args:
        values: columns of `query_values`.
        videos: (queries,), equal for queries of one video.
        seed: of the draws.
    """
    names = [name for name, column in values.items() if not np.isnan(column).all()]
    intervals = bootstrap_intervals(np.stack([values[name] for name in names], axis=1), videos, seed=seed)
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, intervals, strict=True)}


def conventions(*, strict: bool = False, nms: str = "none", highlights: bool = False) -> dict[str, str]:
    """Return what the metrics of a report mean, to be written beside them.

    Args:
        strict: as in `MetricConfig`.
        nms: the non-maximum suppression applied to the predictions beforehand.
        highlights: whether there are highlight scores.
    """
    levels = ", ".join(f"{lowest} ({level})" for level, lowest in RELEVANCE.items())
    found = {
        "hit": "IoU > m" if strict else "IoU >= m",
        "nms": nms,
        "no_prediction": "counts as a miss",
        "several_true_moments": "the best overlapping one counts",
        "mAP": f"interpolated, first {AP_PREDICTIONS} predictions, mean over IoU 0.5:0.05:0.95",
    }
    if highlights:
        found["highlights"] = (
            f"clips of {CLIP_SECONDS:g} s rated at least {levels}; mAP is a mean over annotators, "
            "HIT@1 counts any of them"
        )
    return found
