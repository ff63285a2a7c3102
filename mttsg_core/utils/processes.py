"""Worker processes for files that may crash or hang a decoder. They ignore Ctrl-C and exit with their parent."""

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
    """Open a pool of new processes. Leaving the block waits for scheduled work; an exception stops it."""
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
    resource_tracker.ensure_running()  # the first worker would start it, and thereby unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker() -> None:
    """Set up this process as a worker. Every worker calls this first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit once the parent is gone: nobody would receive the results."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
