"""What is in the cache of features, and what of it can go."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mttsg_core.errors import FeatureError
from mttsg_core.features.arrays import read_metadata
from mttsg_core.features.store import FeatureCache
from mttsg_core.utils.atomic import collect_parts
from mttsg_core.utils.locks import have_folder_alone

_DAY = 24 * 3600


@dataclass(frozen=True)
class CacheGroup:
    """The features of one encoder with one set of settings.

    Attributes:
        name: of their folder.
        encoder: its id.
        fps: clips per second; None if it is unknown.
        videos: number of videos.
        bytes: size of their features.
        stale: number of videos that are not where they were.
    """

    name: str
    encoder: str
    fps: float | None
    videos: int
    bytes: int
    stale: int


@dataclass(frozen=True)
class CacheContents:
    """What is in a cache.

    Attributes:
        folder: the cache.
        groups: its features.
        unfinished: number of long videos of which only parts are done.
        unfinished_bytes: size of these parts.
    """

    folder: Path
    groups: tuple[CacheGroup, ...]
    unfinished: int
    unfinished_bytes: int

    @property
    def bytes(self) -> int:
        """Size of all of it."""
        return sum(group.bytes for group in self.groups) + self.unfinished_bytes

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "folder": str(self.folder),
            "bytes": self.bytes,
            "groups": [vars(group) for group in self.groups],
            "unfinished": self.unfinished,
            "unfinished_bytes": self.unfinished_bytes,
        }


@dataclass(frozen=True)
class _Entry:
    path: Path
    bytes: int
    made: float  # seconds since the epoch

    @property
    def is_stale(self) -> bool:
        """Whether the video is not where it was; unknown, and so False, in files of earlier versions."""
        try:
            source = read_metadata(self.path).get("source")
        except FeatureError:
            return True  # damaged: of no use
        return isinstance(source, str) and not os.path.lexists(source.encode("utf-8", "surrogateescape"))


def list_cache(cache: FeatureCache) -> CacheContents:
    """Return what is in a cache; a folder that does not exist is empty."""
    groups = []
    for folder in _group_folders(cache):
        entries = list(_entries(folder))
        if not entries:
            continue
        encoder, fps = _made_by(entries)
        stale = sum(entry.is_stale for entry in entries)
        size = sum(entry.bytes for entry in entries)
        groups.append(CacheGroup(folder.name, encoder or folder.name, fps, len(entries), size, stale))
    parts = list(_unfinished(cache))
    return CacheContents(cache.folder, tuple(groups), len(parts), sum(entry.bytes for entry in parts))


def prune_cache(cache: FeatureCache, older_than: float | None = None) -> tuple[int, int]:
    """Delete the features of videos that are not where they were, damaged ones and what unfinished extractions left.

    Args:
        cache: the cache.
        older_than: also delete what was made more than this many days ago; younger unfinished extractions stay then.

    Returns:
        The number of videos whose features were deleted, and the bytes that are free now.

    Raises:
        BusyError: if another process is writing to the cache.
        OSError: if something cannot be deleted.
    """
    if not cache.folder.is_dir():
        return 0, 0
    limit = None if older_than is None else time.time() - older_than * _DAY
    with have_folder_alone(cache.folder, f"{cache.folder}: another process"):
        deleted = size = 0
        for folder in _group_folders(cache):
            collect_parts(folder)
            for entry in [entry for entry in _entries(folder) if entry.made < (limit or 0.0) or entry.is_stale]:
                entry.path.unlink()
                deleted, size = deleted + 1, size + entry.bytes
            with suppress(OSError):
                folder.rmdir()  # if it is empty
        for entry in [entry for entry in _unfinished(cache) if limit is None or entry.made < limit]:
            shutil.rmtree(entry.path)
            deleted, size = deleted + 1, size + entry.bytes
        with suppress(OSError):
            cache.partial_folder.rmdir()
    return deleted, size


def _group_folders(cache: FeatureCache) -> Iterator[Path]:
    if cache.folder.is_dir():
        hidden = cache.partial_folder.name
        yield from sorted(
            path
            for path in cache.folder.iterdir()
            if path.is_dir() and path.name != hidden and not path.name.startswith(".")
        )


def _entries(folder: Path) -> Iterator[_Entry]:
    for path in sorted(folder.glob("*.safetensors")):
        with suppress(OSError):
            status = path.stat()
            yield _Entry(path, status.st_size, status.st_mtime)


def _unfinished(cache: FeatureCache) -> Iterator[_Entry]:
    """Yield the folders of unfinished extractions."""
    if not cache.partial_folder.is_dir():
        return
    for folder in sorted(path for path in cache.partial_folder.iterdir() if path.is_dir()):
        parts = list(_entries(folder))
        made = max((part.made for part in parts), default=0.0)
        yield _Entry(folder, sum(part.bytes for part in parts), made)


def _made_by(entries: list[_Entry]) -> tuple[str | None, float | None]:
    """Return the encoder and the clips per second of features that can be read."""
    for entry in entries:
        with suppress(FeatureError):
            fingerprint = read_metadata(entry.path).get("fingerprint")
            if isinstance(fingerprint, dict):
                fps = fingerprint.get("fps")
                return str(fingerprint.get("encoder")), float(fps) if isinstance(fps, int | float) else None
    return None, None
