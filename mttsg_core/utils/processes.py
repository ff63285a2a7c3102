"""Worker processes for files that may crash or hang a decoder. They ignore Ctrl-C, and end with their parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from threading import Thread

from pebble import ProcessPool


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPool]:
    """A pool of fresh processes. Leaving waits for the work that is scheduled; leaving by an error stops it."""
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
def interrupts_held_back() -> Iterator[None]:
    """Workers started in here, or by threads started in here, never see a Ctrl-C, not even while they start up."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it, as the first worker does, would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker() -> None:
    """Make this process a worker: what each one calls first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed has nobody to work for."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
