"""Temporal IoU of ranked predictions with the true moments of their query, which every metric starts from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import DataError
from mttsg_core.moments import FloatArray, span_iou

_DECIMALS = 6  # of thresholds, at most
# How far rounding may move an IoU, in units in the last place of the largest time, relative to the union. Each of four
# times is off by half a unit as written in decimals and by up to two as a sum, and enters both overlap and union.
_ROUNDING_ERRORS = 16

Span = tuple[float, float]
TrueMoments = Sequence[Sequence[Span]]
"""For each query its true moments as (start, end) in seconds, at least one."""
RankedPredictions = Sequence[Sequence[Sequence[float]]]
"""For each query its predicted moments as (start, end) or (start, end, score) in seconds, the best first."""


def exact_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> FloatArray:
    """Return the IoU of spans (..., 2) and spans (..., 2), broadcast, so that it can be compared with a threshold.

    Times such as 0.1 and 0.3 have no exact binary form, so that the IoU of decimal times can miss a threshold that it
    equals by a few units in the last place. Where it is that close to a number of at most six decimals, it is that
    number; `>=` and `>` then mean what they mean for the decimal times.

    >>> float(span_iou((0.1, 0.4), (0.1, 0.7))), float(exact_iou((0.1, 0.4), (0.1, 0.7)))
    (0.5000000000000001, 0.5)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)  # (..., 2)
    ious = span_iou(a, b)
    union = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    largest = np.maximum(np.abs(a).max(axis=-1), np.abs(b).max(axis=-1))
    error = _ROUNDING_ERRORS * np.spacing(largest) / np.where(union > 0, union, np.inf)
    rounded = np.round(ious, _DECIMALS)
    return np.where(np.abs(ious - rounded) <= error, rounded, ious)


def best_ious(true_moments: TrueMoments, predictions: RankedPredictions, top: int = 1) -> FloatArray:
    """Return the IoU of each of the first `top` predictions with its best true moment.

    >>> best_ious([[(0, 10)], [(0, 4), (6, 8)]], [[(0, 5, 0.9)], [(6, 8, 0.8), (0, 3, 0.6)]], top=2)
    array([[0.5 , 0.  ],
           [1.  , 0.75]])

    Args:
        true_moments: for each query its true moments.
        predictions: for each query its ranked predictions.
        top: number of predictions to look at, at least 1.

    Returns:
        (queries, top) in 0..1, with 0 where a query has fewer predictions.

    Raises:
        DataError: if there are no queries, a query has no true moment, the lengths differ, or `top` is less than 1.
    """
    check_aligned(true_moments, predictions)
    if top < 1:
        raise DataError(f"recall needs at least one prediction per query, not {top}")
    counts = np.array([min(len(ranked), top) for ranked in predictions])
    spans = np.array([moment[:2] for ranked in predictions for moment in ranked[:top]], dtype=np.float64).reshape(-1, 2)
    ious = np.zeros((len(true_moments), top))
    if not len(spans):
        return ious
    query = np.repeat(np.arange(len(true_moments)), counts)  # (P,) of each prediction
    rank = np.arange(len(spans)) - np.repeat(np.cumsum(counts) - counts, counts)  # (P,)
    true_counts = np.array([len(moments) for moments in true_moments])
    true_spans = np.array([span for moments in true_moments for span in moments], dtype=np.float64)
    # Pair every prediction with every true moment of its query; no padding, because a few queries have very many.
    repeats = true_counts[query]
    firsts = np.cumsum(repeats) - repeats
    offsets = np.arange(repeats.sum()) - np.repeat(firsts, repeats)
    partner = np.repeat((np.cumsum(true_counts) - true_counts)[query], repeats) + offsets
    paired = exact_iou(np.repeat(spans, repeats, axis=0), true_spans[partner])
    ious[query, rank] = np.maximum.reduceat(paired, firsts)
    return ious


def check_aligned(true_moments: TrueMoments, predictions: RankedPredictions) -> None:
    """Raise DataError unless there are queries, each with a true moment and with a list of predictions."""
    if len(true_moments) != len(predictions):
        raise DataError(f"{len(predictions)} lists of predictions for {len(true_moments)} queries")
    if not len(true_moments):
        raise DataError("there are no queries to score")
    empty = next((query for query, moments in enumerate(true_moments) if not len(moments)), None)
    if empty is not None:
        raise DataError(f"query {empty} has no true moment to score against")
