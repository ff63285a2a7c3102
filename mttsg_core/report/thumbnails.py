"""Small frames of the moments on an evaluation page, as JPEG files inside the page.

Videos are read in another process with a time limit, so that one that crashes or hangs the decoder loses its thumbnails
and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Protocol

from pebble import ProcessExpired

from mttsg_core.data.pairs import Pair
from mttsg_core.moments import Moment
from mttsg_core.utils.processes import interrupts_blocked, worker_pool
from mttsg_core.video.stills import TIME_LIMIT, Thumbnail, read_what_is_readable

__all__ = ["PREDICTED", "TRUE", "Thumbnail", "take_thumbnails", "thumbnail_times"]

TRUE, PREDICTED = "true", "prediction"


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
    cases: Sequence[Pictured], find_video: Callable[[str], Path | None], time_limit: float = TIME_LIMIT
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
                    futures[case.index] = pool.schedule(
                        read_what_is_readable, args=(path, thumbnail_times(case)), timeout=time_limit
                    )
        for case in cases:
            if case.index not in futures:
                yield case.index, []
                continue
            try:
                yield case.index, futures[case.index].result()
            except (FutureTimeoutError, ProcessExpired, CancelledError):
                yield case.index, []
