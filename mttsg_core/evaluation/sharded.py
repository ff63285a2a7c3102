"""An evaluation that several ranks do together: each grounds some of the videos, and all get every prediction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mttsg_core.data.dataset import Dataset
from mttsg_core.evaluation.evaluator import TOP, Evaluation, evaluate, predict, score
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Moment
from mttsg_core.utils.distributed import Ranks

_VALUES = 3  # start, end and score of a moment


def evaluate_together(grounder: Grounder, dataset: Dataset, ranks: Ranks) -> Evaluation:
    """Ground every pair of a split and score the moments, as `evaluate` does; every rank gets the same evaluation.

    Raises:
        DataError: if the split has no pairs.
        FeatureError: if the features were made in another way than those that the model was trained on.
    """
    if ranks.world == 1:
        return evaluate(grounder, dataset)
    division = _divide(dataset, ranks.world)
    own = division[ranks.rank]
    most = max(map(len, division))
    answers = np.full((most, TOP, _VALUES), np.nan)  # NaN where there is no moment
    answered = np.zeros(most)
    some = replace(dataset, pairs=[dataset.pairs[position] for position in own])
    for place, moments in predict(grounder, some) if own else ():
        answers[place, : len(moments)] = moments
        answered[place] = 1
    ranks.meet()  # some have longer videos than others
    everyone = ranks.gather(torch.from_numpy(answers)).numpy()  # (R, most, TOP, 3)
    missed = len(dataset.pairs) - int(ranks.gather(torch.from_numpy(answered)).sum())
    predictions: list[list[Moment]] = [[] for _ in dataset.pairs]
    for positions, of_rank in zip(division, everyone, strict=True):
        for position, rows in zip(positions, of_rank, strict=False):
            predictions[position] = [Moment(*row) for row in rows.tolist() if row[0] == row[0]]
    return score(dataset.name, dataset.pairs, predictions, "independent", missed=missed)


def _divide(dataset: Dataset, ranks: int) -> list[list[int]]:
    """Divide the pairs of videos with features among ranks, video by video: the positions of those of each rank."""
    parts: list[list[int]] = [[] for _ in range(ranks)]
    for positions in sorted(dataset.by_video().values(), key=len, reverse=True):
        min(parts, key=len).extend(positions)
    return parts
