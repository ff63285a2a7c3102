"""Pairs of a split with the features of their videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mttsg_core.data.folder import Pair
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import DataError
from mttsg_core.features.store import VideoFeatures


class FeatureSource(Protocol):
    """Where features come from, such as a `features.FeatureStore`."""

    @property
    def files(self) -> Mapping[str, Path]:
        """The feature file of each video."""

    def load(self, video: str) -> VideoFeatures:
        """The features of a video; raises FeatureError if there are none."""


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
    store: FeatureSource

    def by_video(self) -> dict[str, list[int]]:
        """The positions in `pairs` of each video's pairs, videos in order of appearance; those with features only."""
        found: dict[str, list[int]] = {}
        for position, pair in enumerate(self.pairs):
            if pair.video in self.store.files:
                found.setdefault(pair.video, []).append(position)
        return found

    @property
    def without_features(self) -> int:
        """How many pairs have a video without features."""
        return sum(pair.video not in self.store.files for pair in self.pairs)

    def duration(self, pair: Pair) -> float | None:
        """Seconds at which a pair's video ends, from its row or its features; None if neither is there."""
        if pair.duration is not None or pair.video not in self.store.files:
            return pair.duration
        return self.store.load(pair.video).timeline.end

    @property
    def fingerprint(self) -> Settings:
        """How the features were made.

        Raises:
            DataError: if no video has features.
        """
        for video in self.by_video():
            return self.store.load(video).fingerprint
        raise DataError(f"{self.name}: no video of it has features")
