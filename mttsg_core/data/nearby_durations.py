"""Durations of videos whose external features alone are at hand, from the files that are published beside features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from mttsg_core.data.duration_files import DurationFiles
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.name_index import video_stem
from mttsg_core.data.times import parse_seconds
from mttsg_core.errors import DataError

_LEVELS = 2  # above the features, of folders that may be the data folder


class NearbyDurations:
    """Seconds by video, as the data folder of a folder of features states them.

    That is the folder itself, or one of the two above it (of the stream `data/features/clip`, `data`): there, the rows
    of annotation files, `durations*.json` and csv files with the columns `id` and `length` are read, on the first
    lookup. Files that cannot be read are skipped.

    Args:
        features: the folder, or HDF5 file, of features.
    """

    def __init__(self, features: Path) -> None:
        above = [*features.absolute().parents[:_LEVELS]]
        self._folders = [features, *above] if features.is_dir() else above

    def get(self, names: Iterable[str]) -> float | None:
        """Return the seconds of the video that has one of these names, or None if nothing states them."""
        for name in map(video_stem, names):
            if name in self._of_rows:
                return self._of_rows[name]
            for folder in self._folders:
                with suppress(DataError):
                    seconds = parse_seconds(DurationFiles(folder).get(name))
                    if seconds is not None and seconds > 0:
                        return seconds
        return None

    @cached_property
    def _of_rows(self) -> dict[str, float]:
        return dict(self._rows())

    def _rows(self) -> Iterator[tuple[str, float]]:
        for path in self._folders:
            with suppress(DataError):
                folder = DataFolder.open(path)
                for split in folder.splits:
                    for pair in folder.split(split, check_videos=False).pairs:
                        if pair.duration is not None:
                            yield video_stem(pair.video), pair.duration
