"""Lookup of video and feature files by the names that annotations use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mttsg_core.errors import FeatureError
from mttsg_core.features.arrays import import_hdf5
from mttsg_core.utils.files import is_file, without_suffix
from mttsg_core.utils.text import shorten

FEATURE_SUFFIXES = (".safetensors", ".npy", ".npz")  # in order of preference
HDF5_SUFFIXES = (".h5", ".hdf5")


class FileMatch(NamedTuple):
    """The result of looking up a name.

    Attributes:
        path: the file; None if there is none, or several.
        key: the name's canonical form.
        reason: why there is no path.
    """

    path: Path | None
    key: str
    reason: str = ""


class FileIndex:
    """Files with certain suffixes, found by their path below a folder or their name, with or without suffix.

    Args:
        folders: where to look, each with whether to search it at any depth. Missing folders and hidden files are
            skipped.
        suffixes: of the files to index, in order of preference among files that differ in nothing else.
    """

    def __init__(self, folders: Sequence[tuple[Path, bool]], suffixes: Sequence[str]) -> None:
        self._suffixes = tuple(suffixes)
        self._paths_of: dict[str, list[Path]] = {}
        self._relative: dict[Path, str] = {}
        for folder, deep in folders:
            self._add(folder, deep)

    def __bool__(self) -> bool:
        return bool(self._relative)

    def find(self, name: str) -> list[Path]:
        """Return the files that `name` may stand for, the preferred one first."""
        return self._paths_of.get(name, [])

    def paths(self) -> list[Path]:
        """Return all files, sorted."""
        return sorted(self._relative)

    def relative(self, path: Path) -> str:
        """Return the path of an indexed file below its folder."""
        return self._relative[path]

    def key(self, path: Path) -> str | None:
        """Return the path below its folder without suffix, or None if another file shares it."""
        if path not in self._relative:
            return None
        stem = without_suffix(self._relative[path], self._suffixes)
        return stem if self._paths_of[stem] == [path] else None

    def _add(self, folder: Path, deep: bool) -> None:
        ranked: list[tuple[int, str]] = []
        for parent, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if deep else []
            for name in names:
                suffix = PurePosixPath(name).suffix.lower()
                if suffix in self._suffixes and not name.startswith("."):
                    relative = Path(parent, name).relative_to(folder).as_posix()
                    ranked.append((self._suffixes.index(suffix), relative))
        for _, relative in sorted(ranked):
            path = folder / relative
            self._relative[path] = relative
            base = relative.rpartition("/")[2]
            names = [relative, base, without_suffix(relative, self._suffixes), without_suffix(base, self._suffixes)]
            for name in dict.fromkeys(names):
                self._paths_of.setdefault(name, []).append(path)


class FeatureIndex:
    """The feature files of a folder: one for each video, or HDF5 files with a data set for each video.

    Args:
        folder: the folder, or a single HDF5 file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = FileIndex([(folder, True)], FEATURE_SUFFIXES)
        self._hdf5_index = FileIndex([(folder, True)], HDF5_SUFFIXES)

    def __bool__(self) -> bool:
        return bool(self._files) or bool(self._hdf5_files)

    @cached_property
    def _hdf5_files(self) -> list[Path]:
        if self.folder.suffix.lower() in HDF5_SUFFIXES and is_file(self.folder):
            return [self.folder]
        return self._hdf5_index.paths()

    @cached_property
    def _hdf5_file_of(self) -> dict[str, Path]:
        """The HDF5 file of each data set."""
        files: dict[str, Path] = {}
        for path in self._hdf5_files:
            for name in _data_sets(path):
                files.setdefault(name, path)
        return files

    def find(self, names: Sequence[str]) -> FileMatch | None:
        """Return the features of a video, or None.

        Args:
            names: of the video, tried in this order; HDF5 files are searched after all others.

        Raises:
            FeatureError: if only an HDF5 file can contain the video, and it cannot be read.
        """
        for name in names:
            paths = self._files.find(name)[::-1]  # reversed: of equal stems, the preferred suffix overwrites the others
            path_of_stem = {without_suffix(self._files.relative(path), FEATURE_SUFFIXES): path for path in paths}
            if len(path_of_stem) > 1 and name not in path_of_stem:
                return FileMatch(None, name, f"{len(path_of_stem)} feature files match {shorten(name)}")
            if path_of_stem:
                stem = name if name in path_of_stem else next(iter(path_of_stem))
                return FileMatch(path_of_stem[stem], stem)
        if self._hdf5_files:
            for name in names:
                if name in self._hdf5_file_of:
                    return FileMatch(self._hdf5_file_of[name], name)
        return None


def _data_sets(path: Path) -> list[str]:
    """Return the names of the data sets at the top level of an HDF5 file."""
    h5py = import_hdf5()
    try:
        with h5py.File(path, "r") as file:
            return list(file)
    except OSError as error:
        raise FeatureError(f"{path}: cannot be read as HDF5 ({str(error).splitlines()[0]})") from error
