"""Video files to the frames of clips: here, or in worker processes that send them over as they come.

Workers are for an encoder of which there is one for all: they decode while it encodes. The frames of a video come piece
by piece, and a worker waits until a piece is taken, so that memory does not grow with the videos.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import MttsgError, VideoError
from mttsg_core.moments import Timeline
from mttsg_core.utils.processes import interrupts_held_back, start_worker
from mttsg_core.video import FrameChunk, Framing, probe, sample

_LOOK_ROUND = 1.0  # seconds between two looks for workers that hang


@dataclass(frozen=True)
class Reading:
    """Which frames of a video are wanted.

    Attributes:
        fps: clips a second.
        frames_per_clip: frames spread evenly inside a clip.
        framing: of each picture.
        reader: back end of the video reader.
        clips_at_once: in a piece, at most.
        threads: of the decoder; None lets it choose.
    """

    fps: float
    frames_per_clip: int
    framing: Framing
    reader: str
    clips_at_once: int
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """The frames of some clips of a video.

    Attributes:
        clips: (B,) which clips, ascending through all pieces of a video.
        frames: (B, frames_per_clip, H, W, 3) RGB.
    """

    clips: list[int]
    frames: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Ended:
    """There are no more frames of a video, because of `reason` if it failed."""

    reason: str | None = None


Piece = Timeline | ClipFrames | Ended  # of a video first its timeline, in the end whether all went well


def read_clips(video: Path, reading: Reading) -> tuple[Timeline, Iterator[ClipFrames]]:
    """The timeline of a video file and the frames of its clips; clips with a frame that is lost are left out.

    Raises:
        VideoError: if it cannot be read; also while the frames are iterated over.
    """
    info = probe(video)
    timeline = Timeline.at_rate(info.duration - info.start, reading.fps, info.start)
    chunks = sample(
        info,
        timeline.sample_times(reading.frames_per_clip),
        reading.framing,
        reader=reading.reader,
        chunk=reading.clips_at_once * reading.frames_per_clip,
        threads=reading.threads,
    )
    return timeline, whole_clips(chunks, reading.frames_per_clip)


def whole_clips(chunks: Iterable[FrameChunk], per_clip: int) -> Iterator[ClipFrames]:
    """Frames of the clips of which every frame was read."""
    rest_numbers = np.empty(0, dtype=np.int64)
    rest_frames: npt.NDArray[np.uint8] | None = None
    for chunk in chunks:
        numbers = np.concatenate([rest_numbers, chunk.indices])
        frames = chunk.frames if rest_frames is None else np.concatenate([rest_frames, chunk.frames])
        open_clip = numbers // per_clip == numbers[-1] // per_clip
        if open_clip.sum() == per_clip:
            open_clip[:] = False
        rest_numbers, rest_frames = numbers[open_clip], frames[open_clip]
        clips, counts = np.unique(numbers[~open_clip] // per_clip, return_counts=True)
        whole = clips[counts == per_clip]
        if len(whole):
            keep = np.isin(numbers // per_clip, whole)
            yield ClipFrames(whole.tolist(), frames[keep].reshape(len(whole), per_clip, *frames.shape[1:]))


def read_ahead(pieces: Iterator[ClipFrames]) -> Generator[ClipFrames, None, None]:
    """The same pieces; while one is used, a thread reads the next. Raises what reading them raises."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(next, pieces, None)
        while (piece := following.result()) is not None:
            following = reader.submit(next, pieces, None)
            yield piece


def read_many(
    videos: Sequence[Path], limits: Sequence[float], reading: Reading, workers: int
) -> Generator[tuple[int, Piece], None, None]:
    """The pieces of many videos, each with the place of its video, those of one video in order, read by processes.

    A decoder that crashes, or is silent for too long, is replaced, and costs one video. There is a worker more whenever
    the pieces come too slowly, so that decoders do not take the cores that the encoder needs.

    Args:
        videos: files.
        limits: seconds that the decoder may need for a piece of each.
        reading: which frames.
        workers: processes, at most.
    """
    waiting = deque(range(len(videos)))
    started: list[_Worker] = []
    enough = False
    try:
        while True:
            if waiting and not enough and len(started) < workers:
                started.append(_Worker(reading))
                enough = True
            for worker in started:
                if worker.place is None and waiting:
                    place = waiting.popleft()
                    worker.ask(place, videos[place], limits[place])
            busy = [(worker, worker.place) for worker in started if worker.place is not None]
            if not busy:
                break
            connections = [worker.connection for worker, _ in busy]
            ready = wait(connections, 0)
            if not ready:
                ready = wait(connections, _LOOK_ROUND)
                enough = bool(ready) and not started[-1].fed  # else it had its chance
            for worker, place in busy:
                piece = worker.take() if worker.connection in ready else worker.overdue()
                if piece is not None:
                    yield place, piece
    finally:
        for worker in started:
            worker.stop()


class _Worker:
    """A process that reads one video at a time."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.place: int | None = None  # of the video that it reads
        self.fed = False  # whether frames came from it
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._reading), daemon=True)
        with interrupts_held_back():
            self._process.start()
        theirs.close()  # so that the end of the process is the end of the connection

    def ask(self, place: int, video: Path, limit: float) -> None:
        self.place, self._limit, self._heard = place, limit, time.monotonic()
        with suppress(OSError):  # it died before; taking its answer will tell
            self.connection.send(video)

    def take(self) -> Piece:
        """The piece that is there. Raises what is wrong with more than this video."""
        try:
            piece: Piece | MttsgError = self.connection.recv()
        except (EOFError, OSError):
            return self._replaced("the decoder crashed on it")
        self._heard = time.monotonic()
        self.fed = self.fed or isinstance(piece, ClipFrames)
        if isinstance(piece, Ended):
            self.place = None
        elif isinstance(piece, MttsgError):
            raise piece
        return piece

    def overdue(self) -> Ended | None:
        """The end of a video whose next piece does not come, and of the process that reads it."""
        if time.monotonic() - self._heard < self._limit:
            return None
        return self._replaced(f"not done after {self._limit:.0f} s, given up")

    def stop(self) -> None:
        """End the process, whatever it does: it holds nothing that is not here."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _replaced(self, reason: str) -> Ended:
        self.stop()
        self.place = None
        self._start()
        return Ended(reason)


def _serve(connection: Connection, reading: Reading) -> None:
    """What a worker does until it is stopped."""
    start_worker()
    with suppress(EOFError, BrokenPipeError):  # there is nobody left to work for
        while True:
            _send(connection, connection.recv(), reading)


def _send(connection: Connection, video: Path, reading: Reading) -> None:
    """Read a video and send its pieces; the next is read while one waits to be taken."""
    try:
        timeline, pieces = read_clips(video, reading)
        connection.send(timeline)
        for piece in read_ahead(pieces):
            connection.send(piece)
        connection.send(Ended())
    except VideoError as error:
        connection.send(Ended(error.reason))
    except MttsgError as error:
        connection.send(error)
    except MemoryError:
        connection.send(Ended("not enough memory for it"))
