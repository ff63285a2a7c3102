"""Lookup of video and feature files by the names that annotations use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mttsg_core.data.name_index import NameIndex, loose_name
from mttsg_core.errors import FeatureError
from mttsg_core.features.hdf5 import data_set_names
from mttsg_core.features.store import VideoFeatures, read_features
from mttsg_core.features.streams import FeatureStream, StreamFile, read_streams
from mttsg_core.utils.files import is_file, without_suffix
from mttsg_core.utils.text import os_reason, shorten
from mttsg_core.video.discovery import VIDEO_SUFFIXES
from mttsg_core.video.excerpt_marks import ExcerptFilter
from mttsg_core.video.identify import PICTURE_SUFFIXES, WEAK_SUFFIXES, is_video_by_content

FEATURE_SUFFIXES = (".safetensors", ".npy", ".npz")  # in order of preference
HDF5_SUFFIXES = (".h5", ".hdf5")
# Why files of features with these suffixes are not read, and what to do about it.
_UNREADABLE = dict.fromkeys(
    (".pt", ".pth", ".pkl", ".pickle"),
    "a pickled file is never loaded, because it can run code; save its array with numpy.save as .npy",
) | {".mat": "MATLAB files are not read; save the array with numpy.save as .npy"}


class FileMatch(NamedTuple):
    """The result of looking up a name.

    Attributes:
        path: the file; None if there is none, or several.
        key: the name's canonical form.
        reason: why there is no path.
        streams: of features of several streams the file in each; `path` and `key` are those of the first.
    """

    path: Path | None
    key: str
    reason: str = ""
    streams: tuple[StreamFile, ...] = ()

    def read(self) -> VideoFeatures:
        """Read the features that were found.

        Raises:
            FeatureError: if there are none, or they cannot be used.
        """
        if self.path is None:
            raise FeatureError(self.reason)
        return read_streams(self.streams) if self.streams else read_features(self.path, self.key)

    def files(self, video: str) -> dict[str, Path]:
        """Return the files that were found, each by the video and, after the first, the name of its stream."""
        if self.path is None:
            return {}
        return {video: self.path} | {f"{video} {file.name}": file.path for file in self.streams[1:]}


class FileIndex:
    """Files with certain suffixes, found by their path below a folder or their name, with or without suffix.

    Args:
        folders: where to look, each with whether to search it at any depth. Missing folders, hidden files, and what is
            not a regular file (a pipe or a device, for example) are skipped.
        suffixes: of the files to index, in order of preference among files that differ in nothing else.

    Attributes:
        unreadable: for each folder that cannot be read, a reason that names it.
    """

    def __init__(self, folders: Sequence[tuple[Path, bool]], suffixes: Sequence[str]) -> None:
        self.unreadable: list[str] = []
        self._suffixes = tuple(suffixes)
        self._names: NameIndex[Path] = NameIndex()
        self._stems: NameIndex[Path] = NameIndex()
        self._relative: dict[Path, str] = {}
        for folder, deep in folders:
            self._add(folder, deep)

    def __bool__(self) -> bool:
        return bool(self._relative)

    def find(self, name: str) -> list[Path]:
        """Return the files that `name` may stand for, the preferred one first.

        A name with a suffix is looked up first. Capitals, separators and Unicode form count only where it takes them to
        tell files apart.
        """
        return self._names.find(name) or self._choose(self._stems.find(name))

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
        return stem if self.find(stem) == [path] else None

    def _add(self, folder: Path, deep: bool) -> None:
        ranked: list[tuple[int, str]] = []
        excerpts = ExcerptFilter(folder)
        for parent, folders, names in os.walk(folder, onerror=self._add_unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith(".")) if deep else []
            for name in excerpts.enter(parent, folders, names):
                suffix = PurePosixPath(name).suffix.lower()
                if suffix in self._suffixes and not name.startswith(".") and is_file(Path(parent, name)):
                    relative = Path(parent, name).relative_to(folder).as_posix()
                    ranked.append((self._suffixes.index(suffix), relative))
        for _, relative in sorted(ranked):
            path = folder / relative
            self._relative[path] = relative
            for name in (relative, relative.rpartition("/")[2]):
                self._names.add(name, path)
                self._stems.add(without_suffix(name, self._suffixes), path)

    def _choose(self, paths: list[Path]) -> list[Path]:
        """Return those of several files with one stem that a name without suffix stands for."""
        return paths

    def _add_unreadable(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self.unreadable.append(f"{error.filename} cannot be read: {os_reason(error).lower()}")


class VideoIndex(FileIndex):
    """Video files, found like other files. A name without suffix does not stand for pictures and sound beside a video.

    Download tools leave a thumbnail (`a.webp`) and sound (`a.ogg`) beside `a.mp4`. Where a suffix proves little, the
    content of the file decides whether it is a video, and a picture that moves gives way to any other video.

    Args:
        folders: as for `FileIndex`.
    """

    def __init__(self, folders: Sequence[tuple[Path, bool]]) -> None:
        super().__init__(folders, VIDEO_SUFFIXES)
        self._is_video: dict[Path, bool] = {}

    def _choose(self, paths: list[Path]) -> list[Path]:
        videos = [path for path in paths if self._counts(path)]
        return [path for path in videos if path.suffix.lower() not in PICTURE_SUFFIXES] or videos

    def _counts(self, path: Path) -> bool:
        if path.suffix.lower() not in WEAK_SUFFIXES:
            return True
        if path not in self._is_video:
            self._is_video[path] = is_video_by_content(path)
        return self._is_video[path]


class FeatureIndex:
    """The feature files of a folder: one for each video, or HDF5 files with a data set for each video.

    Args:
        folder: the folder, or a single HDF5 file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = FileIndex([(folder, True)], FEATURE_SUFFIXES)
        self._hdf5_index = FileIndex([(folder, True)], HDF5_SUFFIXES)
        self._unreadable = FileIndex([(folder, True)], tuple(_UNREADABLE))

    def __bool__(self) -> bool:
        return bool(self._files) or bool(self._hdf5_files) or bool(self._unreadable)

    @property
    def unreadable(self) -> list[str]:
        """For each folder that cannot be read, a reason that names it."""
        return self._files.unreadable

    @cached_property
    def _hdf5_files(self) -> list[Path]:
        if self.folder.suffix.lower() in HDF5_SUFFIXES and is_file(self.folder):
            return [self.folder]
        return self._hdf5_index.paths()

    @cached_property
    def _hdf5_names(self) -> NameIndex[tuple[str, Path]]:
        """The data sets of all HDF5 files, each with its file."""
        names: NameIndex[tuple[str, Path]] = NameIndex()
        for path in self._hdf5_files:
            for name in data_set_names(path):
                names.add(name, (name, path))
        return names

    def find(self, names: Sequence[str]) -> FileMatch | None:
        """Return the features of a video, or None.

        Args:
            names: of the video, tried in this order; HDF5 files are searched after all others.

        Raises:
            FeatureError: if only an HDF5 file can contain the video, and it cannot be read.
        """
        for name in names:
            path_of_stem: dict[str, Path] = {}
            for path in self._files.find(name):
                path_of_stem.setdefault(without_suffix(self._files.relative(path), FEATURE_SUFFIXES), path)
            stem = _meant(name, list(path_of_stem))
            if stem is not None:
                return FileMatch(path_of_stem[stem], stem)
            if path_of_stem:
                return FileMatch(None, name, f"{len(path_of_stem)} feature files match {shorten(name)}")
        if self._hdf5_files:
            for name in names:
                data_sets = self._hdf5_names.find(name)
                stem = _meant(name, list(dict.fromkeys(data_set for data_set, _ in data_sets)))
                if stem is not None:
                    return FileMatch(dict(reversed(data_sets))[stem], stem)
        for name in names:
            if unreadable := self._unreadable.find(name):
                path = unreadable[0]
                return FileMatch(None, name, f"{path}: {_UNREADABLE[path.suffix.lower()]}")
        return None


class StreamIndex:
    """The feature files of several streams. A video has features if it has some in each.

    Args:
        streams: each with its folder, or HDF5 file.
    """

    def __init__(self, streams: Sequence[FeatureStream]) -> None:
        self._indices = {stream.name: FeatureIndex(stream.folder) for stream in streams}

    def __bool__(self) -> bool:
        return any(self._indices.values())

    @property
    def unreadable(self) -> list[str]:
        """For each folder that cannot be read, a reason that names it."""
        return [reason for index in self._indices.values() for reason in index.unreadable]

    def find(self, names: Sequence[str]) -> FileMatch | None:
        """Return the features of a video, or None if no stream has any. Arguments and errors as `FeatureIndex.find`."""
        found = {name: index.find(names) for name, index in self._indices.items()}
        if not any(found.values()):
            return None
        files: list[StreamFile] = []
        for name, match in found.items():
            if match is None or match.path is None:
                reason = f"nothing in {self._indices[name].folder}" if match is None else match.reason
                return FileMatch(None, names[0], f"no {name} features of {shorten(names[0])}: {reason}")
            files.append(StreamFile(name, match.path, match.key))
        return FileMatch(files[0].path, files[0].key, streams=tuple(files))


def open_index(streams: Sequence[FeatureStream]) -> FeatureIndex | StreamIndex:
    """Return the index of features of one kind, or of several streams."""
    return FeatureIndex(streams[0].folder) if len(streams) == 1 else StreamIndex(streams)


def _meant(name: str, stems: Sequence[str]) -> str | None:
    """Return the one of several names that is meant by `name`, or None if that is not certain."""
    if len(stems) == 1 or name in stems:
        return stems[0] if len(stems) == 1 else name
    alike = [stem for stem in stems if loose_name(stem) == loose_name(name)]
    return alike[0] if len(alike) == 1 else None
