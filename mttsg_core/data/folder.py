"""The data folder: annotation files, and the videos or features that they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePath

from mttsg_core.data.file_index import HDF5_SUFFIXES, FeatureIndex, FileMatch, StreamIndex, VideoIndex, open_index
from mttsg_core.data.folder_defaults import feature_places
from mttsg_core.data.name_index import name_forms, video_stem
from mttsg_core.data.pairs import Pair
from mttsg_core.data.splits import Split, find_splits, is_annotation_file, read_pairs, unread_files
from mttsg_core.errors import DataError
from mttsg_core.features.streams import FeaturePlaces, FeatureStream, parse_streams
from mttsg_core.utils.files import is_file, real_path, unsafe_path_reason
from mttsg_core.utils.json_lines import Problem
from mttsg_core.utils.text import os_reason, shorten


class DataFolder:
    """Annotation files beside videos, features, or both. Open one with `DataFolder.open`.

    The folders `videos` and `features` may themselves be links. A link inside them that leads out of the data folder is
    refused, like a path that does.

    Attributes:
        path: the folder.
        splits: annotation file by split name: `train`, `val`, `test`, and others by their stem.
        features: the folder, or HDF5 file, in which features are looked up; the first of several streams.
        streams: the streams of features, in order; one for features of one kind.
        subset_of: for splits that are a part of a file of several, which part.
        division: how the videos were divided anew; None for the splits as they are in the folder.
    """

    division: str | None = None

    def __init__(
        self,
        path: Path,
        splits: Mapping[str, Path],
        streams: Sequence[FeatureStream],
        subset_of: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.splits = dict(splits)
        self.streams = tuple(streams)
        self.features = self.streams[0].folder
        self.subset_of = dict(subset_of or {})
        stems = Counter(file.stem for file in splits.values())
        self._name_of_stem = {file.stem: name for name, file in splits.items() if stems[file.stem] == 1}
        folders = (path, path / "videos", *(stream.folder for stream in self.streams))
        self._roots = [root for root in map(real_path, folders) if root is not None]
        self._videos: dict[str, FileMatch] = {}
        self._keys: dict[str, str] = {}
        self._feature_indices: dict[Path, FeatureIndex | StreamIndex] = {self.features: open_index(self.streams)}

    @classmethod
    def open(cls, path: str | Path, features: FeaturePlaces | None = None) -> DataFolder:
        """Find the annotation files of a folder.

        Args:
            path: the data folder.
            features: a folder or HDF5 file of external features, or several, of a stream each, also as `NAME=FOLDER`;
                default: those that its `mttsg.toml` names, else `features` in the data folder.

        Raises:
            DataError: if it is not a folder, or contains no annotation file of a known format.
            ConfigError: if streams have no name of their own, or its `mttsg.toml` cannot be used.
        """
        path = Path(path)
        if not path.is_dir():
            raise DataError(f"{path}: {'not a folder' if path.exists() else 'no such folder'}")
        try:
            files = [file for file in sorted(path.iterdir()) if is_file(file) and not file.name.startswith(".")]
        except OSError as error:
            raise DataError(f"{path}: {os_reason(error)}") from error
        splits, subset_of = find_splits([file for file in files if is_annotation_file(file)])
        if not splits:
            unread = "".join(f"; {reason}" for reason in unread_files(path, ()))
            raise DataError(f"{path}: no annotation file, such as train.jsonl, in this folder{unread}")
        return cls(path, splits, parse_streams(feature_places(path) if features is None else features), subset_of)

    def split(
        self,
        name: str,
        *,
        require_moment: bool = False,
        check_videos: bool = True,
        check_ends: bool | None = None,
        strict: bool = False,
    ) -> Split:
        """Read a split. Rows whose video is not in the folder are among its problems.

        Args:
            name: a name in `splits`, or the stem of its file.
            require_moment: treat a row without a moment as a bad row.
            check_videos: treat a row as bad if its video has neither a file nor features; ignored if the folder has no
                video and no features at all. A path that leaves the folder is always a bad row.
            check_ends: treat a moment as bad if it starts past the stated end of its video; default: `check_videos`.
            strict: raise on the first bad row.

        Raises:
            DataError: if the split does not exist, its file is unusable, or a row is bad and `strict`.
        """
        name = name if name in self.splits else self._name_of_stem.get(name, name)
        if name not in self.splits:
            raise DataError(f"{self.path}: no split {name!r}; available: {', '.join(sorted(self.splits))}")
        split = read_pairs(
            self.splits[name],
            subset=self.subset_of.get(name),
            require_moment=require_moment,
            check_ends=check_videos if check_ends is None else check_ends,
            strict=strict,
        )
        check_videos = check_videos and self.has_media
        pairs: list[Pair] = []
        without_video: list[Pair] = []
        problems = list(split.problems)
        for pair in split.pairs:
            reason = unsafe_path_reason(self._below(pair.video))
            if reason is None:
                reason = self._missing_reason(pair.video) if check_videos else None
                (pairs if reason is None else without_video).append(pair)
            if reason is not None:
                problems.append(Problem(pair.file, pair.line, reason))
                if strict:
                    raise DataError(str(problems[-1]))
        problems.sort(key=lambda problem: problem.line)
        return replace(split, name=name, pairs=pairs, problems=problems, without_video=without_video)

    def has_moments(self, name: str) -> bool:
        """Return whether any row of a split has a true moment; those of a published test split may be withheld.

        Raises:
            DataError: as `split`.
        """
        return any(pair.moments for pair in self.split(name, check_videos=False).pairs)

    @property
    def has_media(self) -> bool:
        """Whether the folder contains any video file or features, or an unreadable folder that may contain some."""
        features = self._feature_index(self.features)
        return bool(self._video_index or features or self._video_index.unreadable or features.unreadable)

    def require_media(self) -> None:
        """Raise DataError if the folder has neither videos nor features, saying where they are looked for."""
        if not self.has_media:
            looked = f"looked in {self.path}, {self.path / 'videos'} and {self.features}"
            raise DataError(
                f"{self.path}: no videos and no features; {looked}: put the videos there, name features made elsewhere "
                f"with --features, or make them with 'mttsg extract VIDEOS --out {self.path / 'features'}'"
            )

    def find_video(self, name: str) -> Path | None:
        """Return the video file of a name, or None.

        Args:
            name: a path below the folder or below `videos`, or the name or stem of a file in them.
        """
        return self._match_video(name).path

    def find_features(self, name: str, folder: Path | None = None) -> Path | None:
        """Return the feature file of a video, or the HDF5 file with a data set of that video, or None.

        Arguments and errors are those of `match_features`.
        """
        match = self.match_features(name, folder)
        return None if match is None else match.path

    def match_features(self, name: str, folder: Path | None = None) -> FileMatch | None:
        """Return what `find_features` finds, with the reason if features exist but cannot be used; None without any.

        Args:
            name: the video's name as annotated.
            folder: a folder, or an HDF5 file, to look in; default: `features`.

        Raises:
            FeatureError: if only an HDF5 file can contain the video, and it cannot be read.
        """
        return self._match_features(name, self.features if folder is None else folder)

    def video_key(self, name: str) -> str:
        """Return the canonical name of a video, the same for each of its names.

        It is the name of the video's data set in an HDF5 file, else the path below `videos` or `features` without
        suffix.
        """
        if name not in self._keys:
            self._keys[name] = self._find_key(name)
        return self._keys[name]

    @cached_property
    def _video_index(self) -> VideoIndex:
        return VideoIndex([(self.path, False), (self.path / "videos", True)])

    def _feature_index(self, folder: Path) -> FeatureIndex | StreamIndex:
        if folder not in self._feature_indices:
            self._feature_indices[folder] = FeatureIndex(folder)
        return self._feature_indices[folder]

    def _is_inside(self, path: Path) -> bool:
        real = real_path(path)
        return real is not None and any(real.is_relative_to(root) for root in self._roots)

    def _below(self, name: str) -> str:
        """Return a name, or if it is an absolute path inside the folder, the path below it."""
        path = PurePath(name)
        if path.is_absolute():
            for root in (self.path.absolute(), *self._roots[:1]):
                if path.is_relative_to(root):
                    return path.relative_to(root).as_posix()
        return name

    def _match_video(self, name: str) -> FileMatch:
        if name not in self._videos:
            self._videos[name] = self._find_video_match(name)
        return self._videos[name]

    def _find_video_match(self, name: str) -> FileMatch:
        name = self._below(name)
        reason = unsafe_path_reason(name)
        if reason is not None:
            return FileMatch(None, name, reason)
        names = name_forms(name)
        path = next((path for path in (self.path / names[0], self.path / "videos" / names[0]) if is_file(path)), None)
        if path is None:
            paths = next((paths for paths in map(self._video_index.find, names) if paths), [])
            if len(paths) > 1:
                shown = ", ".join(path.relative_to(self.path).as_posix() for path in paths[:3])
                return FileMatch(None, video_stem(name), f"{len(paths)} videos match {shorten(name)}: {shown}")
            path = paths[0] if paths else None
        if path is None:
            return FileMatch(None, video_stem(name), f"unknown video {shorten(name)}: no video file and no features")
        if not self._is_inside(path):
            return FileMatch(None, video_stem(name), f"the video {shorten(name)} is a link that leaves the data folder")
        return FileMatch(path, self._video_index.key(path) or path.relative_to(self.path).as_posix())

    def _find_key(self, name: str) -> str:
        features = self._match_features(name, self.features)
        if features is not None and features.path is not None and features.path.suffix.lower() in HDF5_SUFFIXES:
            return features.key
        video = self._match_video(name)
        if video.path is None and features is not None:
            return features.key
        return video.key

    def _match_features(self, name: str, folder: Path) -> FileMatch | None:
        name = self._below(name)
        if unsafe_path_reason(name) is not None:
            return None
        video = self._match_video(name).path
        if video is not None and self._video_index.key(video) is None:  # another video has the same name but for suffix
            names = [form for form in [*name_forms(name), video.name] if self._video_index.find(form) == [video]]
        else:
            names = name_forms(name)
            base = video_stem(name).rpartition("/")[2]
            if len(self._video_index.find(base)) <= 1:  # else features named by the base alone could be of either video
                names.append(base)
        match = self._feature_index(folder).find(names)
        is_own = match is not None and folder == self.features
        if match is not None and is_own and not all(map(self._is_inside, match.files(name).values())):
            return match._replace(path=None, reason="a link that leaves the data folder")
        return match

    def _missing_reason(self, name: str) -> str | None:
        """Return why the folder has neither the video nor its features, or None if it has one of them."""
        video = self._match_video(name)
        if video.path is not None:
            return None
        features = self._match_features(name, self.features)
        if features is None:
            unreadable = [*self._video_index.unreadable, *self._feature_index(self.features).unreadable]
            return "; ".join([video.reason, *unreadable[:1]])
        return None if features.path is not None else features.reason


def open_data(data: str | Path | DataFolder, features: FeaturePlaces | None = None) -> DataFolder:
    """Return the data folder that is given, or open the one at a path.

    Args:
        data: a data folder, or its path.
        features: see `DataFolder.open`; a folder that is open has its own.

    Raises:
        DataError: as `DataFolder.open`.
    """
    return data if isinstance(data, DataFolder) else DataFolder.open(data, features)
