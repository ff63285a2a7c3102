"""How far the scores of a model can be trusted: asked of the right video, and of one without the sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mttsg_core.data.dataset import Dataset
from mttsg_core.evaluation.baselines import other_videos
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.modeling.calibration import Calibration, calibration_error, fit_calibration, reliability, roc_auc
from mttsg_core.moments import Moment

_RIGHT = 0.5  # IoU from which an answer counts as right


@dataclass(frozen=True)
class ScoreReliability:
    """Scores of the first answers on a split.

    Attributes:
        present: (Q,) to sentences asked of their own video.
        right: (Q,) whether those overlap the true moment by half.
        absent: (A,) to sentences asked of a video that does not have them; no answer is right.
    """

    present: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    absent: npt.NDArray[np.float64]

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """All of them, (Q + A,)."""
        return np.concatenate([self.present, self.absent])

    @property
    def outcomes(self) -> npt.NDArray[np.bool_]:
        """Whether each answer is right, (Q + A,)."""
        return np.concatenate([self.right, np.zeros(len(self.absent), dtype=bool)])

    def calibration(self) -> Calibration:
        """What turns these scores into the chance that an answer is right."""
        return fit_calibration(self.scores, self.outcomes)

    def under(self, calibration: Calibration) -> ScoreReliability:
        """The same answers with calibrated scores: an order never changes, so nothing need be asked again."""
        present, absent = (calibration.apply(torch.from_numpy(part)).numpy() for part in (self.present, self.absent))
        return replace(self, present=present, absent=absent)

    def as_dict(self) -> dict[str, Any]:
        """The figures: `auc` of sentences in their video against sentences in another, `error`, and the `bins`."""
        bins = reliability(self.scores, self.outcomes)
        return {
            "auc": 100 * roc_auc(self.present, self.absent),
            "error": 100 * calibration_error(bins),
            "bins": [one._asdict() for one in bins],
        }


def measure_reliability(answer: Callable[[Dataset], Evaluation], dataset: Dataset, seed: int = 0) -> ScoreReliability:
    """Ask every sentence of another video too. One that is also written of that video is left out there.

    Args:
        answer: how the model answers.
        dataset: the split.
        seed: of the choice of the other video.
    """
    own = answer(dataset)
    places = other_videos([pair.video for pair in dataset.pairs], seed)
    asked = [replace(pair, query=dataset.pairs[place].query) for pair, place in zip(dataset.pairs, places, strict=True)]
    known = {(pair.video, pair.query.lower()) for pair in dataset.pairs}
    strange = [pair for pair in asked if (pair.video, pair.query.lower()) not in known]
    absent = answer(replace(dataset, pairs=strange)).predictions if strange else []
    return ScoreReliability(_first_scores(own.predictions), own.first_ious >= _RIGHT, _first_scores(absent))


def _first_scores(predictions: Sequence[Sequence[Moment]]) -> npt.NDArray[np.float64]:
    """The scores of the first answers, (Q,); 0 where there is none."""
    return np.array([moments[0].score if moments else 0.0 for moments in predictions], dtype=np.float64)
