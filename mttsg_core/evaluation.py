"""A split with the features of its videos, and how well a grounder does on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mttsg_core.encoders.base import Settings
from mttsg_core.errors import DataError
from mttsg_core.features import FeatureStore, VideoFeatures
from mttsg_core.grounding import Grounder, Mode
from mttsg_core.metrics import summarise
from mttsg_core.moments import Moment
from mttsg_core.pairs import Pair

TOP = 10  # answers a query, in predictions files


@dataclass(frozen=True)
class Dataset:
    """Pairs of one split and where the features of their videos are.

    Attributes:
        name: of the split.
        pairs: every pair, also those of videos without features.
        store: features by `Pair.video`.
    """

    name: str
    pairs: Sequence[Pair]
    store: FeatureStore

    def by_video(self) -> dict[str, list[int]]:
        """The positions in `pairs` of each video's pairs, videos in order of appearance; those with features only."""
        found: dict[str, list[int]] = {}
        for position, pair in enumerate(self.pairs):
            if pair.video in self.store.files:
                found.setdefault(pair.video, []).append(position)
        return found

    def duration(self, pair: Pair) -> float | None:
        """Seconds of a pair's video, from its row or its features; None if neither is there."""
        if pair.duration is not None or pair.video not in self.store.files:
            return pair.duration
        return self.store.load(pair.video).duration

    @property
    def fingerprint(self) -> Settings:
        """How the features were made.

        Raises:
            DataError: if no video has features.
        """
        for video in self.by_video():
            return self.store.load(video).fingerprint
        raise DataError(f"{self.name}: no video of it has features")


@dataclass(frozen=True)
class Evaluation:
    """Predictions for every pair of a split, and their figures.

    Attributes:
        split: its name.
        mode: how the predictions were made.
        metrics: in percent, see `metrics.summarise`.
        pairs: that were asked.
        predictions: for each pair its moments, the best first; none where the video has no features (a miss).
        missed: how many pairs that are.
    """

    split: str
    mode: str
    metrics: Mapping[str, float]
    pairs: Sequence[Pair]
    predictions: Sequence[Sequence[Moment]]
    missed: int

    @property
    def videos(self) -> int:
        """How many different videos the pairs have."""
        return len({pair.video for pair in self.pairs})

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
    """The figures of predictions, whoever made them."""
    if not pairs:
        raise DataError(f"{split}: no pairs to evaluate")
    metrics = summarise([pair.moments for pair in pairs], predictions)
    return Evaluation(split, mode, metrics, pairs, predictions, missed)
