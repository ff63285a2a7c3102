"""Small frames of the moments on an evaluation page, as JPEG files inside the page.

Videos are read in another process with a time limit, so that one that crashes or hangs the decoder loses its thumbnails
and nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pebble import ProcessExpired
from PIL import Image

from mttsg_core.data.pairs import Pair
from mttsg_core.errors import VideoError
from mttsg_core.moments import Moment
from mttsg_core.utils.processes import interrupts_blocked, worker_pool
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample

TRUE, PREDICTED = "true", "prediction"
_HEIGHT, _MAX_WIDTH = 90, 200  # pixels
_QUALITY = 80  # of the JPEG files
_TIME_LIMIT = 30.0  # seconds per video
_UNREADABLE = (VideoError, OSError, ValueError, ArithmeticError, MemoryError)


class Thumbnail(NamedTuple):
    """A frame: what it shows, its time in seconds, its size in pixels, and the JPEG file as base64."""

    label: str
    time: float
    width: int
    height: int
    jpeg: str


class Pictured(Protocol):
    """A query that a page shows with stills, such as a `Case`."""

    @property
    def index(self) -> int:
        """The query's index in the split."""

    @property
    def pair(self) -> Pair:
        """The query and its true moments."""

    @property
    def predictions(self) -> Sequence[Moment]:
        """The first of them is pictured too, if there are any."""


def thumbnail_times(case: Pictured) -> list[tuple[str, float]]:
    """Return labels and seconds of frames to show: the middle of the longest true moment and of the top prediction."""
    start, end = max(case.pair.moments, key=lambda span: span[1] - span[0])
    times = [(TRUE, (start + end) / 2)]
    if case.predictions:
        times.append((PREDICTED, (case.predictions[0].start + case.predictions[0].end) / 2))
    return times


def take_thumbnails(
    cases: Sequence[Pictured], find_video: Callable[[str], Path | None], time_limit: float = _TIME_LIMIT
) -> Iterator[tuple[int, list[Thumbnail]]]:
    """Yield the index of each case and its thumbnails: none where its video is missing or cannot be read.

    Args:
        cases: see `pick_cases`.
        find_video: returns the file of a video by its name, such as `DataFolder.find_video`.
        time_limit: seconds that one case may take.
    """
    files = {case.index: find_video(case.pair.video) for case in cases}
    if not any(files.values()):
        yield from ((case.index, []) for case in cases)
        return
    with worker_pool(1) as pool:
        futures = {}
        with interrupts_blocked():
            for case in cases:
                path = files[case.index]
                if path is not None:
                    futures[case.index] = pool.schedule(_read, args=(path, thumbnail_times(case)), timeout=time_limit)
        for case in cases:
            if case.index not in futures:
                yield case.index, []
                continue
            try:
                yield case.index, futures[case.index].result()
            except (FutureTimeoutError, ProcessExpired, CancelledError):
                yield case.index, []


def read_thumbnails(path: Path, times: Sequence[tuple[str, float]]) -> list[Thumbnail]:
    """Return thumbnails of a video for the labels and seconds given, in that order, without frames that are damaged.

    Raises:
        VideoError: if the video cannot be read.
    """
    info = probe(path)
    size = (min(_MAX_WIDTH, max(2, round(info.width / info.height * _HEIGHT))), _HEIGHT)
    order = sorted(range(len(times)), key=lambda index: times[index][1])
    thumbnails: dict[int, Thumbnail] = {}
    for chunk in sample(info, [times[index][1] for index in order], size, threads=1):
        for row, time, frame in zip(chunk.indices, chunk.times, chunk.frames, strict=True):
            index = order[int(row)]
            thumbnails[index] = Thumbnail(times[index][0], float(time), *size, encode_jpeg(frame))
    return [thumbnails[index] for index in sorted(thumbnails)]


def encode_jpeg(frame: npt.NDArray[np.uint8]) -> str:
    """Return an RGB image (H, W, 3) as a JPEG file in base64."""
    target = BytesIO()
    Image.fromarray(frame).save(target, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(target.getvalue()).decode("ascii")


def _read(path: Path, times: Sequence[tuple[str, float]]) -> list[Thumbnail]:
    try:
        return read_thumbnails(path, times)
    except _UNREADABLE:
        return []
