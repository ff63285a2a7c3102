"""Locks on folders, for one process or for many at a time, that free themselves when a process ends in any way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from mttsg_core.errors import BusyError

_SHARERS, _ALONE = ".writers", ".alone.lock"
_WAIT_SECONDS = 60.0  # for whoever has a folder alone


@contextmanager
def hold_lock(path: Path, owner: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a file while the block runs. Folders are created if needed, and removed again if still empty.

    Args:
        path: the lock file; it holds the process id of whoever has the lock.
        owner: what is locked and what is at work in it, for the message: `model: another training`.
        wait: seconds to wait for whoever has the lock.

    Raises:
        BusyError: if another process, or this one, holds it.
        OSError: if the file cannot be created.
    """
    from filelock import FileLock, Timeout  # here, since every command imports this module and only training locks

    created = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=wait, thread_local=False)
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


@contextmanager
def share_folder(folder: Path) -> Iterator[None]:
    """Be one of any number of processes that write to a folder while the block runs; wait while one has it alone.

    Where nothing can be written, the block runs all the same.
    """
    from filelock import FileLock, Timeout

    own = folder / _SHARERS / f"{os.getpid()}-{uuid4().hex}.lock"
    with ExitStack() as stack:
        with suppress(OSError, BusyError):
            stack.enter_context(hold_lock(own, str(folder)))
        if (folder / _ALONE).exists():
            with suppress(OSError, Timeout), FileLock(folder / _ALONE, timeout=_WAIT_SECONDS):
                pass
        yield


@contextmanager
def have_folder_alone(folder: Path, owner: str) -> Iterator[None]:
    """Keep the processes of `share_folder` out of a folder while the block runs.

    Args:
        folder: must exist.
        owner: what is at work if others are there, for the message: `cache: an extraction`.

    Raises:
        BusyError: if another process is at work in it.
        OSError: if the lock cannot be created.
    """
    from filelock import FileLock, Timeout

    with hold_lock(folder / _ALONE, owner):
        for path in (folder / _SHARERS).glob("*.lock"):
            try:
                with FileLock(path, timeout=0):
                    path.unlink(missing_ok=True)  # its process is dead
            except Timeout:
                raise BusyError(f"{owner} is at work{_process(path)}") from None
        yield


def _process(path: Path) -> str:
    """Return the process that holds a lock, as messages name it; nothing if that cannot be told."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return f" (pid {text})" if text.isdecimal() else ""
