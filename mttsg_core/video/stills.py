"""Small frames of videos as JPEG files.

`take_stills` reads videos in other processes with a time limit, so that one that crashes or hangs the decoder loses its
stills and nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mttsg_core.errors import VideoError
from mttsg_core.utils.processes import WorkerLost, run_in_workers
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample

TIME_LIMIT = 30.0  # seconds that a few stills of one video may take
_LIMIT_PER_STILL = 1.0  # more seconds for each of many
_HEIGHT, _MAX_WIDTH = 90, 200  # pixels
_QUALITY = 80  # of the JPEG files
_UNREADABLE = (VideoError, OSError, ValueError, ArithmeticError, MemoryError)


class Thumbnail(NamedTuple):
    """A frame: what it shows, its time in seconds, its size in pixels, and the JPEG file as base64."""

    label: str
    time: float
    width: int
    height: int
    jpeg: str


def take_stills(
    times: Mapping[Path, Sequence[float]], *, workers: int = 1, time_limit: float = TIME_LIMIT
) -> Generator[tuple[Path, dict[float, Thumbnail]], None, None]:
    """Yield videos, as they are done, with the thumbnails at some of their seconds: none of one that cannot be read.

    Args:
        times: seconds of each video.
        workers: number of videos to read at a time.
        time_limit: seconds that one video may take, beside a second for each still.
    """
    jobs = [((path, seconds), time_limit + _LIMIT_PER_STILL * len(seconds)) for path, seconds in times.items()]
    if not jobs:
        return
    with closing(run_in_workers(_read_stills, jobs, min(workers, len(jobs)))) as reading:
        for (path, _), stills in reading:
            yield path, {} if isinstance(stills, WorkerLost) else stills


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


def read_what_is_readable(path: Path, times: Sequence[tuple[str, float]]) -> list[Thumbnail]:
    """Do what `read_thumbnails` does, and return none of a video that cannot be read."""
    try:
        return read_thumbnails(path, times)
    except _UNREADABLE:
        return []


def encode_jpeg(frame: npt.NDArray[np.uint8]) -> str:
    """Return an RGB image (H, W, 3) as a JPEG file in base64."""
    target = BytesIO()
    Image.fromarray(frame).save(target, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(target.getvalue()).decode("ascii")


def _read_stills(job: tuple[Path, Sequence[float]]) -> dict[float, Thumbnail]:
    path, times = job
    stills = read_what_is_readable(path, [(str(index), time) for index, time in enumerate(times)])
    return {times[int(still.label)]: still for still in stills}
