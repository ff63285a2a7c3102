"""The identity of video files: by which the cache finds their features, and which tells whether a file has changed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mttsg_core.errors import ChangedVideoError

_SAMPLED_BLOCKS, _SAMPLED_BYTES = 16, 1 << 16  # of a video file, for its identity

_Event = TypeVar("_Event")
_Result = TypeVar("_Result")


def file_identity(path: Path) -> str:
    """Return a name for the content of a file, cheap to compute for files of any size.

    Raises:
        OSError: if the file cannot be read, or is not a regular file (opening a pipe would wait for a writer).
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        os.scandir(path).close()  # whether it can be read at all
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    digest = hashlib.blake2b(f"{status.st_size} {status.st_mtime_ns}".encode(), digest_size=16)
    with path.open("rb") as file:
        step = max(_SAMPLED_BYTES, status.st_size // _SAMPLED_BLOCKS)
        for offset in range(0, status.st_size, step):
            file.seek(offset)
            digest.update(file.read(_SAMPLED_BYTES))
    return digest.hexdigest()


def clock_version(video: Path) -> str:
    """Return a part of the address of cached features that tells how the times of the video's frames were read.

    It is not in the fingerprint, because features of the same frames are the same: models accept either. Times of all
    containers but MP4 were once counted from the zero of the file's own clock; MP4 files have kept their features.

    Raises:
        OSError: if the file cannot be read.
    """
    with video.open("rb") as file:
        return "" if file.read(8)[4:] == b"ftyp" else "-from-start"


@dataclass(frozen=True)
class FileState:
    """What a file was like at one moment. Two equal states mean that nobody wrote or replaced it in between.

    Attributes:
        identity: of its content, see `file_identity`.
        version: of the file itself: its device, number and time of change, which no program can set back.
    """

    identity: str
    version: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """Return the state of a file, or None if it cannot be read."""
        try:
            status = path.stat()
            return cls(file_identity(path), (status.st_dev, status.st_ino, status.st_ctime_ns))
        except OSError:
            return None


def read_unchanged(
    path: Path, identity: str | None, read: Callable[[], Generator[_Event, None, _Result]]
) -> Generator[_Event, None, _Result]:
    """Pass on the events of `read`, and return what it reads from a file that stayed the same meanwhile.

    If the file did not stay the same, it is read once more.

    Args:
        path: the file.
        identity: that it must have; None for the one that it has now.
        read: reads it.

    Raises:
        ChangedVideoError: if the file changed both times, or has another identity.
        Exception: whatever `read` raises.
    """
    for _ in range(2):
        before = FileState.of(path)
        if before is not None and identity is not None and before.identity != identity:
            continue
        result = yield from read()  # of a file without a state, it says why that cannot be read
        if before is not None and FileState.of(path) == before:
            return result
    raise ChangedVideoError(path)
