"""The pairs of a split with the features of their videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mttsg_core.data.pairs import Pair
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import DataError
from mttsg_core.features.store import VideoFeatures


class FeatureSource(Protocol):
    """Features by video, such as `mttsg_core.features.store.FeatureStore`."""

    @property
    def files(self) -> Mapping[str, Path]:
        """The feature file of each video that has one."""

    def load(self, video: str) -> VideoFeatures:
        """Return the features of a video.

        Raises:
            FeatureError: if it has none, or they cannot be used.
        """


@dataclass(frozen=True)
class Dataset:
    """The pairs of a split with the features of their videos.

    Attributes:
        name: of the split.
        pairs: all pairs, also those of videos without features.
        store: features by `Pair.video`.
        further_files: of features of several streams the files after the first of each video, by video and stream.
    """

    name: str
    pairs: Sequence[Pair]
    store: FeatureSource
    further_files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, Path]:
        """Every file that its features come from."""
        return {**self.store.files, **self.further_files}

    def by_video(self) -> dict[str, list[int]]:
        """Return the indices into `pairs` for each video with features, videos in order of appearance."""
        indices: dict[str, list[int]] = {}
        for index, pair in enumerate(self.pairs):
            if pair.video in self.store.files:
                indices.setdefault(pair.video, []).append(index)
        return indices

    @property
    def without_features(self) -> int:
        """Number of pairs whose video has no features."""
        return sum(pair.video not in self.store.files for pair in self.pairs)

    def duration(self, pair: Pair) -> float | None:
        """Return the time in seconds at which a pair's video ends, from its row or its features; None if unknown."""
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
        raise DataError(f"{self.name}: none of its videos has features")
