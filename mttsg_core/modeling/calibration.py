"""Calibrated scores: from a model's own confidence to the share of answers that are right.

A model is calibrated on its validation split, every sentence of which is asked of its own video and of another one,
where no answer is right. Scores are then comparable across videos, and a low one says "not in this video".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mttsg_core.config.fields import Range, setting

_EPSILON = 1e-6  # distance from 0 and 1 that scores keep before their logit is taken
_STEPS = 50
_PRIOR = 1e-3  # keeps the slope near 1 where the scores tell right from wrong without a mistake
_MIN_SLOPE = 0.05

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """Platt scaling (Platt, 1999): score -> sigmoid(slope * logit(score) + shift), which never changes an order."""

    slope: float = setting(1.0, "of the logit", Range(at_least=0, at_most=1000))
    shift: float = setting(0.0, "of the logit", Range(at_least=-1000, at_most=1000))

    def apply(self, scores: Tensor) -> Tensor:
        """Calibrate scores in 0..1, of any shape, in double precision, which tells near ones apart; 0 stays 0."""
        exact = scores.cpu().double()  # some accelerators have no double precision
        moved = (self.slope * exact.clamp(_EPSILON, 1 - _EPSILON).logit() + self.shift).sigmoid()
        return moved * (exact > 0)


UNCALIBRATED = Calibration()


class Bin(NamedTuple):
    """Answers of similar score. Attributes: mean score, share of right answers, number of answers."""

    score: float
    right: float
    answers: int


def fit_calibration(scores: Floats, right: npt.NDArray[np.bool_]) -> Calibration:
    """Fit the calibration under which answers with `scores` (N,) are most likely `right` (N,) or not.

    Newton's method on the logistic loss, with Platt's targets, which keep the fit finite where all are right.
    """
    scores = np.asarray(scores, dtype=np.float64)
    logits = torch.from_numpy(scores).clamp(_EPSILON, 1 - _EPSILON).logit().numpy()
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return UNCALIBRATED
    target = np.where(right, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    inputs = np.stack([logits, np.ones_like(logits)], axis=1)  # (N, 2)
    start = np.array([1.0, 0.0])
    prior = _PRIOR * len(scores) * np.eye(2)
    fitted = start.copy()
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ fitted, -30, 30)))
        gradient = inputs.T @ (probability - target) + prior @ (fitted - start)
        curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs + prior
        step = np.linalg.solve(curvature, gradient)
        fitted -= step * min(1.0, 2.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    slope, shift = fitted.tolist()
    return Calibration(max(slope, _MIN_SLOPE), shift)


def reliability(scores: Floats, right: npt.NDArray[np.bool_], bins: int = 10) -> list[Bin]:
    """Group answers into `bins` equal steps of the score, without empty ones."""
    index = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    return [
        Bin(float(scores[index == i].mean()), float(right[index == i].mean()), int((index == i).sum()))
        for i in range(bins)
        if (index == i).any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: the mean distance of score and share, by count (Guo et al., ICML 2017)."""
    total = sum(group.answers for group in bins)
    return sum(abs(group.score - group.right) * group.answers for group in bins) / max(1, total)


def roc_auc(positive: Floats, negative: Floats) -> float:
    """Return the probability that a positive (N,) scores more than a negative (M,), ties half; 0.5 if one is empty.

    >>> roc_auc(np.array([0.9, 0.4]), np.array([0.4, 0.1]))
    0.875
    """
    if not len(positive) or not len(negative):
        return 0.5
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).sum() / 2 / len(positive) / len(negative))
