"""Discovery of video files: from the files and folders a user names to the videos in them."""

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
    """A video file.

        >>> VideoFile(Path("videos/kitchen/a.mp4"), Path("kitchen/a.mp4")).output_path(Path("out"), ".npy").as_posix()
        'out/kitchen/a.npy'

    Attributes:
        path: the file.
        name: its path relative to the folder that the user named, or its file name.
    """

    path: Path
    name: Path

    def output_path(self, folder: Path, suffix: str) -> Path:
        """Return the path of the same name in another folder, with another suffix."""
        return folder / self.name.with_suffix(suffix)


def find_videos(paths: Sequence[Path]) -> list[VideoFile]:
    """Return the given files, and the files with a video suffix anywhere below the given folders.

    They come in the order given, those of a folder sorted by name. A file given directly is included whatever its
    suffix; reading it shows whether it is a video. Hidden files and folders are skipped, and a file that is reached
    twice is listed once.

    Raises:
        DataError: if there are no such files.
    """
    videos = [video for path in paths for video in _videos_of(path)]
    if not videos:
        raise DataError(f"no video files in {', '.join(str(path) for path in paths)}")
    unique: dict[str, VideoFile] = {}
    for video in videos:
        unique.setdefault(os.path.realpath(video.path), video)
    return list(unique.values())


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
