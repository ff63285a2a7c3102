"""Small pictures of the moments in a report, as JPEG files inside the page.

Videos are read in another process with a time limit, so that one that crashes or hangs the decoder costs its pictures
and nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from pebble import ProcessExpired

from mttsg_core.errors import VideoError
from mttsg_core.report.cases import Case
from mttsg_core.utils.processes import interrupts_held_back, worker_pool
from mttsg_core.video import probe, sample

_HEIGHT, _LARGEST_WIDTH = 90, 200  # pixels
_TIME_LIMIT = 30.0  # seconds a video
_UNREADABLE = (VideoError, OSError, ValueError, ArithmeticError, MemoryError)


class Thumbnail(NamedTuple):
    """A frame: what it is of, its time in seconds, its size in pixels, and the JPEG file as base64."""

    label: str
    time: float
    width: int
    height: int
    jpeg: str


def wanted_times(case: Case) -> list[tuple[str, float]]:
    """What to show of a query: the middle of its (longest) true moment and of its first answer."""
    start, end = max(case.pair.moments, key=lambda span: span[1] - span[0])
    times = [("true", (start + end) / 2)]
    if case.answers:
        times.append(("answer", (case.answers[0].start + case.answers[0].end) / 2))
    return times


def take_thumbnails(
    cases: Sequence[Case], find_video: Callable[[str], Path | None], time_limit: float = _TIME_LIMIT
) -> Iterator[tuple[int, list[Thumbnail]]]:
    """The number of each case and its pictures; none where its video is not at hand or cannot be read.

    Args:
        cases: see `pick_cases`.
        find_video: the file of a video by its name, such as `DataFolder.find_video`.
        time_limit: seconds that one video may take.
    """
    files = {case.number: find_video(case.pair.video) for case in cases}
    if not any(files.values()):
        yield from ((case.number, []) for case in cases)
        return
    with worker_pool(1) as pool:
        futures = {}
        with interrupts_held_back():
            for case in cases:
                path = files[case.number]
                if path is not None:
                    futures[case.number] = pool.schedule(_read, args=(path, wanted_times(case)), timeout=time_limit)
        for case in cases:
            if case.number not in futures:
                yield case.number, []
                continue
            try:
                yield case.number, futures[case.number].result()
            except (FutureTimeoutError, ProcessExpired, CancelledError):
                yield case.number, []


def read_thumbnails(path: Path, wanted: Sequence[tuple[str, float]]) -> list[Thumbnail]:
    """Pictures of a video at the times wanted, in that order; none of a frame that cannot be decoded.

    Raises:
        VideoError: if the video cannot be read.
    """
    info = probe(path)
    width = min(_LARGEST_WIDTH, max(1, round(info.width / info.height * _HEIGHT)))
    size = (max(2, width // 2 * 2), _HEIGHT)
    order = sorted(range(len(wanted)), key=lambda place: wanted[place][1])
    found: dict[int, Thumbnail] = {}
    for chunk in sample(info, [wanted[place][1] for place in order], size, threads=1):
        for row, time, frame in zip(chunk.indices, chunk.times, chunk.frames, strict=True):
            place = order[int(row)]
            found[place] = Thumbnail(wanted[place][0], float(time), *size, encode_jpeg(frame))
    return [found[place] for place in sorted(found)]


def encode_jpeg(frame: np.ndarray) -> str:
    """An RGB picture (H, W, 3) with even sides as a JPEG file in base64."""
    target = BytesIO()
    with av.open(target, "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=Fraction(1))
        stream.width, stream.height, stream.pix_fmt = frame.shape[1], frame.shape[0], "yuvj420p"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return base64.b64encode(target.getvalue()).decode("ascii")


def _read(path: Path, wanted: Sequence[tuple[str, float]]) -> list[Thumbnail]:
    try:
        return read_thumbnails(path, wanted)
    except _UNREADABLE:
        return []
