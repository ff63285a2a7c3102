"""What a score is worth: answers that need no eyes or no ears, on the same pairs and by the same measure.

The blind baselines know where the moments of other videos lie, and nothing else. The shuffled ones are the trained
model, with the sentences of other videos, or with the clips of each video in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np

from mttsg_core.data.dataset import Dataset, FeatureSource
from mttsg_core.data.folder import Pair
from mttsg_core.evaluation.evaluator import TOP, Evaluation
from mttsg_core.features.store import VideoFeatures
from mttsg_core.moments import FloatArray, Moment, span_iou

BLIND = "blind"  # the mode of answers that depend on neither video nor sentence
WHOLE_VIDEO = (Moment(0.0, 1.0),)
_GRID = 50  # steps of a relative span's start and end, as an answer
_CELLS = 100  # steps of the histogram over relative spans
_LEVELS = (0.3, 0.5, 0.7)

PredictFn = Callable[[Dataset], Evaluation]


def relative_moments(pairs: Sequence[Pair], durations: Sequence[float | None]) -> FloatArray:
    """True moments relative to the duration of their video, (moments, 2) in 0..1; of pairs with a duration only."""
    spans = [
        (start / duration, min(end / duration, 1.0))
        for pair, duration in zip(pairs, durations, strict=True)
        if duration is not None
        for start, end in pair.moments
        if start < duration
    ]
    return np.array(spans, dtype=np.float64).reshape(-1, 2)


def constant_span(moments: FloatArray) -> tuple[Moment, ...]:
    """The one span that has the largest share of relative `moments` (N, 2), N >= 1, at IoU >= 0.5."""
    hits = [float((span_iou(span, moments) >= 0.5).mean()) for span in _grid()]
    best = int(np.argmax(hits))
    start, end = _grid()[best]
    return (Moment(float(start), float(end), hits[best]),)


def prior_spans(moments: FloatArray, top: int = TOP) -> tuple[Moment, ...]:
    """Ranked spans from the distribution of relative `moments` (N, 2), N >= 1.

    From a histogram over start and end, each next span is the one that, with those before it, hits the largest share
    of the moments, on average over IoU 0.3, 0.5 and 0.7. The score is what a span adds to that share.
    """
    _, index, counts = np.unique(np.rint(moments * _CELLS), axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    centres = np.stack([np.bincount(index, moments[:, side]) / counts for side in (0, 1)], axis=1)
    weights = counts / len(moments)
    grid = _grid()
    overlaps = span_iou(grid[:, None], centres[None])  # (G, cells)
    hits = [overlaps >= level for level in _LEVELS]
    open_weights = [weights.copy() for _ in _LEVELS]
    chosen: list[Moment] = []
    for _ in range(top):
        gains = sum(hit @ weight for hit, weight in zip(hits, open_weights, strict=True)) / len(_LEVELS)
        best = int(np.argmax(gains))
        if chosen and gains[best] <= 0:
            break
        chosen.append(Moment(float(grid[best, 0]), float(grid[best, 1]), float(gains[best])))
        for hit, weight in zip(hits, open_weights, strict=True):
            weight[hit[best]] = 0
    return tuple(chosen)


def evaluate_blind(
    name: str, spans: Sequence[Moment], like: Evaluation, durations: Sequence[float | None]
) -> Evaluation:
    """The same relative spans as the ranked answers to every query; a query of unknown duration is a miss.

    Args:
        name: of the baseline.
        spans: in 0..1 of the duration, the best first.
        like: the evaluation to stand beside: the same pairs, by the same measures.
        durations: seconds of each pair's video.
    """
    predictions = [
        [] if duration is None else [Moment(start * duration, end * duration, score) for start, end, score in spans]
        for duration in durations
    ]
    missed = sum(duration is None for duration in durations)
    return replace(like, name=name, mode=BLIND, predictions=predictions, missed=missed, nms="none")


def evaluate_shuffled_sentences(answer: PredictFn, dataset: Dataset, like: Evaluation, seed: int = 0) -> Evaluation:
    """The same model, asked sentences of other videos: what is left is what it knows without the sentence.

    Args:
        answer: how the model answers, in the mode of `like`.
        dataset: the pairs.
        like: the evaluation to stand beside.
        seed: of the shuffle.
    """
    order = other_videos([pair.video for pair in dataset.pairs], seed)
    shuffled = [
        replace(pair, query=dataset.pairs[other].query) for pair, other in zip(dataset.pairs, order, strict=True)
    ]
    found = answer(replace(dataset, pairs=shuffled))
    return _beside(like, found, "sentences shuffled")


def evaluate_shuffled_features(answer: PredictFn, dataset: Dataset, like: Evaluation, seed: int = 0) -> Evaluation:
    """The same model, on videos whose clips are in another order: what is left needs no time. Arguments as above."""
    found = answer(replace(dataset, store=_ShuffledStore(dataset.store, seed)))
    return _beside(like, found, "features shuffled")


@dataclass(frozen=True)
class _ShuffledStore:
    """The features of another store with the clips of each video permuted, in the same way at every load."""

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


def _beside(like: Evaluation, found: Evaluation, name: str) -> Evaluation:
    """The predictions found, for the pairs and by the measures of another evaluation in the same mode."""
    if found.mode != like.mode:
        raise ValueError(f"{name}: answers in mode {found.mode!r} do not stand beside those in {like.mode!r}")
    return replace(like, name=name, predictions=found.predictions, missed=found.missed)


def other_videos(videos: Sequence[str], seed: int) -> list[int]:
    """For each pair the place of another one, each taken once, of another video unless one has half of all pairs."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for place in rng.permutation(len(videos)).tolist():
        groups.setdefault(videos[place], []).append(place)
    ordered = [place for group in groups.values() for place in group]
    # Pairs of a video stand together, so a step as large as the largest group leads from each into another.
    step = max(map(len, groups.values())) if len(groups) > 1 else max(1, len(videos) // 2)
    order = [0] * len(videos)
    for position, place in enumerate(ordered):
        order[place] = ordered[(position + step) % len(ordered)]
    return order


def _grid() -> FloatArray:
    """Candidate spans, (G, 2) in 0..1."""
    points = np.linspace(0, 1, _GRID + 1)
    return np.array([(start, end) for start in points for end in points if start < end])
