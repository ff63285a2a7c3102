"""Discovery of video files: from the files and folders a user names to the videos in them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mttsg_core.errors import DataError
from mttsg_core.video.excerpt_marks import ExcerptFilter
from mttsg_core.video.identify import PICTURE_SUFFIXES, WEAK_SUFFIXES, video_obstacle

# fmt: off
VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".mpe", ".m2v", ".m2ts", ".mts", ".ts",
    ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm", ".ogg", ".mxf", ".gif", ".rm",
    ".rmvb", ".divx", ".dv", ".y4m", ".apng", ".avif", ".webp", ".h264", ".h265", ".264", ".265", ".hevc", ".av1",
    ".ivf", ".nut", ".mjpeg", ".mjpg", ".mj2", ".qt", ".wtv",
)
# fmt: on

MIN_SECONDS = 1.0  # of a video in a folder; stickers and icons are shorter
TOO_SHORT = "shorter than a second; to use it, name the file itself"

_log = logging.getLogger("mttsg")


@dataclass(frozen=True)
class VideoFile:
    """A video file.

        >>> VideoFile(Path("videos/kitchen/a.mp4"), Path("kitchen/a.mp4")).output_path(Path("out"), ".npy").as_posix()
        'out/kitchen/a.npy'

    Attributes:
        path: the file.
        name: its path relative to the folder that the user named, or its file name.
        from_folder: whether it was found in a folder, rather than named by the user.
    """

    path: Path
    name: Path
    from_folder: bool = field(default=False, compare=False)

    def output_path(self, folder: Path, suffix: str, *, keep_suffix: bool = False) -> Path:
        """Return the path of the same name in another folder, with another suffix, or with a second one."""
        return folder / (self.name.with_name(self.name.name + suffix) if keep_suffix else self.name.with_suffix(suffix))


@dataclass(frozen=True)
class PassedOver:
    """A file in a searched folder that has a video suffix but is not a video.

    >>> str(PassedOver(Path("a.webp"), "an image, not a video"))
    'a.webp: passed over (an image, not a video)'
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: passed over ({self.reason})"


def find_videos(paths: Sequence[Path], on_passed_over: Callable[[PassedOver], object] | None = None) -> list[VideoFile]:
    """Return the given files, and the videos anywhere below the given folders.

    They come in the order given, those of a folder sorted by name. A file given directly is included whatever its
    suffix; reading it shows whether it is a video. Hidden files and folders are skipped, and a file that is reached
    twice is listed once.

    In a folder a file counts as a video by its suffix. Only if other files have that suffix as well (`WEAK_SUFFIXES`)
    are its first bytes read. Pictures that move, such as stickers and previews, are passed over; so are excerpts that
    `--clips` wrote (see `excerpt_marks`), unless their own folder is given.

    A folder that cannot be read takes the place of the videos in it, so that it fails where they would be used.

    Args:
        paths: files and folders.
        on_passed_over: called with each file that is passed over; None writes it to the log.

    Raises:
        DataError: if there are no videos.
    """
    passed: list[PassedOver] = []

    def pass_over(file: PassedOver) -> None:
        passed.append(file)
        if on_passed_over is None:
            _log.info("%s", file)
        else:
            on_passed_over(file)

    unique: dict[str, VideoFile] = {}
    for path in paths:
        for video in _videos_of(path, pass_over):
            known = unique.setdefault(os.path.realpath(video.path), video)
            if known.from_folder and not video.from_folder:
                unique[os.path.realpath(video.path)] = replace(known, from_folder=False)
    if not unique:
        examples = f"; {passed[0]}" if passed else ""
        raise DataError(f"no video files in {', '.join(str(path) for path in paths)}{examples}")
    return list(unique.values())


def is_too_short(seconds: float | None) -> bool:
    """Return whether a video in a folder is passed over for its length in seconds; named by itself it never is."""
    return seconds is not None and 0 < seconds < MIN_SECONDS


def _videos_of(path: Path, pass_over: Callable[[PassedOver], object]) -> Iterator[VideoFile]:
    if not path.is_dir():
        yield VideoFile(path, Path(path.name))
        return
    unreadable: list[OSError] = []
    excerpts = ExcerptFilter(path)
    for parent, folders, names in os.walk(path, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = excerpts.enter(parent, folders, names)
        for name in (Path(name) for name in sorted(found) if _has_video_suffix(name)):
            file = Path(parent, name)
            reason = _reason_to_pass_over(file)
            if reason is None:
                yield VideoFile(file, file.relative_to(path), from_folder=True)
            else:
                pass_over(PassedOver(file, reason))
    for folder in (Path(error.filename) for error in unreadable):
        yield VideoFile(folder, Path(folder.name) if folder == path else folder.relative_to(path), from_folder=True)


def _has_video_suffix(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES


def _reason_to_pass_over(file: Path) -> str | None:
    """Return why a file in a folder is not one of its videos, or None if it is."""
    suffix = file.suffix.lower()
    if suffix not in WEAK_SUFFIXES:
        return None
    obstacle = video_obstacle(file)
    if obstacle is None and suffix in PICTURE_SUFFIXES:
        return "a picture that moves; to use it, name the file itself"
    return obstacle
