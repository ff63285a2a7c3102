"""Worker processes for files that may crash or hang a decoder.

They leave Ctrl-C and the end of the terminal to their parent, and exit with it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # imported where workers are started: most answers come from cached features, without any
    from pebble import ProcessPool

CRASHED = "the decoder crashed"

_OF_PARENT = {getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)}
_WARNING = "ignore:resource_tracker"  # of leaked semaphores, as an option of the interpreter

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class WorkerLost:
    """What a job gives whose worker crashed or was given up; `reason` says which."""

    reason: str


def given_up(limit: float) -> str:
    """Return why a job that took longer than `limit` seconds failed."""
    return f"not done after {limit:.0f} s, given up"


def run_in_workers(
    work: Callable[[_Job], _Result], jobs: Sequence[tuple[_Job, float]], workers: int
) -> Generator[tuple[_Job, _Result | WorkerLost], None, None]:
    """Do jobs in worker processes and yield each with its result, in the order in which they finish.

    A worker that crashes or takes too long costs its own job. Closing the generator stops all workers.

    Args:
        work: a function that can be pickled; it runs in a worker.
        jobs: each with the seconds that it may take.
        workers: number of processes.

    Raises:
        Exception: whatever `work` raises.
    """
    with worker_pool(workers) as pool, closing(poll_pool(pool, work, jobs, None)) as results:
        for finished in results:
            if finished is not None:
                yield finished


def poll_pool(
    pool: ProcessPool, work: Callable[[_Job], _Result], jobs: Sequence[tuple[_Job, float]], seconds: float | None
) -> Generator[tuple[_Job, _Result | WorkerLost] | None, None, None]:
    """Do what `run_in_workers` does in the processes of a pool, which stay for further jobs.

    Yields None at least every `seconds` as well, for what goes on beside the results.
    """
    from pebble import ProcessExpired

    with interrupts_blocked():
        pending = {pool.schedule(work, args=(job,), timeout=limit): (job, limit) for job, limit in jobs}
    while pending:
        done, _ = wait(pending, timeout=seconds, return_when=FIRST_COMPLETED)
        yield None
        for future in done:
            job, limit = pending.pop(future)  # type: ignore[call-overload]  # and with it the result
            result: _Result | WorkerLost
            try:
                result = future.result()
            except FutureTimeoutError:
                result = WorkerLost(given_up(limit))
            except (ProcessExpired, CancelledError):
                result = WorkerLost(CRASHED)
            yield job, result


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPool]:
    """Open a pool of new processes. Leaving the block waits for scheduled work; an exception stops it."""
    from pebble import ProcessPool

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
