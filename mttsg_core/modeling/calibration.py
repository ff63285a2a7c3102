"""Scores that mean something: from a model's own confidence to the share of answers that are right.

A model is calibrated on its validation split, every sentence of which is asked of its own video, and of another one,
where no answer is right. Scores then compare across videos, and a low one says "not in this video".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_SMALLEST = 1e-6  # scores are kept so far from 0 and 1 before their logit is taken
_STEPS = 50
_PRIOR = 1e-3  # keeps the slope near 1 where the scores tell right from wrong without fault
_LEAST_SLOPE = 0.05

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """score -> sigmoid(slope * logit(score) + shift), which never changes an order (Platt, 1999)."""

    slope: float = 1.0
    shift: float = 0.0

    def apply(self, scores: Tensor) -> Tensor:
        """Scores in 0..1, of any shape, to scores in double precision, where near ones stay apart; 0 stays 0."""
        exact = scores.cpu().double()  # some accelerators have no such numbers
        moved = (self.slope * exact.clamp(_SMALLEST, 1 - _SMALLEST).logit() + self.shift).sigmoid()
        return moved * (exact > 0)


UNCALIBRATED = Calibration()


class Bin(NamedTuple):
    """Answers of similar score. Attributes: their mean score, the share of them that are right, how many they are."""

    score: float
    right: float
    answers: int


def fit_calibration(scores: Floats, right: npt.NDArray[np.bool_]) -> Calibration:
    """The calibration under which answers with `scores` (N,) that are `right` (N,) or not are likeliest.

    Newton's method on the logistic loss, with Platt's targets, which keep the fit finite where all are right.
    """
    scores = np.asarray(scores, dtype=np.float64)
    logits = torch.from_numpy(scores).clamp(_SMALLEST, 1 - _SMALLEST).logit().numpy()
    yes, no = int(right.sum()), int((~right).sum())
    if not yes or not no:
        return UNCALIBRATED
    target = np.where(right, (yes + 1) / (yes + 2), 1 / (no + 2))
    inputs = np.stack([logits, np.ones_like(logits)], axis=1)  # (N, 2)
    start = np.array([1.0, 0.0])
    prior = _PRIOR * len(scores) * np.eye(2)
    found = start.copy()
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        gradient = inputs.T @ (chance - target) + prior @ (found - start)
        curvature = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + prior
        step = np.linalg.solve(curvature, gradient)
        found -= step * min(1.0, 2.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    slope, shift = found.tolist()
    return Calibration(max(slope, _LEAST_SLOPE), shift)


def reliability(scores: Floats, right: npt.NDArray[np.bool_], bins: int = 10) -> list[Bin]:
    """Answers in `bins` equal steps of the score, those without any left out."""
    place = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    return [
        Bin(float(scores[place == i].mean()), float(right[place == i].mean()), int((place == i).sum()))
        for i in range(bins)
        if (place == i).any()
    ]


def calibration_error(found: list[Bin]) -> float:
    """Expected calibration error: the mean distance of score and share, by count (Guo et al., ICML 2017)."""
    total = sum(one.answers for one in found)
    return sum(abs(one.score - one.right) * one.answers for one in found) / max(1, total)


def roc_auc(positive: Floats, negative: Floats) -> float:
    """The chance that a positive (N,) scores more than a negative (M,), ties half; 0.5 where one is empty."""
    if not len(positive) or not len(negative):
        return 0.5
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).sum() / 2 / len(positive) / len(negative))
