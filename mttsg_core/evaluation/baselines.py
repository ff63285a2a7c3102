"""Baselines that ignore the video, the sentence or the order of time, scored on the same pairs by the same metrics.

Blind baselines are built from the distribution of moments in training videos and from nothing else. Shuffled baselines
are the trained model given the sentences of other videos, or the clips of each video in random order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np

from mttsg_core.data.dataset import Dataset, FeatureSource
from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.evaluator import TOP, Evaluation
from mttsg_core.features.store import VideoFeatures
from mttsg_core.moments import FloatArray, Moment, span_iou

BLIND = "blind"  # mode of predictions that depend on neither video nor sentence
WHOLE_VIDEO = (Moment(0.0, 1.0),)
_GRID_STEPS = 50  # of the start and end of a predicted relative span
_HISTOGRAM_STEPS = 100  # of the start and end of true relative spans
_IOUS = (0.3, 0.5, 0.7)

PredictFn = Callable[[Dataset], Evaluation]
"""Grounds a dataset with a model and returns its evaluation."""


def relative_moments(pairs: Sequence[Pair], durations: Sequence[float | None]) -> FloatArray:
    """Return true moments relative to their video's duration, (moments, 2) in 0..1; unknown durations are skipped."""
    spans = [
        (start / duration, min(end / duration, 1.0))
        for pair, duration in zip(pairs, durations, strict=True)
        if duration is not None
        for start, end in pair.moments
        if start < duration
    ]
    return np.array(spans, dtype=np.float64).reshape(-1, 2)


def constant_span(moments: FloatArray) -> tuple[Moment, ...]:
    """Return the one span that hits most of the relative `moments` (N, 2), N >= 1, at IoU >= 0.5."""
    grid = _grid()
    hits = [float((span_iou(span, moments) >= 0.5).mean()) for span in grid]
    best = int(np.argmax(hits))
    start, end = grid[best]
    return (Moment(float(start), float(end), hits[best]),)


def prior_spans(moments: FloatArray, top: int = TOP) -> tuple[Moment, ...]:
    """Return ranked spans that cover the distribution of the relative `moments` (N, 2), N >= 1.

    Greedy over a histogram of start and end: each next span is the one that, together with those before it, hits the
    largest share of the moments, averaged over IoU 0.3, 0.5 and 0.7. Its score is what it adds to that share.
    """
    _, index, counts = np.unique(np.rint(moments * _HISTOGRAM_STEPS), axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    centres = np.stack([np.bincount(index, moments[:, side]) / counts for side in (0, 1)], axis=1)
    weights = counts / len(moments)
    grid = _grid()
    overlaps = span_iou(grid[:, None], centres[None])  # (G, cells)
    hits = [overlaps >= iou for iou in _IOUS]
    missed_weights = [weights.copy() for _ in _IOUS]
    chosen: list[Moment] = []
    for _ in range(top):
        gains = sum(hit @ weight for hit, weight in zip(hits, missed_weights, strict=True)) / len(_IOUS)
        best = int(np.argmax(gains))
        if chosen and gains[best] <= 0:
            break
        chosen.append(Moment(float(grid[best, 0]), float(grid[best, 1]), float(gains[best])))
        for hit, weight in zip(hits, missed_weights, strict=True):
            weight[hit[best]] = 0
    return tuple(chosen)


def evaluate_blind(
    name: str, spans: Sequence[Moment], reference: Evaluation, durations: Sequence[float | None]
) -> Evaluation:
    """Evaluate the same relative spans as the prediction for every query; a query of unknown duration is a miss.

    Args:
        name: of the baseline.
        spans: relative to the duration, in 0..1, the best first.
        reference: the evaluation to compare with; the baseline takes its pairs and metrics.
        durations: seconds of each pair's video.
    """
    predictions = [
        [] if duration is None else [Moment(start * duration, end * duration, score) for start, end, score in spans]
        for duration in durations
    ]
    missed = sum(duration is None for duration in durations)
    return replace(
        reference, name=name, mode=BLIND, predictions=predictions, missed=missed, nms="none", windows="", saliency=()
    )


def evaluate_shuffled_sentences(
    predict: PredictFn, dataset: Dataset, reference: Evaluation, seed: int = 0
) -> Evaluation:
    """Evaluate the model on sentences of other videos: what remains of its metrics does not depend on the sentence.

    Args:
        predict: the model, in the mode of `reference`.
        dataset: the pairs.
        reference: the model's own evaluation; the baseline takes its pairs and metrics.
        seed: of the shuffle.

    Raises:
        ValueError: if `predict` grounds in another mode.
    """
    order = shuffle_across_videos([pair.video for pair in dataset.pairs], seed)
    shuffled = [
        replace(pair, query=dataset.pairs[other].query) for pair, other in zip(dataset.pairs, order, strict=True)
    ]
    return _with_predictions(reference, predict(replace(dataset, pairs=shuffled)), "sentences shuffled")


def evaluate_shuffled_features(
    predict: PredictFn, dataset: Dataset, reference: Evaluation, seed: int = 0
) -> Evaluation:
    """Evaluate the model on videos with their clips in random order: what remains does not depend on time.

    Arguments and errors as `evaluate_shuffled_sentences`.
    """
    shuffled = replace(dataset, store=_ShuffledStore(dataset.store, seed))
    return _with_predictions(reference, predict(shuffled), "features shuffled")


@dataclass(frozen=True)
class _ShuffledStore:
    """Features of another store with the clips of each video permuted, in the same way at every load."""

    store: FeatureSource
    seed: int

    @property
    def files(self) -> dict[str, Path]:
        return dict(self.store.files)

    def load(self, video: str) -> VideoFeatures:
        features = self.store.load(video)
        rng = np.random.default_rng([self.seed, crc32(video.encode("utf-8", "surrogatepass"))])
        order = rng.permutation(len(features.clips))
        regions = None if features.regions is None else features.regions[order]
        return replace(features, clips=features.clips[order], regions=regions)


def _with_predictions(reference: Evaluation, evaluation: Evaluation, name: str) -> Evaluation:
    """Return `reference` with the predictions of another evaluation in the same mode."""
    if evaluation.mode != reference.mode:
        raise ValueError(f"{name}: mode {evaluation.mode!r} cannot be compared with {reference.mode!r}")
    return replace(
        reference,
        name=name,
        predictions=evaluation.predictions,
        missed=evaluation.missed,
        saliency=evaluation.saliency,
    )


def shuffle_across_videos(videos: Sequence[str], seed: int) -> list[int]:
    """Return a permutation of pairs that maps each to a pair of another video.

    Where one video has more than half of the pairs, some of its pairs are mapped to others of its own.

    Args:
        videos: the video of each pair.
        seed: of the shuffle.
    """
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for pair in rng.permutation(len(videos)).tolist():
        groups.setdefault(videos[pair], []).append(pair)
    ordered = [pair for group in groups.values() for pair in group]
    # The pairs of a video are neighbours in this order, so a step as long as the largest group leaves every group.
    step = max(map(len, groups.values())) if len(groups) > 1 else max(1, len(videos) // 2)
    order = [0] * len(videos)
    for position, pair in enumerate(ordered):
        order[pair] = ordered[(position + step) % len(ordered)]
    return order


def _grid() -> FloatArray:
    """Return every relative span between grid points, (G, 2) in 0..1."""
    points = np.linspace(0, 1, _GRID_STEPS + 1)
    return np.array([(start, end) for start in points for end in points if start < end])
