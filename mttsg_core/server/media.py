"""What the page shows of videos: the files themselves, stills, and pieces of videos that browsers cannot play."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import NamedTuple

from pebble import ProcessExpired, ProcessFuture, ProcessPool
from PIL import Image

from mttsg_core.errors import MttsgError, VideoError
from mttsg_core.inference.excerpts import Excerpt, ExcerptFailed, cut_excerpts
from mttsg_core.moments import Moment
from mttsg_core.utils.processes import CRASHED, given_up, interrupts_blocked, worker_pool
from mttsg_core.video.seek import read_still

STILL_HEIGHTS = (120, 480)  # pixels: beside an answer, and in the place of the player
PIECE_SECONDS = 120.0  # at most; a longer one takes too long to make
_STILL_SECONDS = 15.0  # that a picture may take
_QUALITY = 80  # of JPEG files
_STILLS, _PIECES = 512, 16  # that are kept

# The types of files that browsers may play, by suffix; what a browser cannot play it asks in pieces.
_TYPES = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".qt"), "video/mp4"),
    **dict.fromkeys((".webm", ".mkv"), "video/webm"),
    **dict.fromkeys((".ogv", ".ogg", ".ogm"), "video/ogg"),
    **dict.fromkeys((".3gp", ".3g2"), "video/3gpp"),
}


class _State(NamedTuple):
    """A file as it is now: what was made of it holds as long as this does not change."""

    path: Path
    modified: int
    size: int

    @classmethod
    def of(cls, path: Path) -> _State:
        """Return the state of a file. Raises VideoError if it has gone."""
        try:
            status = path.stat()
        except OSError as error:
            raise VideoError(path, "has gone") from error
        return cls(path, status.st_mtime_ns, status.st_size)


def media_type(path: Path) -> str:
    """Return the type under which a video file is served: never one that a browser would run or show as a page."""
    return _TYPES.get(path.suffix.lower(), "application/octet-stream")


class Stills:
    """Single pictures of videos as JPEG files, read in a worker process; the last ones stay in memory."""

    def __init__(self, pool: ProcessPool) -> None:
        self._pool = pool
        self._kept: OrderedDict[tuple[_State, float, int], bytes] = OrderedDict()
        self._waiting: set[ProcessFuture[bytes]] = set()
        self._lock = Lock()

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Stills]:
        """Keep a worker while the block runs."""
        with worker_pool(1) as pool:
            stills = cls(pool)
            try:
                yield stills
            finally:
                stills._cancel()

    def get(self, path: Path, seconds: float, height: int) -> bytes:
        """Return the picture at a time, `height` pixels high, as a JPEG file.

        Raises:
            VideoError: if the video cannot be read there, or takes too long.
        """
        key = _State.of(path), round(seconds, 1), height
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        picture = self._read(path, seconds, height)
        with self._lock:
            self._kept[key] = picture
            while len(self._kept) > _STILLS:
                self._kept.popitem(last=False)
        return picture

    def _read(self, path: Path, seconds: float, height: int) -> bytes:
        with interrupts_blocked():
            future = self._pool.schedule(_still, args=(path, seconds, height), timeout=_STILL_SECONDS)
        with self._lock:
            self._waiting.add(future)
        try:
            picture = future.result()
        except FutureTimeoutError:
            raise VideoError(path, given_up(_STILL_SECONDS)) from None
        except (ProcessExpired, CancelledError):
            raise VideoError(path, CRASHED) from None
        finally:
            with self._lock:
                self._waiting.discard(future)
        return picture

    def _cancel(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for future in waiting:
            future.cancel()


class Pieces:
    """Pieces of videos as MP4 files that every browser plays, in a folder that goes with the server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: OrderedDict[tuple[_State, float, float], Path] = OrderedDict()
        self._lock = Lock()
        self._number = 0

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Pieces]:
        """Keep a folder for pieces while the block runs."""
        with TemporaryDirectory(prefix="mttsg-pieces-", ignore_cleanup_errors=True) as folder:
            yield cls(Path(folder))

    def get(self, path: Path, start: float, end: float) -> Path:
        """Return the file of a piece, `start` to `end` seconds, at most `PIECE_SECONDS` of them. One is made at a time.

        Raises:
            VideoError: if it cannot be made.
        """
        end = min(end, start + PIECE_SECONDS)
        key = _State.of(path), start, end
        with self._lock:
            if key not in self._made:
                self._number += 1
                target = self._folder / f"{self._number}.mp4"
                cut(Excerpt(path, Moment(start, end), target))
                self._made[key] = target
            self._made.move_to_end(key)
            while len(self._made) > _PIECES:
                self._made.popitem(last=False)[1].unlink(missing_ok=True)
            return self._made[key]


def cut(excerpt: Excerpt) -> None:
    """Cut one excerpt, over whatever its target is. Raises VideoError if that fails."""
    for event in cut_excerpts([excerpt], overwrite=True):
        if isinstance(event, ExcerptFailed):
            raise VideoError(excerpt.video, event.reason)


def _still(path: Path, seconds: float, height: int) -> bytes:
    try:
        picture = read_still(path, seconds, height)
    except MttsgError:
        raise
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        raise VideoError(path, f"no picture at {seconds:.1f} s ({type(error).__name__})") from error
    target = BytesIO()
    Image.fromarray(picture).save(target, "JPEG", quality=_QUALITY, optimize=True)
    return target.getvalue()
