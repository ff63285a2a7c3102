"""A split with the features of its videos, and how well a grounder does on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mttsg_core.data.dataset import Dataset
from mttsg_core.data.folder import Pair
from mttsg_core.errors import DataError
from mttsg_core.evaluation.figures import DEFAULT, MetricConfig, figure_intervals, figure_values, mean_figures
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.modes import Mode
from mttsg_core.moments import FloatArray, Moment

TOP = 10  # answers a query, in predictions files


@dataclass(frozen=True)
class Evaluation:
    """Predictions for every pair of a split, and their figures.

    Attributes:
        split: its name.
        mode: how the predictions were made.
        pairs: that were asked.
        predictions: for each pair its moments, the best first; none where the video has no features (a miss).
        missed: how many pairs that are.
        measures: which figures there are.
        name: what made the predictions, where several evaluations stand side by side.
        nms: how the predictions were thinned out before they came here.
    """

    split: str
    mode: str
    pairs: Sequence[Pair]
    predictions: Sequence[Sequence[Moment]]
    missed: int = 0
    measures: MetricConfig = DEFAULT
    name: str = "model"
    nms: str = "none"

    @property
    def videos(self) -> int:
        """How many different videos the pairs have."""
        return len({pair.video for pair in self.pairs})

    @cached_property
    def video_index(self) -> npt.NDArray[np.int64]:
        """A number for the video of each pair, (queries,)."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(pair.video, len(numbers)) for pair in self.pairs], dtype=np.int64)

    @cached_property
    def values(self) -> Mapping[str, FloatArray]:
        """What each query adds to each figure, see `measures.figure_values`."""
        return figure_values([pair.moments for pair in self.pairs], self.predictions, self.measures)

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """The figures in percent, by name."""
        return mean_figures(self.values)

    @cached_property
    def intervals(self) -> Mapping[str, tuple[float, float]]:
        """The 95 % interval of each figure, in percent, from a bootstrap by video."""
        return figure_intervals(self.values, self.video_index)

    @cached_property
    def first_ious(self) -> FloatArray:
        """IoU of each query's first answer, (queries,) in 0..1."""
        return self.values["mIoU"] / 100

    def as_dict(self) -> dict[str, str | int | float]:
        """The report in one flat object."""
        return {
            "split": self.split,
            "mode": self.mode,
            "queries": len(self.predictions),
            "videos": self.videos,
            "missed": self.missed,
            **self.metrics,
        }


def predict(
    grounder: Grounder, dataset: Dataset, top: int = TOP, *, mode: Mode = "independent"
) -> Iterator[tuple[int, list[Moment]]]:
    """Position in `dataset.pairs` and moments of each pair whose video has features, video by video."""
    groups = list(dataset.by_video().items())

    def asked() -> Iterator[tuple[VideoFeatures, list[str]]]:
        for video, positions in groups:
            yield dataset.store.load(video), [dataset.pairs[position].query for position in positions]

    for (_, positions), answers in zip(groups, grounder.ground_many(asked(), top, mode=mode), strict=True):
        yield from zip(positions, answers, strict=True)


def evaluate(grounder: Grounder, dataset: Dataset, top: int = TOP, *, mode: Mode = "independent") -> Evaluation:
    """Ground every pair of a split and score the answers. A pair without an answer is a miss.

    Args:
        grounder: of a model.
        dataset: the split.
        top: answers a pair, at most.
        mode: `independent` asks each pair by itself; `joint` all sentences of a video together, in no order and
            without their times.

    Raises:
        DataError: if the split has no pairs.
        FeatureError: if features are not of the kind that the model expects.
    """
    predictions: list[list[Moment]] = [[] for _ in dataset.pairs]
    answered = 0
    for position, moments in predict(grounder, dataset, top, mode=mode):
        predictions[position] = moments
        answered += 1
    return score(dataset.name, dataset.pairs, predictions, mode, missed=len(predictions) - answered)


def score(
    split: str, pairs: Sequence[Pair], predictions: Sequence[Sequence[Moment]], mode: str, *, missed: int = 0
) -> Evaluation:
    """The figures of predictions, whoever made them.

    Raises:
        DataError: if there are no pairs.
    """
    if not pairs:
        raise DataError(f"{split}: no pairs to evaluate")
    return Evaluation(split, mode, pairs, predictions, missed)
