"""Video-query pairs: what a good row is, annotation files as lists of pairs, and the data folder that holds them.

Every row of a file becomes either a pair or a problem, so `len(pairs) + len(problems)` is the number of rows; blank
lines are no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from mttsg_core.data import formats
from mttsg_core.data.file_index import HDF5_SUFFIXES, FeatureIndex, FileIndex, Found
from mttsg_core.data.records import Durations, Pair, Row, check_row
from mttsg_core.errors import DataError
from mttsg_core.utils.files import is_file, outside_reason, real_path, without_suffix
from mttsg_core.utils.json_lines import Problem, write_json_lines
from mttsg_core.utils.text import shorten
from mttsg_core.video.discovery import VIDEO_SUFFIXES

__all__ = ["DataFolder", "Pair", "Problem", "Split", "read_pairs", "write_jsonl"]


@dataclass(frozen=True)
class Split:
    """The pairs of an annotation file in its order, and its bad rows in order of their lines.

    Attributes:
        name: of the split.
        file: that was read.
        pairs: the good rows.
        problems: the bad rows.
        absent: those of the bad rows that ask for a video that is not in the data folder, and are good but for that.
    """

    name: str
    file: Path
    pairs: list[Pair]
    problems: list[Problem]
    absent: list[Pair] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of the file, good and bad."""
        return len(self.pairs) + len(self.problems)


def read_pairs(path: str | Path, *, require_moment: bool = False, strict: bool = False) -> Split:
    """Read an annotation file of any known format, recognised by its content.

    Args:
        path: the file.
        require_moment: a row without a moment is a bad row, as for training and evaluation.
        strict: raise on the first bad row.

    Raises:
        DataError: if the file cannot be read, its format is not known, or a row is bad and `strict`.
    """
    path = Path(path)
    durations = Durations(path.parent)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    line_of: dict[str, int] = {}
    for row in formats.read_rows(path):
        pair = row.reason if isinstance(row, Problem) else check_row(row, durations, path.stem, path)
        if isinstance(pair, Pair):
            if require_moment and not pair.moments:
                pair = "no moment"
            elif pair.id in line_of:
                pair = f"the id {shorten(pair.id)} is used before, at {line_of[pair.id]}"
            else:
                line_of[pair.id] = pair.line
        if isinstance(pair, Pair):
            pairs.append(pair)
            continue
        place = row.place if isinstance(row, Row) else ""
        problems.append(Problem(path, row.line, place + pair))
        if strict:
            raise DataError(str(problems[-1]))
    return Split(path.stem, path, pairs, problems)


def write_jsonl(pairs: Iterable[Pair], path: str | Path) -> None:
    """Write pairs in the project's own format, with every field that is known, in one step.

    Raises:
        DataError: if the file cannot be written.
    """
    write_json_lines(Path(path), map(_record, pairs))


def _record(pair: Pair) -> dict[str, object]:
    record: dict[str, object] = {"id": pair.id, "video": pair.video, "query": pair.query}
    if len(pair.moments) == 1:
        record["start"], record["end"] = pair.moments[0]
    elif pair.moments:
        record["moments"] = pair.moments
    if pair.duration is not None:
        record["duration"] = pair.duration
    return record


# --- the data folder ----------------------------------------------------------------------------------------------


class DataFolder:
    """Annotation files beside videos, features, or both. Made by `DataFolder.open`.

    A link is followed where it is the folder `videos` or `features` itself; a link below them that leads out of the
    data folder is refused like a path that does.

    Attributes:
        path: the folder.
        splits: annotation file by split name: `train`, `val`, `test`, and others by their stem.
        features: the folder (or HDF5 file) that features are looked for in.
    """

    def __init__(self, path: Path, splits: Mapping[str, Path], features: Path) -> None:
        self.path = path
        self.splits = dict(splits)
        self.features = features
        self._stems = {file.stem: name for name, file in splits.items()}
        self._roots = [root for root in map(real_path, (path, path / "videos", features)) if root is not None]
        self._videos: dict[str, Found] = {}
        self._keys: dict[str, str] = {}
        self._indices: dict[Path, FeatureIndex] = {}

    @classmethod
    def open(cls, path: str | Path, features: str | Path | None = None) -> DataFolder:
        """Find the annotation files of a folder.

        Args:
            path: the data folder.
            features: where features made elsewhere lie; default: `features` in the data folder.

        Raises:
            DataError: if it is no folder, or no file in it is an annotation file of a known format.
        """
        path = Path(path)
        if not path.is_dir():
            raise DataError(f"{path}: {'not a folder' if path.exists() else 'no such folder'}")
        try:
            files = [file for file in sorted(path.iterdir()) if is_file(file) and not file.name.startswith(".")]
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error
        splits = formats.name_splits([file for file in files if formats.is_annotation(file)])
        if not splits:
            raise DataError(f"{path}: no annotation file, such as train.jsonl, in this folder")
        return cls(path, splits, path / "features" if features is None else Path(features))

    def split(
        self, name: str, *, require_moment: bool = False, check_videos: bool = True, strict: bool = False
    ) -> Split:
        """Read a split, with the rows whose video is not in the folder among the problems.

        Args:
            name: a name in `splits`, or the stem of its file.
            require_moment: a row without a moment is a bad row.
            check_videos: a row without video file and features is a bad row; without effect in a folder that holds
                neither. Paths that leave the folder are bad rows always.
            strict: raise on the first bad row.

        Raises:
            DataError: if there is no such split, its file is unusable, or a row is bad and `strict`.
        """
        name = name if name in self.splits else self._stems.get(name, name)
        if name not in self.splits:
            raise DataError(f"{self.path}: no split {name!r}; there is {', '.join(sorted(self.splits))}")
        found = read_pairs(self.splits[name], require_moment=require_moment, strict=strict)
        check_videos = check_videos and self.has_media
        pairs: list[Pair] = []
        absent: list[Pair] = []
        problems = list(found.problems)
        for pair in found.pairs:
            reason = outside_reason(pair.video)
            if reason is None:
                reason = self._unknown_reason(pair.video) if check_videos else None
                (pairs if reason is None else absent).append(pair)
            if reason is not None:
                problems.append(Problem(pair.file, pair.line, reason))
                if strict:
                    raise DataError(str(problems[-1]))
        problems.sort(key=lambda problem: problem.line)
        return replace(found, name=name, pairs=pairs, problems=problems, absent=absent)

    @property
    def has_media(self) -> bool:
        """Whether the folder holds any video file or features."""
        return bool(self._video_index) or bool(self._feature_index(self.features))

    def find_video(self, name: str) -> Path | None:
        """The video file of that name: a path below the folder or below `videos`, or a file's name or stem in it."""
        return self._video(name).path

    def find_features(self, name: str, folder: Path | None = None) -> Path | None:
        """The feature file of a video, or the HDF5 file with a data set of that video.

        Args:
            name: the video's name as annotated.
            folder: where to look (an HDF5 file will do as well); default: `features`.

        Raises:
            FeatureError: if only an HDF5 file can hold the video, and it cannot be read.
        """
        found = self._features(name, self.features if folder is None else folder)
        return None if found is None else found.path

    def video_key(self, name: str) -> str:
        """One name for each video: the data set's in HDF5, else the path below `videos` or `features` sans suffix."""
        if name not in self._keys:
            self._keys[name] = self._look_up_key(name)
        return self._keys[name]

    @cached_property
    def _video_index(self) -> FileIndex:
        return FileIndex([(self.path, False), (self.path / "videos", True)], VIDEO_SUFFIXES)

    def _feature_index(self, folder: Path) -> FeatureIndex:
        if folder not in self._indices:
            self._indices[folder] = FeatureIndex(folder)
        return self._indices[folder]

    def _is_inside(self, path: Path) -> bool:
        real = real_path(path)
        return real is not None and any(real.is_relative_to(root) for root in self._roots)

    def _names(self, name: str) -> list[str]:
        """Forms of a name to look up, the nearest to the annotation first."""
        plain = PurePosixPath(name).as_posix()
        below = plain.removeprefix("videos/")
        return list(dict.fromkeys([plain, below, without_suffix(below, VIDEO_SUFFIXES)]))

    def _video(self, name: str) -> Found:
        if name not in self._videos:
            self._videos[name] = self._look_up_video(name)
        return self._videos[name]

    def _look_up_video(self, name: str) -> Found:
        names = self._names(name)
        reason = outside_reason(name)
        if reason is not None:
            return Found(None, name, reason)
        path = next((path for path in (self.path / names[0], self.path / "videos" / names[0]) if is_file(path)), None)
        if path is None:
            paths = next((paths for paths in map(self._video_index.find, names) if paths), [])
            if len(paths) > 1:
                shown = ", ".join(path.relative_to(self.path).as_posix() for path in paths[:3])
                return Found(None, names[-1], f"{len(paths)} videos are called {shorten(name)}: {shown}")
            path = paths[0] if paths else None
        if path is None:
            return Found(None, names[-1], f"unknown video {shorten(name)}: neither a video nor features")
        if not self._is_inside(path):
            return Found(None, names[-1], f"the video {shorten(name)} is a link that leaves the data folder")
        return Found(path, self._video_index.key(path) or path.relative_to(self.path).as_posix())

    def _look_up_key(self, name: str) -> str:
        features = self._features(name, self.features)
        if features is not None and features.path is not None and features.path.suffix.lower() in HDF5_SUFFIXES:
            return features.key
        video = self._video(name)
        if video.path is None and features is not None:
            return features.key
        return video.key

    def _features(self, name: str, folder: Path) -> Found | None:
        if outside_reason(name) is not None:
            return None
        names = self._names(name)
        base = names[-1].rpartition("/")[2]
        if len(self._video_index.find(base)) <= 1:
            names.append(base)
        found = self._feature_index(folder).find(names)
        if found is not None and found.path is not None and folder == self.features:
            return found if self._is_inside(found.path) else found._replace(path=None, reason="a link that leaves it")
        return found

    def _unknown_reason(self, name: str) -> str | None:
        """Why the folder holds neither the video nor its features, or None if it does."""
        video = self._video(name)
        if video.path is not None:
            return None
        features = self._features(name, self.features)
        return None if features is not None and features.path is not None else video.reason
