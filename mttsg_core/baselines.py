"""What a score is worth: answers that need no eyes or no ears, on the same pairs and by the same measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mttsg_core.evaluation import Dataset, Evaluation, evaluate, score
from mttsg_core.grounding import Grounder
from mttsg_core.moments import Moment, span_iou
from mttsg_core.pairs import Pair

_GRID = 50  # steps of a relative span's start and end


def constant_span(training: Sequence[tuple[Pair, float]]) -> tuple[float, float]:
    """The span, relative to the duration, that has the largest share of training moments at IoU >= 0.5.

    Args:
        training: pairs with moments, each with the duration of its video in seconds.
    """
    true = np.array([(start / duration, end / duration) for pair, duration in training for start, end in pair.moments])
    points = np.linspace(0, 1, _GRID + 1)
    grid = np.array([(start, end) for start in points for end in points if start < end])  # (G, 2)
    hits = [(span_iou(span, true) >= 0.5).mean() for span in grid]
    start, end = grid[int(np.argmax(hits))]
    return float(start), float(end)


def evaluate_constant_span(name: str, span: tuple[float, float], dataset: Dataset) -> Evaluation:
    """The same relative span as the answer to every query."""
    predictions: list[list[Moment]] = []
    for pair in dataset.pairs:
        duration = dataset.duration(pair)
        predictions.append([] if duration is None else [Moment(span[0] * duration, span[1] * duration)])
    return score(dataset.name, dataset.pairs, predictions, name)


def evaluate_shuffled_sentences(grounder: Grounder, dataset: Dataset, seed: int = 0) -> Evaluation:
    """The same model, asked the sentence of another pair: what is left is what it knows without the sentence."""
    order = np.random.default_rng(seed).permutation(len(dataset.pairs))
    shuffled = [
        replace(pair, query=dataset.pairs[other].query) for pair, other in zip(dataset.pairs, order, strict=True)
    ]
    return replace(evaluate(grounder, replace(dataset, pairs=shuffled)), mode="sentences shuffled")
