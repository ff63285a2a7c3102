"""Frames on screen at given times, in chunks."""

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
from mttsg_core.video.resize import Framing, Scaling
from mttsg_core.video.rgb import RGB

# (info, ascending frame times, (width, height), scaling, threads) to (frame time, picture) as they are decoded.
Reader = Callable[[VideoInfo, FloatArray, tuple[int, int], Scaling, "int | None"], Iterator[tuple[float, RGB]]]

_BACK_ENDS: Mapping[str, Reader] = MappingProxyType({"pyav": pyav.read_frames, "decord": decord.read_frames})
_AUTO = "pyav"  # right on every file tried, and the faster one: benchmarks/video_reading.py
READERS = ("auto", *_BACK_ENDS)

_MOST_HELD = 16  # pictures that wait for an earlier one; no codec reorders more
_CHUNK_BYTES = 64 * 2**20  # of the pictures of a chunk, at most; a single picture may be larger


@dataclass(frozen=True, eq=False)
class FrameChunk:
    """Frames for B of the requested times.

    Attributes:
        indices: (B,) rows of the requested times, ascending through all chunks.
        times: (B,) seconds, the true times of the frames.
        frames: (B, H, W, 3) RGB pictures, upright.
    """

    indices: npt.NDArray[np.int64]
    times: FloatArray
    frames: RGB


class Sampling:
    """Streams the frames shown at the requested times; made by `sample`. Each iteration reads the file anew.

    Attributes:
        info: of the video.
        reader: the back end that is really used, `pyav` or `decord`.
        size: width and height of the pictures.
        lost: how many frames of those read by the last iteration could not be decoded. The rows of the requested
            times that show them are in no chunk. Complete when the iteration has ended.
    """

    def __init__(
        self,
        info: VideoInfo,
        times: FloatArray,
        framing: Framing,
        *,
        reader: str,
        chunk: int,
        threads: int | None,
    ) -> None:
        self.info, self.reader, self.size, self.lost = info, reader, framing.size, 0
        self._framing = framing
        self._chunk = max(1, min(chunk, _pictures_held(self.size)))
        self._threads = threads
        # The last frame that is not later; the first for times before it. Rows of one frame follow each other.
        shown = np.maximum(np.searchsorted(info.frame_times, times, side="right") - 1, 0)
        frames, self._first_rows, self._row_counts = np.unique(shown, return_index=True, return_counts=True)
        self._wanted = info.frame_times[frames]

    def __iter__(self) -> Iterator[FrameChunk]:
        """The chunks.

        Raises:
            VideoError: the file can no longer be read, or not by this back end.
            ConfigError: the back end is not installed.
        """
        self.lost = len(self._wanted)
        if not self.lost:
            return
        chunk = _ChunkBuilder(self._chunk, self.size)
        scaled = self._framing.scaled(self.info.width, self.info.height)
        middle = self._framing.middle(*scaled)
        found = _BACK_ENDS[self.reader](self.info, self._wanted, scaled, self._framing.scaling, self._threads)
        most_held = max(1, min(_MOST_HELD, _pictures_held(scaled)))
        for place, time, picture in in_order(found, self._wanted, most_held):
            self.lost -= 1
            first = int(self._first_rows[place])
            for row in range(first, first + int(self._row_counts[place])):
                chunk.add(row, time, picture[middle])
                if chunk.full:
                    yield chunk.take()
        if not chunk.empty:
            yield chunk.take()


def sample(
    video: VideoInfo | str | Path,
    times: npt.ArrayLike,
    size: tuple[int, int] | Framing | None = None,
    *,
    reader: str = "auto",
    chunk: int = 32,
    threads: int | None = None,
) -> Sampling:
    """The frames on screen at the given times, as an iterable of chunks.

    A time before the first frame shows the first one, a time after the last shows the last. A frame that is damaged has
    no stand-in: its rows are missing from the chunks, and `Sampling.lost` counts it.

    Args:
        video: a file, or what `probe` said of it.
        times: (N,) seconds, ascending; equal ones are allowed.
        size: width and height of the pictures, whatever the video's shape, or a `Framing`; None is its display size.
        reader: `auto`, `pyav` or `decord`. `auto` is `pyav`.
        chunk: rows in a chunk, at most; fewer where the pictures are large.
        threads: of the decoder; None is one per core.

    Raises:
        ConfigError: an unknown reader, or a size, chunk or number of threads below 1.
        ValueError: times that are not one ascending row of finite numbers.
        VideoError: as `probe`.
    """
    if reader not in READERS:
        raise ConfigError(f"unknown reader {reader!r}; there are {', '.join(READERS)}")
    if chunk < 1 or (threads is not None and threads < 1):
        raise ConfigError(f"chunk and threads must be at least 1, not {chunk}, {threads}")
    seconds = np.asarray(times, dtype=np.float64)
    if seconds.ndim != 1 or not np.isfinite(seconds).all() or (np.diff(seconds) < 0).any():
        raise ValueError("times must be one ascending row of finite numbers")
    info = video if isinstance(video, VideoInfo) else probe(video)
    used = _AUTO if reader == "auto" else reader
    framing = size if isinstance(size, Framing) else Framing(size or (info.width, info.height))
    return Sampling(info, seconds, framing, reader=used, chunk=chunk, threads=threads)


def in_order(
    found: Iterable[tuple[float, RGB]], wanted: FloatArray, most_held: int
) -> Iterator[tuple[int, float, RGB]]:
    """Pictures in the order of `wanted`, with their place in it; decoders of damaged videos mix them up.

    While an earlier picture may still come, later ones are held back. One that comes too late for that is left out.

    Args:
        found: (time, picture) in any order, each time one of `wanted`.
        wanted: (N,) seconds, ascending.
        most_held: how many pictures may be held back at once.
    """
    held: dict[int, tuple[float, RGB]] = {}
    following = 0  # the place whose turn it is
    for time, picture in found:
        place = int(np.searchsorted(wanted, time))
        if place >= following:
            held[place] = (time, picture)
        if len(held) > most_held:
            following = min(held)  # the places before were lost
        while following in held:
            yield following, *held.pop(following)
            following += 1
    for place in sorted(held):
        yield place, *held[place]


def _pictures_held(size: tuple[int, int]) -> int:
    """How many pictures of that size fit into a chunk."""
    return _CHUNK_BYTES // (size[0] * size[1] * 3)


class _ChunkBuilder:
    """Collects rows in one block of memory, which goes to the caller with the chunk."""

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
        """What was collected; the builder is empty afterwards."""
        chunk = FrameChunk(
            indices=np.array(self._indices, dtype=np.int64),
            times=np.array(self._times, dtype=np.float64),
            frames=self._frames[: len(self._indices)],
        )
        self._indices, self._times = [], []
        self._frames = np.empty(self._shape, dtype=np.uint8)
        return chunk
