"""From the names in annotation files to files of a data folder, and never to a file outside of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mttsg_core.errors import FeatureError
from mttsg_core.features.store import import_hdf5
from mttsg_core.utils.files import is_file, without_suffix
from mttsg_core.utils.text import shorten

FEATURE_SUFFIXES = (".safetensors", ".npy", ".npz")  # in order of preference
HDF5_SUFFIXES = (".h5", ".hdf5")


class Found(NamedTuple):
    """The file that a name stands for, or None and the reason. `key` is the name's canonical form."""

    path: Path | None
    key: str
    reason: str = ""


class FileIndex:
    """Files of some suffixes below folders, found by their path below the folder, their name, or either's stem.

    Args:
        folders: where to look, and whether at any depth. Missing folders are skipped, hidden files too.
        suffixes: which files count, in order of preference among files that differ in the suffix only.
    """

    def __init__(self, folders: Sequence[tuple[Path, bool]], suffixes: Sequence[str]) -> None:
        self._suffixes = tuple(suffixes)
        self._paths: dict[str, list[Path]] = {}
        self._relative: dict[Path, str] = {}
        for folder, deep in folders:
            self._add(folder, deep)

    def __bool__(self) -> bool:
        return bool(self._relative)

    def find(self, name: str) -> list[Path]:
        """The files that `name` may stand for, best first."""
        return self._paths.get(name, [])

    def paths(self) -> list[Path]:
        """All files."""
        return sorted(self._relative)

    def relative(self, path: Path) -> str:
        """The path of an indexed file below its folder."""
        return self._relative[path]

    def key(self, path: Path) -> str | None:
        """The path below its folder without suffix, if that is no other file's; otherwise None."""
        if path not in self._relative:
            return None
        relative = self._relative[path]
        stem = without_suffix(relative, self._suffixes)
        return stem if self._paths[stem] == [path] else None

    def _add(self, folder: Path, deep: bool) -> None:
        found: list[tuple[int, str]] = []
        for parent, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if deep else []
            for name in names:
                suffix = PurePosixPath(name).suffix.lower()
                if suffix in self._suffixes and not name.startswith("."):
                    relative = Path(parent, name).relative_to(folder).as_posix()
                    found.append((self._suffixes.index(suffix), relative))
        for _, relative in sorted(found):
            path = folder / relative
            self._relative[path] = relative
            base = relative.rpartition("/")[2]
            keys = (relative, base, without_suffix(relative, self._suffixes), without_suffix(base, self._suffixes))
            for key in dict.fromkeys(keys):
                self._paths.setdefault(key, []).append(path)


class FeatureIndex:
    """Feature files of a folder, one a video, or HDF5 files with one data set a video.

    Args:
        folder: the folder, or one HDF5 file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = FileIndex([(folder, True)], FEATURE_SUFFIXES)
        self._stores = FileIndex([(folder, True)], HDF5_SUFFIXES)

    def __bool__(self) -> bool:
        return bool(self._files) or bool(self._hdf5_files)

    @cached_property
    def _hdf5_files(self) -> list[Path]:
        if self.folder.suffix.lower() in HDF5_SUFFIXES and is_file(self.folder):
            return [self.folder]
        return self._stores.paths()

    @cached_property
    def _entries(self) -> dict[str, Path]:
        entries: dict[str, Path] = {}
        for path in self._hdf5_files:
            for name in _hdf5_names(path):
                entries.setdefault(name, path)
        return entries

    def find(self, names: Sequence[str]) -> Found | None:
        """The file for the first of several names of one video that has one; HDF5 entries come last.

        Raises:
            FeatureError: if only an HDF5 file can hold the video, and it cannot be read.
        """
        for name in names:
            paths = self._files.find(name)[::-1]  # of one stem, the preferred suffix is the last to be kept
            stems = {without_suffix(self._files.relative(path), FEATURE_SUFFIXES): path for path in paths}
            if len(stems) > 1 and name not in stems:
                return Found(None, name, f"{len(stems)} feature files are called {shorten(name)}")
            if stems:
                stem = name if name in stems else next(iter(stems))
                return Found(stems[stem], stem)
        if self._hdf5_files:
            for name in names:
                if name in self._entries:
                    return Found(self._entries[name], name)
        return None


def _hdf5_names(path: Path) -> list[str]:
    h5py = import_hdf5()
    try:
        with h5py.File(path, "r") as file:
            return list(file)
    except OSError as error:
        raise FeatureError(f"{path}: cannot be read as HDF5 ({str(error).splitlines()[0]})") from error
