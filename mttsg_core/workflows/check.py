"""What is in a data set, and which rows and features cannot be used: `check` and `iter_check`."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeAlias

from mttsg_core.data.durations import with_file_durations
from mttsg_core.data.feature_checks import unusable_features
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.splits import Split, read_pairs, unread_files
from mttsg_core.data.statistics import FolderStatistics, compute_statistics
from mttsg_core.features.streams import FeaturePlaces
from mttsg_core.utils.files import is_file
from mttsg_core.utils.text import count
from mttsg_core.workflows.events import InputFailed, RowsSkipped, Warned
from mttsg_core.workflows.options import AnyPath
from mttsg_core.workflows.steps import OnEvent, iterate, run

CheckEvent: TypeAlias = RowsSkipped | InputFailed | Warned
_SHOWN_VIDEOS = 3


def check(
    data: AnyPath, *, features: FeaturePlaces | None = None, on_event: OnEvent[CheckEvent] | None = None
) -> FolderStatistics:
    """Read a whole data set, and describe it as training would see it. Nothing is written.

    The durations of the videos and features in the folder count, whatever durations the rows state.

    Args:
        data: data folder, or a single annotation file.
        features: folder (or HDF5 file) of external features, or several, of a stream each.
        on_event: called with each event as it happens.

    Returns:
        The statistics of every split, with all bad rows and all features that cannot be used.

    Raises:
        DataError: if the data set cannot be read.
        FeatureError: if features are in HDF5 and cannot be read.
    """
    return run(_check(Path(data), features), on_event)


def iter_check(data: AnyPath, *, features: FeaturePlaces | None = None) -> Iterator[CheckEvent | FolderStatistics]:
    """Yield the events of `check` as they happen, then its report. Arguments and errors are those of `check`."""
    return iterate(_check(Path(data), features))


def leakage_warnings(statistics: FolderStatistics) -> list[str]:
    """Return a line for each split that shares videos with the training split."""
    return [
        f"{split}: {count(len(videos), 'video')} also in train: "
        + ", ".join([*videos[:_SHOWN_VIDEOS], *(["..."] if len(videos) > _SHOWN_VIDEOS else [])])
        for split, videos in statistics.seen_in_training.items()
    ]


def _check(data: Path, features: FeaturePlaces | None) -> Generator[CheckEvent, None, FolderStatistics]:
    if is_file(data):
        split = read_pairs(data)
        yield from _report(split)
        return compute_statistics(data, [split])
    folder = DataFolder.open(data, features)
    splits: list[Split] = []
    for name in folder.splits:
        splits.append(with_file_durations(folder, folder.split(name)))
        yield from _report(splits[-1])
    unread = [f"{data}: {reason}" for reason in unread_files(folder.path, folder.splits.values())]
    yield from map(Warned, unread)
    unusable = list(unusable_features(folder, splits))
    yield from map(InputFailed, unusable)
    statistics = compute_statistics(data, splits, folder.video_key, notes=unread, unusable_features=unusable)
    yield from map(Warned, leakage_warnings(statistics))
    return statistics


def _report(split: Split) -> Iterator[CheckEvent]:
    if split.problems:
        yield RowsSkipped(split.problems)
    yield from map(Warned, split.notes)
