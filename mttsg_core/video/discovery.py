"""From what a user names, files and folders, to the video files that are meant."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mttsg_core.errors import DataError

# fmt: off
VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".mpe", ".m2v", ".m2ts", ".mts", ".ts",
    ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm", ".ogg", ".mxf", ".gif", ".rm",
    ".rmvb", ".divx", ".dv", ".y4m", ".apng", ".avif", ".webp", ".h264", ".h265", ".264", ".265", ".hevc", ".av1",
    ".ivf", ".nut", ".mjpeg", ".mjpg", ".mj2", ".qt", ".wtv",
)
# fmt: on


@dataclass(frozen=True)
class VideoFile:
    """A video file. `name` is its path below the folder that was named, or its file name."""

    path: Path
    name: Path

    def named_below(self, folder: Path, suffix: str) -> Path:
        """The file of the same name below another folder, with another suffix."""
        return folder / self.name.with_suffix(suffix)


def find_videos(paths: Sequence[Path]) -> list[VideoFile]:
    """The files named, and those with a video's suffix in the folders named, at any depth, in order of their names.

    A file named by itself is taken whatever its suffix; whether it is a video shows when it is read. Hidden files and
    folders are passed over.

    Raises:
        DataError: if there is none.
    """
    found = [video for path in paths for video in _videos_of(path)]
    if not found:
        raise DataError(f"no video files in {', '.join(str(path) for path in paths)}")
    first: dict[str, VideoFile] = {}
    for video in found:
        first.setdefault(os.path.realpath(video.path), video)
    return list(first.values())


def _videos_of(path: Path) -> Iterator[VideoFile]:
    if not path.is_dir():
        yield VideoFile(path, Path(path.name))
        return
    for parent, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                file = Path(parent, name)
                yield VideoFile(file, file.relative_to(path))
