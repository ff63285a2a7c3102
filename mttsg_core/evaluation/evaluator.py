"""The evaluation of a grounder, or of given predictions, on one split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mttsg_core.data.clip_ratings import scores_of_clips
from mttsg_core.data.dataset import Dataset
from mttsg_core.data.pairs import Pair
from mttsg_core.errors import DataError
from mttsg_core.evaluation.highlights import highlight_values
from mttsg_core.evaluation.metric_names import metric_kinds
from mttsg_core.evaluation.metrics import (
    DEFAULT_CONFIG,
    MetricConfig,
    conventions,
    mean_values,
    metric_intervals,
    query_values,
)
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.modes import Mode
from mttsg_core.moments import FloatArray, Moment
from mttsg_core.utils.text import count

TOP = 10  # predictions per query, in predictions files


@dataclass(frozen=True)
class Evaluation:
    """The predictions for every pair of a split, and their metrics.

    Attributes:
        split: name of the split.
        mode: how the predictions were made: a grounding mode, "predictions" (read from a file) or "blind".
        pairs: the queries with their true moments.
        predictions: for each pair its moments, the best first; empty where the video has no features (a miss).
        missed: number of pairs without features or predictions.
        metric_config: which metrics are computed.
        name: of the predictor, where several evaluations are compared.
        nms: the non-maximum suppression applied to the predictions beforehand.
        windows: how long videos were divided beforehand; empty if that is not known.
        saliency: for each pair the scores of its video's clips of 2 s, by which they are ranked as highlights, or none;
            empty as a whole if there are none at all.
        durations: seconds of each pair's video, None where unknown; empty where the pairs alone tell them.
    """

    split: str
    mode: str
    pairs: Sequence[Pair]
    predictions: Sequence[Sequence[Moment]]
    missed: int = 0
    metric_config: MetricConfig = DEFAULT_CONFIG
    name: str = "model"
    nms: str = "none"
    windows: str = ""
    saliency: Sequence[Sequence[float]] = ()
    durations: Sequence[float | None] = ()

    @property
    def is_scored(self) -> bool:
        """Whether the queries have true moments; without any, there are predictions but no metrics."""
        return any(pair.moments for pair in self.pairs)

    @property
    def videos(self) -> int:
        """Number of different videos."""
        return len({pair.video for pair in self.pairs})

    @cached_property
    def video_index(self) -> npt.NDArray[np.int64]:
        """The number of each pair's video, (queries,)."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(pair.video, len(numbers)) for pair in self.pairs], dtype=np.int64)

    @cached_property
    def query_values(self) -> Mapping[str, FloatArray]:
        """What each query contributes to each metric, see `metrics.query_values` and `highlights.highlight_values`."""
        if not self.is_scored:
            return {}
        values = query_values([pair.moments for pair in self.pairs], self.predictions, self.metric_config)
        if self.metric_config.highlights and self.saliency:
            durations = self.durations or [pair.duration for pair in self.pairs]
            values |= highlight_values([pair.ratings for pair in self.pairs], self.saliency, durations)
        return values

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """The metrics in percent, by name."""
        return mean_values(self.query_values)

    @cached_property
    def intervals(self) -> Mapping[str, tuple[float, float]]:
        """The 95 % interval of each metric in percent, from a bootstrap over videos."""
        return metric_intervals(self.query_values, self.video_index) if self.is_scored else {}

    @cached_property
    def first_ious(self) -> FloatArray:
        """IoU of each query's first prediction, (queries,) in 0..1."""
        return self.query_values["mIoU"] / 100

    def as_dict(self) -> dict[str, str | int | float]:
        """Return the report as one flat object."""
        return {
            "split": self.split,
            "mode": self.mode,
            "queries": len(self.predictions),
            "videos": self.videos,
            "missed": self.missed,
            **self.metrics,
        }


def run_conventions(runs: Sequence[Evaluation], data_note: str = "") -> dict[str, str]:
    """Return what the metrics of evaluations of the same queries mean, see `metrics.conventions`.

    Args:
        runs: at least one, by the same metrics; the suppression and the windows of each kind of run are named.
        data_note: the data set and its conventions in a line.
    """
    first = runs[0]
    found = conventions(
        strict=first.metric_config.strict,
        nms="; ".join(dict.fromkeys(run.nms for run in runs)),
        highlights=any(kind == "Highlights" for run in runs for kind in metric_kinds(run.metrics)),
    )
    several = sum(len(pair.moments) > 1 for pair in first.pairs)
    found["several_true_moments"] += f" ({several} of {count(len(first.pairs), 'query', 'queries')} have several)"
    if windows := dict.fromkeys(run.windows for run in runs if run.windows):
        found["windows"] = "; ".join(windows)
    return {**found, "data": data_note} if data_note else found


def predict(
    grounder: Grounder, dataset: Dataset, top: int = TOP, *, mode: Mode = "independent"
) -> Iterator[tuple[int, list[Moment]]]:
    """Yield the position in `dataset.pairs` and the moments of each pair whose video has features, video by video."""
    groups = list(dataset.by_video().items())

    def videos() -> Iterator[tuple[VideoFeatures, list[str]]]:
        for video, positions in groups:
            yield dataset.store.load(video), [dataset.pairs[position].query for position in positions]

    for (_, positions), moments in zip(groups, grounder.ground_many(videos(), top, mode=mode), strict=True):
        yield from zip(positions, moments, strict=True)


def predict_saliency(
    grounder: Grounder, dataset: Dataset, *, mode: Mode = "independent"
) -> Iterator[tuple[int, list[float]]]:
    """Yield the position in `dataset.pairs` and the scores of the clips of 2 s of each pair whose video has features.

    The score of a clip is the mean of the saliency over its two seconds. The last clip is the last whole one.
    """
    for video, positions in dataset.by_video().items():
        features = dataset.store.load(video)
        curves = grounder.saliency(features, [dataset.pairs[position].query for position in positions], mode=mode)
        for position, curve in zip(positions, curves, strict=True):
            yield position, scores_of_clips(curve, features.timeline, dataset.pairs[position].duration)


def evaluate(
    grounder: Grounder,
    dataset: Dataset,
    top: int = TOP,
    *,
    mode: Mode = "independent",
    with_saliency: bool = False,
) -> Evaluation:
    """Ground every pair of a split and score the moments. A pair without a prediction counts as a miss.

    Args:
        grounder: the model.
        dataset: the split.
        top: maximum number of moments per query.
        mode: `independent` grounds each sentence by itself; `joint` grounds all sentences of a video together, as a
            set and without their times.
        with_saliency: compute the scores of clips as highlights as well.

    Raises:
        DataError: if the split has no pairs.
        FeatureError: if the features were made in another way than those that the model was trained on.
    """
    predictions: list[list[Moment]] = [[] for _ in dataset.pairs]
    answered = 0
    for position, moments in predict(grounder, dataset, top, mode=mode):
        predictions[position] = moments
        answered += 1
    saliency: list[list[float]] = []
    if with_saliency:
        saliency = [[] for _ in dataset.pairs]
        for position, scores in predict_saliency(grounder, dataset, mode=mode):
            saliency[position] = scores
    missed = len(predictions) - answered
    found = score(dataset.name, dataset.pairs, predictions, mode, missed=missed, saliency=saliency)
    return replace(found, durations=[dataset.duration(pair) for pair in dataset.pairs]) if with_saliency else found


def score(
    split: str,
    pairs: Sequence[Pair],
    predictions: Sequence[Sequence[Moment]],
    mode: str,
    *,
    missed: int = 0,
    saliency: Sequence[Sequence[float]] = (),
) -> Evaluation:
    """Return the evaluation of given predictions. `saliency` has scores of the clips of 2 s, see `Evaluation`.

    Raises:
        DataError: if there are no pairs.
    """
    if not pairs:
        raise DataError(f"{split}: no pairs to evaluate")
    return Evaluation(split, mode, pairs, predictions, missed, saliency=saliency)
