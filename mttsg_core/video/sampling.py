"""Sampling: the frames on screen at given times, streamed in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import ConfigError
from mttsg_core.moments import FloatArray
from mttsg_core.video import decord, pyav
from mttsg_core.video.probe import VideoInfo, probe
from mttsg_core.video.resize import FrameTransform, Scaling
from mttsg_core.video.rgb import RGB

# Takes (info, ascending frame times, (width, height), scaling, threads); yields (frame time, picture) as decoded.
Reader = Callable[[VideoInfo, FloatArray, tuple[int, int], Scaling, "int | None"], Iterator[tuple[float, RGB]]]

_BACK_ENDS: Mapping[str, Reader] = MappingProxyType({"pyav": pyav.read_frames, "decord": decord.read_frames})
_AUTO = "pyav"  # correct on every file tried, and the faster one: benchmarks/video_reading.py
READERS = ("auto", *_BACK_ENDS)

_MAX_HELD = 16  # pictures that wait for an earlier one; no codec reorders more
_CHUNK_BYTES = 64 * 2**20  # of the pictures of a chunk, at most; a single picture may be larger


@dataclass(frozen=True, eq=False)
class FrameChunk:
    """The frames of B of the requested times.

    Attributes:
        indices: (B,) rows of the requested times, ascending across all chunks.
        times: (B,) seconds, the true times of the frames.
        frames: (B, H, W, 3) RGB pictures, upright.
    """

    indices: npt.NDArray[np.int64]
    times: FloatArray
    frames: RGB


class Sampling:
    """A stream of the frames shown at the requested times, created by `sample`. Each iteration reads the file again.

    Attributes:
        info: the probed video.
        reader: the back end in use, `pyav` or `decord`.
        size: width and height of the pictures.
        lost: number of wanted frames that the last iteration could not decode; final once the iteration has ended. The
            requested times that show them have no row in any chunk.
    """

    def __init__(
        self,
        info: VideoInfo,
        times: FloatArray,
        transform: FrameTransform,
        *,
        reader: str,
        chunk: int,
        threads: int | None,
    ) -> None:
        self.info, self.reader, self.size, self.lost = info, reader, transform.size, 0
        self._transform = transform
        self._chunk = max(1, min(chunk, _pictures_per_chunk(self.size)))
        self._threads = threads
        # The frame on screen is the last one that is not later; before the first frame it is the first. Times that show
        # the same frame are consecutive rows.
        shown = np.maximum(np.searchsorted(info.frame_times, times, side="right") - 1, 0)
        frames, self._first_rows, self._row_counts = np.unique(shown, return_index=True, return_counts=True)
        self._wanted = info.frame_times[frames]

    def __iter__(self) -> Iterator[FrameChunk]:
        """Yield the chunks.

        Raises:
            VideoError: if the file can no longer be read, or not by this back end.
            ConfigError: if the back end is not installed.
        """
        self.lost = len(self._wanted)
        if not self.lost:
            return
        chunk = _ChunkBuilder(self._chunk, self.size)
        resized = self._transform.resized_size(self.info.width, self.info.height)
        crop = self._transform.center_crop(*resized)
        decoded = _BACK_ENDS[self.reader](self.info, self._wanted, resized, self._transform.scaling, self._threads)
        max_held = max(1, min(_MAX_HELD, _pictures_per_chunk(resized)))
        for index, time, picture in restore_order(decoded, self._wanted, max_held):
            self.lost -= 1
            first = int(self._first_rows[index])
            for row in range(first, first + int(self._row_counts[index])):
                chunk.add(row, time, picture[crop])
                if chunk.full:
                    yield chunk.take()
        if not chunk.empty:
            yield chunk.take()


def sample(
    video: VideoInfo | str | Path,
    times: npt.ArrayLike,
    size: tuple[int, int] | FrameTransform | None = None,
    *,
    reader: str = "auto",
    chunk: int = 32,
    threads: int | None = None,
) -> Sampling:
    """Return the frames on screen at the given times, as an iterable of chunks.

    A time before the first frame shows the first frame, a time after the last shows the last. A damaged frame is not
    replaced by another one: its rows are missing from the chunks, and `Sampling.lost` counts it.

    Args:
        video: a file, or the result of `probe`.
        times: (N,) seconds, ascending; equal times are allowed.
        size: width and height of the pictures, whatever the video's aspect ratio, or a `FrameTransform`; None takes the
            display size.
        reader: `auto`, `pyav` or `decord`. `auto` is `pyav`.
        chunk: rows per chunk, at most; fewer if the pictures are large.
        threads: decoder threads; None uses one per core.

    Raises:
        ConfigError: if the reader is unknown, or a size, `chunk` or `threads` is below 1.
        ValueError: if `times` is not a 1-D array of ascending finite numbers.
        VideoError: if the video cannot be probed, see `probe`.
    """
    if reader not in READERS:
        raise ConfigError(f"unknown reader {reader!r}; available: {', '.join(READERS)}")
    if chunk < 1 or (threads is not None and threads < 1):
        raise ConfigError(f"chunk and threads must be at least 1, not {chunk} and {threads}")
    seconds = np.asarray(times, dtype=np.float64)
    if seconds.ndim != 1 or not np.isfinite(seconds).all() or (np.diff(seconds) < 0).any():
        raise ValueError("times must be a 1-D array of ascending finite numbers")
    info = video if isinstance(video, VideoInfo) else probe(video)
    back_end = _AUTO if reader == "auto" else reader
    transform = size if isinstance(size, FrameTransform) else FrameTransform(size or (info.width, info.height))
    return Sampling(info, seconds, transform, reader=back_end, chunk=chunk, threads=threads)


def restore_order(
    decoded: Iterable[tuple[float, RGB]], wanted: FloatArray, max_held: int
) -> Iterator[tuple[int, float, RGB]]:
    """Yield (index in `wanted`, time, picture) in ascending order; decoders of damaged videos mix frames up.

    While an earlier picture may still come, later ones are held back. A picture that comes too late is dropped.

    >>> picture = np.zeros((1, 1, 3), dtype=np.uint8)
    >>> decoded = [(0.1, picture), (0.0, picture), (0.2, picture)]
    >>> [(index, time) for index, time, _ in restore_order(decoded, np.array([0.0, 0.1, 0.2]), max_held=2)]
    [(0, 0.0), (1, 0.1), (2, 0.2)]

    Args:
        decoded: (time, picture) in any order, each time one of `wanted`.
        wanted: (N,) seconds, ascending.
        max_held: number of pictures that may be held back at once.
    """
    held: dict[int, tuple[float, RGB]] = {}
    next_index = 0
    for time, picture in decoded:
        index = int(np.searchsorted(wanted, time))
        if index >= next_index:
            held[index] = (time, picture)
        if len(held) > max_held:
            next_index = min(held)  # the pictures before it are lost
        while next_index in held:
            yield next_index, *held.pop(next_index)
            next_index += 1
    for index in sorted(held):
        yield index, *held[index]


def _pictures_per_chunk(size: tuple[int, int]) -> int:
    """Return how many pictures of the given width and height fit into a chunk."""
    return _CHUNK_BYTES // (size[0] * size[1] * 3)


class _ChunkBuilder:
    """A buffer that collects rows in one block of memory, which it hands over with the chunk."""

    def __init__(self, rows: int, size: tuple[int, int]) -> None:
        self._shape = (rows, size[1], size[0], 3)
        self._indices: list[int] = []
        self._times: list[float] = []
        self._frames: RGB = np.empty(self._shape, dtype=np.uint8)

    @property
    def empty(self) -> bool:
        return not self._indices

    @property
    def full(self) -> bool:
        return len(self._indices) == self._shape[0]

    def add(self, index: int, time: float, picture: RGB) -> None:
        self._frames[len(self._indices)] = picture
        self._indices.append(index)
        self._times.append(time)

    def take(self) -> FrameChunk:
        """Return the collected rows and empty the buffer."""
        chunk = FrameChunk(
            indices=np.array(self._indices, dtype=np.int64),
            times=np.array(self._times, dtype=np.float64),
            frames=self._frames[: len(self._indices)],
        )
        self._indices, self._times = [], []
        self._frames = np.empty(self._shape, dtype=np.uint8)
        return chunk
