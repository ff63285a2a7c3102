"""How good answers are. Pure functions of true moments and ranked predictions, both in seconds, aligned by query.

Conventions, the same as in the published evaluators:

- R@n,IoU=m: the share of queries with at least one of the first n predictions at IoU >= m (`strict`: > m) with a true
  moment. mIoU: the mean IoU of the first prediction. Of several true moments, the best overlapping one counts.
- mAP: detection AP for each query, with interpolated precision (Pascal VOC 2011), over its first 10 predictions; the
  mean over queries, then over the thresholds 0.5, 0.55, ..., 0.95. A prediction matches the free true moment of best
  IoU; a true moment is matched once. This is the evaluator of QVHighlights (`standalone_eval` of Moment-DETR).
- mAP of a length range: only true moments of that length, and queries that have one, with all their predictions.
- A query without a prediction counts as a miss, with IoU and AP 0.
- Predictions count in the order given, best first. AP sorts them by score again; equal scores keep that order.
- No non-maximum suppression happens here: what is given is scored.

Nothing is rounded, neither moments, nor IoUs, nor results. Results are percentages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import DataError
from mttsg_core.moments import FloatArray, span_iou

Span = tuple[float, float]
Truths = Sequence[Sequence[Span]]
Ranked = Sequence[Sequence[Sequence[float]]]  # moments as (start, end) or (start, end, score), best first

RECALL_AT = (1, 5)
RECALL_IOUS = (0.3, 0.5, 0.7)
AP_IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
AP_PREDICTIONS = 10
# Seconds, (low, high]: QVHighlights' ranges, whose longest video is 150 s; here the last one has no upper end.
LENGTH_RANGES: Mapping[str, Span] = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, float("inf"))}
_BLOCK = 1024


def conventions(*, strict: bool = False, nms: str = "none") -> dict[str, str]:
    """What the figures of an output mean, to be written beside them.

    Args:
        strict: as given to the metrics.
        nms: how the predictions were thinned out before they came here.
    """
    return {
        "hit": "IoU > m" if strict else "IoU >= m",
        "nms": nms,
        "no_prediction": "counts as a miss",
        "several_true_moments": "the best overlapping one counts",
        "mAP": f"interpolated, first {AP_PREDICTIONS} predictions, mean over IoU 0.5:0.05:0.95",
    }


def best_ious(truths: Truths, predictions: Ranked, top: int = 1) -> FloatArray:
    """IoU of each of the first `top` predictions with its best true moment, (queries, top); 0 where there is none.

    Raises:
        DataError: if there are no queries, a query has no true moment, or the lengths differ.
    """
    _check(truths, predictions)
    if top < 1:
        raise DataError(f"recall needs at least one prediction a query, not {top}")
    counts = np.array([min(len(ranked), top) for ranked in predictions])
    spans = np.array([moment[:2] for ranked in predictions for moment in ranked[:top]], dtype=np.float64).reshape(-1, 2)
    query = np.repeat(np.arange(len(truths)), counts)
    rank = np.arange(len(spans)) - np.repeat(np.cumsum(counts) - counts, counts)
    ious = np.zeros((len(truths), top))
    if not len(spans):
        return ious
    true_counts = np.array([len(moments) for moments in truths])
    true_spans = np.array([span for moments in truths for span in moments], dtype=np.float64)
    # Every prediction next to every true moment of its query, without padding: some queries have many.
    repeats = true_counts[query]
    firsts = np.cumsum(repeats) - repeats
    offsets = np.arange(repeats.sum()) - np.repeat(firsts, repeats)
    partner = np.repeat((np.cumsum(true_counts) - true_counts)[query], repeats) + offsets
    paired = span_iou(np.repeat(spans, repeats, axis=0), true_spans[partner])
    ious[query, rank] = np.maximum.reduceat(paired, firsts)
    return ious


def recall_at(ious: FloatArray, n: int, threshold: float, *, strict: bool = False) -> float:
    """R@n,IoU=threshold in percent, from the IoUs (queries, at least n) of ranked predictions."""
    return float(100 * _hits(ious, n, threshold, strict).mean())


def query_values(
    truths: Truths,
    predictions: Ranked,
    ns: Sequence[int] = RECALL_AT,
    ious: Sequence[float] = RECALL_IOUS,
    *,
    strict: bool = False,
) -> dict[str, FloatArray]:
    """What each query adds to each figure of `summarise`, (queries,) in percent: their mean is that figure."""
    overlaps = best_ious(truths, predictions, max(ns, default=1))
    values: dict[str, FloatArray] = {"mIoU": 100 * overlaps[:, 0]}
    hits = {f"R@{n},IoU={m:g}": 100 * _hits(overlaps, n, m, strict).astype(np.float64) for n in ns for m in ious}
    return hits | values


def summarise(
    truths: Truths,
    predictions: Ranked,
    ns: Sequence[int] = RECALL_AT,
    ious: Sequence[float] = RECALL_IOUS,
    *,
    strict: bool = False,
) -> dict[str, float]:
    """Recall and mIoU: keys "R@1,IoU=0.3", ..., "R@5,IoU=0.7", "mIoU", in percent.

    Args:
        truths: true moments of each query, at least one each.
        predictions: ranked predictions of each query.
        ns, ious: every n with every threshold.
        strict: count IoU > m instead of IoU >= m.

    Raises:
        DataError: if there are no queries, a query has no true moment, or the lengths differ.
    """
    values = query_values(truths, predictions, ns, ious, strict=strict)
    return {name: float(value.mean()) for name, value in values.items()}


def average_precision(
    truths: Truths,
    predictions: Ranked,
    ious: Sequence[float] = AP_IOUS,
    *,
    top: int | None = AP_PREDICTIONS,
    strict: bool = False,
) -> FloatArray:
    """Detection AP of each query at each threshold, (queries, thresholds), 0..1.

    Args:
        truths: true moments of each query, at least one each.
        predictions: ranked predictions with scores; without a score, 1.
        ious: thresholds.
        top: only so many predictions of each query count, None for all.
        strict: match at IoU > m instead of IoU >= m.

    Raises:
        DataError: if there are no queries, a query has no true moment, or the lengths differ.
    """
    _check(truths, predictions)
    levels = np.asarray(ious, dtype=np.float64)
    blocks = range(0, len(truths), _BLOCK)
    parts = [_block_precision(truths[i : i + _BLOCK], predictions[i : i + _BLOCK], levels, top, strict) for i in blocks]
    return np.concatenate(parts)


def summarise_precision(truths: Truths, predictions: Ranked, *, strict: bool = False) -> dict[str, float]:
    """mAP in percent: keys "mAP", "mAP@0.5", "mAP@0.75", "mAP-short", "mAP-middle", "mAP-long".

    A range in which no query has a true moment is left out. Arguments and errors as of `average_precision`.
    """
    precision = average_precision(truths, predictions, strict=strict)
    result = {"mAP": float(100 * precision.mean())}
    result |= {f"mAP@{m:g}": float(100 * precision[:, AP_IOUS.index(m)].mean()) for m in (0.5, 0.75)}
    for name, (low, high) in LENGTH_RANGES.items():
        kept, moments = moments_of_length(truths, low, high)
        if kept:
            precision = average_precision(moments, [predictions[query] for query in kept], strict=strict)
            result[f"mAP-{name}"] = float(100 * precision.mean())
    return result


def moments_of_length(truths: Truths, low: float, high: float) -> tuple[list[int], list[list[Span]]]:
    """The queries with a true moment of low < length <= high seconds, and those moments of each."""
    kept: list[int] = []
    moments: list[list[Span]] = []
    for query, spans in enumerate(truths):
        inside = [(start, end) for start, end in spans if low < end - start <= high]
        if inside:
            kept.append(query)
            moments.append(inside)
    return kept, moments


def bootstrap_interval(
    values: npt.ArrayLike,
    video_index: npt.ArrayLike,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the mean over queries when whole videos are drawn again, as their queries go together.

    Args:
        values: (queries,) such as one of `query_values`.
        video_index: (queries,) integers, equal for queries of one video.
        samples: draws.
        seed: of the draws.
        level: share of the draws inside the interval.

    Raises:
        DataError: if there are no queries or the lengths differ.
    """
    numbers, videos = np.asarray(values, dtype=np.float64), np.asarray(video_index)
    if numbers.ndim != 1 or not numbers.size or numbers.shape != videos.shape:
        raise DataError(f"a bootstrap needs one value and one video a query, not {numbers.shape} and {videos.shape}")
    _, video = np.unique(videos, return_inverse=True)
    sums, counts = np.bincount(video, weights=numbers), np.bincount(video)
    rng = np.random.default_rng(seed)
    means = np.empty(samples)
    step = max(1, (1 << 21) // len(sums))
    for first in range(0, samples, step):
        drawn = rng.integers(len(sums), size=(min(step, samples - first), len(sums)))
        means[first : first + step] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(truths: Truths, predictions: Ranked) -> None:
    if len(truths) != len(predictions):
        raise DataError(f"{len(predictions)} lists of predictions for {len(truths)} queries")
    if not len(truths):
        raise DataError("there are no queries to score")
    bare = next((query for query, moments in enumerate(truths) if not len(moments)), None)
    if bare is not None:
        raise DataError(f"query {bare} has no true moment to score against")


def _hits(ious: FloatArray, n: int, threshold: float, strict: bool) -> npt.NDArray[np.bool_]:
    """Whether one of the first n predictions hits, (queries,)."""
    best = ious[:, :n].max(axis=1)
    return np.asarray(best > threshold if strict else best >= threshold)


def _block_precision(
    truths: Truths, predictions: Ranked, levels: FloatArray, top: int | None, strict: bool
) -> FloatArray:
    """`average_precision` of a few queries, padded to the same number of true moments and of predictions."""
    queries, ranked = len(truths), [_by_score(moments[:top]) for moments in predictions]
    depths = np.array([len(moments) for moments in ranked])
    depth, width = int(depths.max()), max(map(len, truths))
    spans = np.zeros((queries, depth, 2))
    true_spans = np.zeros((queries, width, 2))
    free = np.zeros((queries, len(levels), width), dtype=bool)
    for query, (moments, true_moments) in enumerate(zip(ranked, truths, strict=True)):
        true_spans[query, : len(true_moments)] = true_moments
        free[query, :, : len(true_moments)] = True
        if moments:
            spans[query, : len(moments)] = [moment[:2] for moment in moments]
    hits = np.zeros((queries, depth, len(levels)), dtype=bool)
    every_query, every_level = np.ogrid[:queries, : len(levels)]
    for rank in range(depth):
        ious = span_iou(spans[:, rank, None], true_spans)[:, None, :]
        # Reversed, so that of true moments with equal IoU the last is taken, as in the published evaluator.
        candidates = np.where(free, ious, -1.0)[..., ::-1]
        best = width - 1 - candidates.argmax(axis=-1)
        reached = candidates.max(axis=-1)
        hit = (reached > levels if strict else reached >= levels) & (reached >= 0) & (depths > rank)[:, None]
        free[every_query, every_level, best] &= ~hit
        hits[:, rank] = hit  # a padded prediction is a miss behind the last hit, which changes no precision that counts
    precision = np.cumsum(hits, axis=1) / np.arange(1, depth + 1)[None, :, None]
    interpolated = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    positives = np.array([len(moments) for moments in truths])[:, None]
    return np.asarray((interpolated * hits).sum(axis=1) / positives)


def _by_score(moments: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    return sorted(moments, key=lambda moment: -moment[2] if len(moment) > 2 else -1.0)
