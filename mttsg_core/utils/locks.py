"""A lock on a folder, held by one process at a time, that frees itself when the process ends in any way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mttsg_core.errors import BusyError


@contextmanager
def hold_lock(path: Path, owner: str) -> Iterator[None]:
    """Hold the lock of a file while the block runs. Folders are created if needed, and removed again if still empty.

    Args:
        path: the lock file; it holds the process id of whoever has the lock.
        owner: what is locked and what is at work in it, for the message: `model: another training`.

    Raises:
        BusyError: if another process, or this one, holds it.
        OSError: if the file cannot be created.
    """
    from filelock import FileLock, Timeout  # here, since every command imports this module and only training locks

    created = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"{owner} is at work{_process(path)}") from None
    try:
        with suppress(OSError):  # on Windows nobody can read or write a file that is locked
            path.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: whoever opened it before sees that it is gone, and opens it anew
        lock.release()
        for folder in created:
            with suppress(OSError):
                folder.rmdir()


def _process(path: Path) -> str:
    """Return the process that holds a lock, as messages name it; nothing if that cannot be told."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return f" (pid {text})" if text.isdecimal() else ""
