"""Average precision (AP) of ranked moments, the mAP of QVHighlights.

The figures are those of the evaluator published with QVHighlights (`standalone_eval` of Moment-DETR; Lei et al.,
NeurIPS 2021): detection AP for each query, with interpolated precision as in Pascal VOC 2011, over its first 10
predictions. A prediction matches the unmatched true moment of highest IoU, and each true moment is matched once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mttsg_core.evaluation.matching import RankedPredictions, Span, TrueMoments, check_aligned, exact_iou
from mttsg_core.moments import FloatArray

AP_IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
AP_PREDICTIONS = 10
# Moment lengths in seconds, (low, high]. QVHighlights ends the last range at 150, its longest video; here it is open.
LENGTH_RANGES: Mapping[str, Span] = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, float("inf"))}
_SHOWN_IOUS = (0.5, 0.75)
_DECIMALS = 9  # of a length in seconds: 16.1 - 6.1 is 10
_QUERIES_PER_BLOCK = 1024


def average_precision(
    true_moments: TrueMoments,
    predictions: RankedPredictions,
    ious: Sequence[float] = AP_IOUS,
    *,
    top: int | None = AP_PREDICTIONS,
    strict: bool = False,
) -> FloatArray:
    """Return the detection AP of each query at each IoU threshold.

    >>> average_precision([[(0, 10), (20, 30)]], [[(0, 10, 0.9), (12, 18, 0.8), (20, 26, 0.7)]], ious=(0.5, 0.7))
    array([[0.83333333, 0.5       ]])

    Args:
        true_moments: for each query its true moments.
        predictions: for each query its predictions. They are sorted by score, ties in the given order; a prediction
            without a score has score 1.
        ious: thresholds.
        top: number of predictions of each query that count; None counts all.
        strict: match at IoU > threshold instead of IoU >= threshold.

    Returns:
        (queries, thresholds) in 0..1.

    Raises:
        DataError: if there are no queries, a query has no true moment, or the lengths differ.
    """
    check_aligned(true_moments, predictions)
    thresholds = np.asarray(ious, dtype=np.float64)
    blocks = [slice(first, first + _QUERIES_PER_BLOCK) for first in range(0, len(true_moments), _QUERIES_PER_BLOCK)]
    return np.concatenate(
        [_block_precision(true_moments[block], predictions[block], thresholds, top, strict) for block in blocks]
    )


def mean_average_precision(
    true_moments: TrueMoments,
    predictions: RankedPredictions,
    ious: Sequence[float] = AP_IOUS,
    *,
    strict: bool = False,
) -> float:
    """Return mAP in percent: the mean of `average_precision` over queries and IoU thresholds.

    >>> mean_average_precision([[(0, 10)], [(5, 9)]], [[(0, 10, 0.9)], [(20, 30, 0.8)]])
    50.0
    """
    return float((100 * average_precision(true_moments, predictions, ious, strict=strict)).mean(axis=1).mean())


def precision_values(
    true_moments: TrueMoments, predictions: RankedPredictions, *, strict: bool = False
) -> dict[str, FloatArray]:
    """Return what each query contributes to each mAP metric: columns (queries,) in percent.

    The names are "mAP", "mAP@0.5", "mAP@0.75", "mAP-short", "mAP-middle" and "mAP-long". The mAP of a length range
    takes only true moments of that length: a query without one holds NaN, and a range that no query has is left out.

    Raises:
        DataError: as `average_precision`.
    """
    precision = 100 * average_precision(true_moments, predictions, strict=strict)
    values = {"mAP": precision.mean(axis=1)}
    values |= {f"mAP@{iou:g}": precision[:, AP_IOUS.index(iou)] for iou in _SHOWN_IOUS}
    for name, (low, high) in LENGTH_RANGES.items():
        queries, moments = select_by_length(true_moments, low, high)
        if queries:
            column = np.full(len(true_moments), np.nan)
            in_range = average_precision(moments, [predictions[query] for query in queries], strict=strict)
            column[queries] = 100 * in_range.mean(axis=1)
            values[f"mAP-{name}"] = column
    return values


def select_by_length(true_moments: TrueMoments, low: float, high: float) -> tuple[list[int], list[list[Span]]]:
    """Return the queries with a true moment of low < length <= high seconds, and those moments of each.

    >>> select_by_length([[(0, 40)], [(0, 5), (10, 60)]], 0, 10)
    ([1], [[(0, 5)]])
    """
    queries: list[int] = []
    selected: list[list[Span]] = []
    for query, spans in enumerate(true_moments):
        moments = [(start, end) for start, end in spans if low < round(end - start, _DECIMALS) <= high]
        if moments:
            queries.append(query)
            selected.append(moments)
    return queries, selected


def _block_precision(
    true_moments: TrueMoments,
    predictions: RankedPredictions,
    thresholds: FloatArray,
    top: int | None,
    strict: bool,
) -> FloatArray:
    """Return `average_precision` of a block of queries, padded to equal numbers of true moments and predictions."""
    queries, ranked = len(true_moments), [_by_score(moments[:top]) for moments in predictions]
    depths = np.array([len(moments) for moments in ranked])
    depth, width = int(depths.max()), max(map(len, true_moments))
    spans = np.zeros((queries, depth, 2))
    true_spans = np.zeros((queries, width, 2))
    unmatched = np.zeros((queries, len(thresholds), width), dtype=bool)
    for query, (moments, own_moments) in enumerate(zip(ranked, true_moments, strict=True)):
        true_spans[query, : len(own_moments)] = own_moments
        unmatched[query, :, : len(own_moments)] = True
        if moments:
            spans[query, : len(moments)] = [moment[:2] for moment in moments]
    hits = np.zeros((queries, depth, len(thresholds)), dtype=bool)
    every_query, every_threshold = np.ogrid[:queries, : len(thresholds)]
    for rank in range(depth):
        ious = exact_iou(spans[:, rank, None], true_spans)[:, None, :]  # (queries, 1, width)
        # Reversed, so that of true moments with equal IoU the last is taken, as in the published evaluator.
        candidates = np.where(unmatched, ious, -1.0)[..., ::-1]
        best = width - 1 - candidates.argmax(axis=-1)
        best_iou = candidates.max(axis=-1)
        reached = best_iou > thresholds if strict else best_iou >= thresholds
        hit = reached & (best_iou >= 0) & (depths > rank)[:, None]
        unmatched[every_query, every_threshold, best] &= ~hit
        hits[:, rank] = hit  # padded predictions are misses after the last hit: they change no precision that counts
    precision = np.cumsum(hits, axis=1) / np.arange(1, depth + 1)[None, :, None]
    interpolated = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    positives = np.array([len(moments) for moments in true_moments])[:, None]
    return np.asarray((interpolated * hits).sum(axis=1) / positives)


def _by_score(moments: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    return sorted(moments, key=lambda moment: -moment[2] if len(moment) > 2 else -1.0)
