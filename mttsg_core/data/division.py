"""Data folders whose videos are divided anew, without writing a file: folds, and shares of the training videos."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.data.row_ids import own_id
from mttsg_core.data.splits import Split
from mttsg_core.errors import ConfigError, DataError

LEFT, REST = "left", "rest"  # the split that a fold, or a share, is tested on
_FEWEST_FOLDS = 3  # one to test, one to validate and one to train on


class DividedFolder(DataFolder):
    """A data folder some of whose splits are divided anew, by video. Use `divide_into_folds` or `divide_by_share`.

    Args:
        folder: the data folder.
        sources: the splits whose rows are divided.
        videos: of each new split, the keys of its videos.
        division: how they were divided, in a few words.
    """

    def __init__(
        self, folder: DataFolder, sources: Sequence[str], videos: Mapping[str, frozenset[str]], division: str
    ) -> None:
        kept = {name: file for name, file in folder.splits.items() if name not in sources}
        super().__init__(
            folder.path,
            {**dict.fromkeys(videos, folder.splits[sources[0]]), **kept},
            folder.streams,
            folder.subset_of,
        )
        self.division = division
        self._source = folder
        self._sources = tuple(sources)
        self._parts = dict(videos)

    def split(
        self,
        name: str,
        *,
        require_moment: bool = False,
        check_videos: bool = True,
        check_ends: bool | None = None,
        strict: bool = False,
    ) -> Split:
        """Read a split, see `DataFolder.split`. Bad rows of the divided splits are problems of each part."""

        def read(source: str) -> Split:
            return self._source.split(
                source, require_moment=require_moment, check_videos=check_videos, check_ends=check_ends, strict=strict
            )

        if name not in self._parts:
            return read(name)
        found = [read(source) for source in self._sources]
        repeated = Counter(pair.id for split in found for pair in split.pairs)

        def chosen(pairs: Sequence[Pair]) -> list[Pair]:
            own = (pair for pair in pairs if self.video_key(pair.video) in self._parts[name])
            return [replace(pair, id=own_id(pair)) if repeated[pair.id] > 1 else pair for pair in own]

        return Split(
            name,
            found[0].file,
            [pair for split in found for pair in chosen(split.pairs)],
            [problem for split in found for problem in split.problems],
            [pair for split in found for pair in chosen(split.without_video)],
            [note for split in found for note in split.notes],
        )


def divide_into_folds(folder: DataFolder, folds: int) -> list[DividedFolder]:
    """Divide the videos of `train` and `val` for a cross-validation, always in the same way.

    In each of the folders one fold is the split `left`, which is tested on, the next one is `val`, and the others are
    `train`. Each video is in `left` once, and no video is in two splits.

    Args:
        folder: the data folder.
        folds: number of folds, at least 3.

    Raises:
        ConfigError: if there are fewer folds, or fewer videos than folds.
        DataError: if there is no training split, or it cannot be read.
    """
    if folds < _FEWEST_FOLDS:
        raise ConfigError(
            f"folds = {folds}: at least {_FEWEST_FOLDS}, one to test, one to validate and one to train on"
        )
    sources = [name for name in ("train", "val") if name in folder.splits]
    videos = _shuffled_videos(folder, sources)
    if len(videos) < folds:
        raise ConfigError(f"folds = {folds}: there are only {len(videos)} videos")
    parts = [frozenset(videos[first::folds]) for first in range(folds)]
    divided = []
    for fold in range(folds):
        left, val, *rest = parts[fold:] + parts[:fold]
        splits = {LEFT: left, "val": val, "train": frozenset().union(*rest)}
        divided.append(DividedFolder(folder, sources, splits, f"fold {fold + 1} of {folds} by video"))
    return divided


def divide_by_share(folder: DataFolder, share: float) -> DividedFolder:
    """Keep a share of the training videos, always the same; the others become the split `rest`.

    Args:
        folder: the data folder.
        share: of the videos, more than 0 and less than 1.

    Raises:
        ConfigError: if the share is out of range, or leaves no video on one side.
        DataError: if there is no training split, or it cannot be read.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share = {share:g}: must be more than 0 and less than 1")
    videos = _shuffled_videos(folder, ["train"])
    count = round(share * len(videos))
    if not 0 < count < len(videos):
        raise ConfigError(f"share = {share:g}: {count} of {len(videos)} training videos")
    splits = {"train": frozenset(videos[:count]), REST: frozenset(videos[count:])}
    return DividedFolder(folder, ["train"], splits, f"{count} of {len(videos)} training videos")


def _shuffled_videos(folder: DataFolder, splits: Sequence[str]) -> list[str]:
    """Return the keys of the videos of these splits, in a random order that is always the same."""
    if "train" not in folder.splits:
        raise DataError(f"{folder.path}: no train split, only {', '.join(sorted(folder.splits))}")
    pairs = [pair for name in splits for pair in folder.split(name, require_moment=True).pairs]
    videos = sorted({folder.video_key(pair.video) for pair in pairs})
    random.Random(0).shuffle(videos)
    return videos
