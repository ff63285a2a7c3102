"""How far a model's scores can be trusted: scores of matching queries against those of mismatched ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mttsg_core.data.dataset import Dataset
from mttsg_core.evaluation.baselines import PredictFn, shuffle_across_videos
from mttsg_core.modeling.calibration import Calibration, calibration_error, fit_calibration, reliability, roc_auc
from mttsg_core.moments import Moment

_CORRECT_IOU = 0.5  # IoU from which a prediction counts as correct


@dataclass(frozen=True)
class ScoreReliability:
    """Scores of the first predictions on a split.

    Attributes:
        positive: (Q,) scores of queries grounded in their own video.
        correct: (Q,) whether those predictions have IoU >= 0.5 with the true moment.
        negative: (M,) scores of mismatched queries, which their video does not show; no prediction is correct.
    """

    positive: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    negative: npt.NDArray[np.float64]

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """All scores, (Q + M,)."""
        return np.concatenate([self.positive, self.negative])

    @property
    def outcomes(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction is correct, (Q + M,)."""
        return np.concatenate([self.correct, np.zeros(len(self.negative), dtype=bool)])

    def calibration(self) -> Calibration:
        """Fit the calibration that turns these scores into the probability that a prediction is correct."""
        return fit_calibration(self.scores, self.outcomes)

    def calibrated(self, calibration: Calibration) -> ScoreReliability:
        """Return the same predictions with calibrated scores, which keep their order."""
        positive, negative = (
            calibration.apply(torch.from_numpy(scores)).numpy() for scores in (self.positive, self.negative)
        )
        return replace(self, positive=positive, negative=negative)

    def as_dict(self) -> dict[str, Any]:
        """Return `auc` of positive against negative scores, the calibration `error`, and the reliability `bins`."""
        bins = reliability(self.scores, self.outcomes)
        return {
            "auc": 100 * roc_auc(self.positive, self.negative),
            "error": 100 * calibration_error(bins),
            "bins": [bin_._asdict() for bin_ in bins],
        }


def measure_reliability(predict: PredictFn, dataset: Dataset, seed: int = 0) -> ScoreReliability:
    """Ground every sentence in its own video and in another one, and return the scores.

    A sentence that also describes the other video is left out there.

    Args:
        predict: grounds a dataset with the model.
        dataset: the split.
        seed: of the choice of the other videos.
    """
    own = predict(dataset)
    order = shuffle_across_videos([pair.video for pair in dataset.pairs], seed)
    shuffled = [
        replace(pair, query=dataset.pairs[other].query) for pair, other in zip(dataset.pairs, order, strict=True)
    ]
    annotated = {(pair.video, pair.query.lower()) for pair in dataset.pairs}
    mismatched = [pair for pair in shuffled if (pair.video, pair.query.lower()) not in annotated]
    negatives = predict(replace(dataset, pairs=mismatched)).predictions if mismatched else []
    return ScoreReliability(_first_scores(own.predictions), own.first_ious >= _CORRECT_IOU, _first_scores(negatives))


def _first_scores(predictions: Sequence[Sequence[Moment]]) -> npt.NDArray[np.float64]:
    """Return the score of each query's first prediction, (Q,); 0 where there is none."""
    return np.array([moments[0].score if moments else 0.0 for moments in predictions], dtype=np.float64)
