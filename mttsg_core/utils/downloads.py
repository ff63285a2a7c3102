"""Progress of downloads, which happen deep inside of a call: whoever wants to show it watches from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

_REPORT_SECONDS = 0.1  # between two reports of a download
_FIRST_SECONDS = 1.0  # before the first: by then the sizes of all files are known


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is.

    Attributes:
        name: what is downloaded.
        folder: where it is kept.
        done: bytes that are on the disk.
        total: bytes of all files; it grows while their sizes arrive.
        finished: whether this is the last report.
    """

    name: str
    folder: Path
    done: int
    total: int
    finished: bool = False


OnDownload = Callable[[DownloadProgress], object]
_watcher: ContextVar[OnDownload | None] = ContextVar("mttsg_download_watcher", default=None)


@contextmanager
def watch_downloads(on_download: OnDownload) -> Iterator[None]:
    """Have the progress of the downloads in this block reported to a function. Threads of a download may call it."""
    token = _watcher.set(on_download)
    try:
        yield
    finally:
        _watcher.reset(token)


class DownloadMeter:
    """Counts the bytes of one download, from several threads, and reports them to whoever watches.

    Nothing is reported about a download that ends within a second.

    Args:
        name: what is downloaded.
        folder: where it is kept.
        first_seconds: seconds before the first report.
    """

    def __init__(self, name: str, folder: Path, *, first_seconds: float = _FIRST_SECONDS) -> None:
        self.name, self.folder = name, folder
        self._watcher = _watcher.get()  # of the thread that starts the download
        self._lock = threading.Lock()
        self._next_report = time.monotonic() + first_seconds
        self._reported = False

    def update(self, done: int, total: int) -> None:
        """Report the bytes on the disk, if the last report was some time ago."""
        if self._watcher is None or not total:
            return
        with self._lock:
            now = time.monotonic()
            if now < self._next_report:
                return
            self._next_report = now + _REPORT_SECONDS
            self._reported = True
            self._watcher(DownloadProgress(self.name, self.folder, min(done, total), total))

    def finish(self, done: int, total: int) -> None:
        """Report the end, whether or not all bytes have arrived; nothing if nothing was reported before."""
        if self._watcher is not None and self._reported:
            self._watcher(DownloadProgress(self.name, self.folder, min(done, total), total, finished=True))
