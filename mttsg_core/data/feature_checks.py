"""Which of a data folder's features training could not use, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.data.splits import Split
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import FeatureError
from mttsg_core.features.arrays import outliers
from mttsg_core.features.store import EXTERNAL, VideoFeatures, check_fingerprint


def unusable_features(folder: DataFolder, splits: Sequence[Split]) -> Iterator[str]:
    """Yield why features cannot be used, a line for each of the videos that rows name.

    Every feature file is read as a whole. Of features made in different ways, those of the first video count, as they
    do in training; other videos need them too unless they can be extracted again.

    Args:
        folder: the data folder.
        splits: as read from it.
    """
    pairs_of: dict[str, list[Pair]] = {}
    for split in splits:
        for pair in split.pairs:
            pairs_of.setdefault(folder.video_key(pair.video), []).append(pair)
    expected: Settings | None = None
    paths: dict[str, Path] = {}  # by key of the video
    largest: dict[str, tuple[float, ...]] = {}
    for key, pairs in pairs_of.items():
        try:
            found = _read_features(folder, pairs)
            if found is None:
                continue
            paths[key], features = found
            largest[key], fingerprint = features.largest_values, features.fingerprint
            expected = fingerprint if expected is None else expected
            if expected["encoder"] == EXTERNAL or folder.find_video(pairs[0].video) is None:
                check_fingerprint(fingerprint, expected, str(paths[key]))
        except FeatureError as error:
            yield str(error)
    for key, reason in outliers(largest).items():
        yield f"{paths[key]}: {reason}"


def _read_features(folder: DataFolder, pairs: Sequence[Pair]) -> tuple[Path, VideoFeatures] | None:
    """Return a video's features and their file, or None if it has none. Raises FeatureError if they are unusable."""
    match = folder.match_features(pairs[0].video)
    if match is None:
        return None
    if match.path is None:
        raise FeatureError(match.reason)
    features = match.read()
    if features.duration is None and all(pair.duration is None for pair in pairs):
        try:
            _ = features.timeline
        except FeatureError as error:
            raise FeatureError(f"{match.path}: {error}") from error
    return match.path, features
