"""Atomic writing: a file is complete, or it does not change. Parts that dead processes left behind are removed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from platform import node
from uuid import uuid4

from safetensors import SafetensorError

_PART = re.compile(r"\.mttsg-(?P<host>[0-9a-f]{8})-(?P<pid>\d{1,10})-[0-9a-f]{32}\.part|\.[0-9a-f]{32}\.part")
_OLD = 24 * 3600  # seconds after which a part is abandoned, whoever wrote it
_COLLECTED_FOLDERS = 1024  # folders whose parts this process remembers to have collected


def write_atomically(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """Let `write` fill a temporary file beside `path`, then replace `path` by it in one step.

    The temporary file, a part, belongs to this process alone: any number of processes may write the same file, and the
    last one wins. A link at `path` is replaced, not followed.

    Args:
        path: the file to write. Its folder is created if needed.
        write: called with the path of the part.
        durable: whether the file must survive a loss of power from the moment that it appears.

    Raises:
        OSError: if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _collect_once(path.parent)
    part = create_part(path.parent)
    try:
        mode = stat.S_IMODE(part.stat().st_mode)
        write(part)
        part.chmod(mode)  # safetensors creates the file anew, readable by its owner only
        if durable:
            _synchronise(part, os.O_RDWR)
        part.replace(path)
        if durable and os.name == "posix":
            _synchronise(path.parent, os.O_RDONLY)
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({error})") from error
    finally:
        part.unlink(missing_ok=True)


def create_part(folder: Path) -> Path:
    """Create an empty file that no other process writes, with a name that says whose it is.

    Raises:
        OSError: if nothing can be created in the folder.
    """
    part = folder / f".mttsg-{_host()}-{os.getpid()}-{uuid4().hex}.part"
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return part


def collect_parts(folder: Path) -> None:
    """Remove the parts in a folder whose process is dead. Those of other computers are removed after a day."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _PART.fullmatch(entry.name)
            if match is not None and _is_abandoned(entry, match["host"], match["pid"]):
                with suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108 -- an entry has no such method


def _is_abandoned(entry: os.DirEntry[str], host: str | None, pid: str | None) -> bool:
    if host == _host() and pid is not None and _is_dead(int(pid)):
        return True
    with suppress(OSError):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD
    return False


def _is_dead(pid: int) -> bool:
    """Return whether no process of this computer has that id; False if that cannot be told."""
    if os.name != "posix":
        return False  # Windows has no signal that only asks
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@lru_cache(maxsize=_COLLECTED_FOLDERS)
def _collect_once(folder: Path) -> None:
    collect_parts(folder)


@cache
def _host() -> str:
    """Return a short name of this computer, and of the container in which process ids count."""
    namespace = "/proc/self/ns/pid"
    container = ""
    if sys.platform == "linux":
        with suppress(OSError):
            container = os.readlink(namespace)  # noqa: PTH115 -- its target is not a path
    return hashlib.blake2b(f"{node()} {container}".encode(), digest_size=4).hexdigest()


def _synchronise(path: Path, flags: int) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
