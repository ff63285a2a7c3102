"""Worker processes for files that may crash or hang a decoder.

They leave Ctrl-C and the end of the terminal to their parent, and exit with it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from threading import Thread

from pebble import ProcessPool

_OF_PARENT = {getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)}
_WARNING = "ignore:resource_tracker"  # of leaked semaphores, as an option of the interpreter


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPool]:
    """Open a pool of new processes. Leaving the block waits for scheduled work; an exception stops it."""
    _start_resource_tracker()
    pool = ProcessPool(max_workers=workers, context=get_context("spawn"), initializer=start_worker)
    finished = False
    try:
        yield pool
        finished = True
    finally:
        if finished:
            pool.close()
        else:
            pool.stop()
        pool.join()


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C for workers that are started in the block, or by threads started in it, from their first moment."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    _start_resource_tracker()  # the first worker would start it, and thereby unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker() -> None:
    """Set up this process as a worker. Every worker calls this first."""
    for number in _OF_PARENT:
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _start_resource_tracker() -> None:
    """Start the process that removes the semaphores of a parent that was killed; it is to do so without a warning."""
    if not hasattr(signal, "pthread_sigmask"):
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_PARENT)
    sys.warnoptions.append(_WARNING)  # it is started with these
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(_WARNING)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Exit once the parent is gone: nobody would receive the results."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
