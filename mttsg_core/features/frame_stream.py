"""Streams of clip frames from video files: read in this process, or by worker processes that send them over.

Workers serve an encoder that exists only once: they decode while it encodes. The frames of a video arrive in pieces,
and a worker waits until its piece is taken, so that memory does not grow with the length of the videos.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import ChangedVideoError, MttsgError, VideoError
from mttsg_core.features.identity import FileState
from mttsg_core.features.jobs import Failure
from mttsg_core.moments import FloatArray, Timeline
from mttsg_core.utils.processes import CRASHED, given_up, interrupts_blocked, start_worker
from mttsg_core.video.probe import probe
from mttsg_core.video.resize import FrameTransform
from mttsg_core.video.sampling import FrameChunk, sample

_STILL_SECONDS = 60.0  # for which the same frames may be read again and again
_POLL_SECONDS = 1.0  # between two checks for workers that hang


@dataclass(frozen=True)
class FrameSpec:
    """Which frames of a video are read, and how.

    Attributes:
        fps: clips per second.
        frames_per_clip: number of frames, evenly spaced inside a clip.
        frame_transform: resize and crop of each frame.
        reader: back end of the video reader.
        clip_batch_size: clips per piece, at most.
        threads: decoder threads; None lets the decoder choose.
    """

    fps: float
    frames_per_clip: int
    frame_transform: FrameTransform
    reader: str
    clip_batch_size: int
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """A piece of a video: the frames of B of its clips.

    Attributes:
        clips: indices of the B clips, ascending across all pieces of a video.
        frames: (B, frames_per_clip, H, W, 3) RGB.
        repeats: for each of them, how many clips from it on show the same frames; None if it is one each.
        ends_batch: whether the next piece is the same if reading starts with the clip after this one.
    """

    clips: list[int]
    frames: npt.NDArray[np.uint8]
    repeats: list[int] | None = None
    ends_batch: bool = True


@dataclass(frozen=True)
class EndOfVideo:
    """The end of a video's stream.

    Attributes:
        failure: why it failed; None if it did not.
        identity: of the file that was read, see `identity.file_identity`.
    """

    failure: Failure | None = None
    identity: str | None = None


StreamItem = Timeline | ClipFrames | EndOfVideo  # of each video: its timeline, then its pieces, then its end


def read_clips(video: Path, spec: FrameSpec, first: int = 0) -> tuple[Timeline, Iterator[ClipFrames]]:
    """Return the timeline of a video file and an iterator over its pieces; clips with a lost frame are left out.

    Args:
        video: the file.
        spec: which frames.
        first: clip to begin with.

    Raises:
        VideoError: if the video cannot be read; the iterator may raise it too.
    """
    info = probe(video)
    timeline = Timeline.at_rate(info.duration - info.start, spec.fps, info.start)
    times = timeline.sample_times(spec.frames_per_clip).reshape(-1, spec.frames_per_clip)  # (T, frames_per_clip)
    clips, repeats = _without_stills(info.frame_times, times, round(_STILL_SECONDS / timeline.seconds_per_clip))
    clips, repeats = clips[clips >= first], repeats[clips >= first]
    chunks = sample(
        info,
        times[clips].ravel(),
        spec.frame_transform,
        reader=spec.reader,
        chunk=spec.clip_batch_size * spec.frames_per_clip,
        threads=spec.threads,
    )
    pieces = complete_clips(chunks, spec.frames_per_clip)
    if len(clips) == timeline.clips:
        return timeline, pieces
    return timeline, (
        replace(piece, clips=clips[piece.clips].tolist(), repeats=repeats[piece.clips].tolist()) for piece in pieces
    )


def _without_stills(
    frame_times: FloatArray, times: FloatArray, longest: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return which clips to read, and how many clips from each on show the same frames.

    A frame may stay for hours, as where a clock jumps; more than `longest` clips of it in a row are read as one.

    >>> times = np.arange(6.0)[:, None]
    >>> [rows.tolist() for rows in _without_stills(np.array([0.0, 1.0, 5.0]), times, longest=3)]
    [[0, 1, 5], [1, 4, 1]]

    Args:
        frame_times: (F,) seconds of the video's frames.
        times: (T, frames_per_clip) seconds of the frames wanted.
        longest: number of equal clips that are read one by one.
    """
    shown = np.searchsorted(frame_times, times, side="right")  # (T, frames_per_clip)
    starts = np.flatnonzero(np.append(True, (shown[1:] != shown[:-1]).any(axis=1)))  # of runs of equal clips
    lengths = np.diff(np.append(starts, len(times)))
    still = np.repeat(lengths > longest, lengths)  # (T,)
    still[starts] = False
    clips = np.flatnonzero(~still)
    return clips, np.diff(np.append(clips, len(times)))


def complete_clips(chunks: Iterable[FrameChunk], frames_per_clip: int) -> Iterator[ClipFrames]:
    """Group frames into clips and yield the clips that lack no frame.

    >>> frames = np.zeros((3, 2, 2, 3), dtype=np.uint8)
    >>> chunk = FrameChunk(np.array([0, 1, 3]), np.array([0.1, 0.3, 0.9]), frames)  # frame 2 is lost
    >>> [(piece.clips, piece.frames.shape) for piece in complete_clips([chunk], frames_per_clip=2)]
    [([0], (1, 2, 2, 2, 3))]
    """
    rest_indices = np.empty(0, dtype=np.int64)
    rest_frames: npt.NDArray[np.uint8] | None = None
    for chunk in chunks:
        indices = np.concatenate([rest_indices, chunk.indices])
        frames = chunk.frames if rest_frames is None else np.concatenate([rest_frames, chunk.frames])
        in_last_clip = indices // frames_per_clip == indices[-1] // frames_per_clip
        if in_last_clip.sum() == frames_per_clip:
            in_last_clip[:] = False
        rest_indices, rest_frames = indices[in_last_clip], frames[in_last_clip]
        clips, counts = np.unique(indices[~in_last_clip] // frames_per_clip, return_counts=True)
        complete = clips[counts == frames_per_clip]
        if len(complete):
            keep = np.isin(indices // frames_per_clip, complete)
            shape = (len(complete), frames_per_clip, *frames.shape[1:])
            yield ClipFrames(complete.tolist(), frames[keep].reshape(shape), ends_batch=not len(rest_indices))


def prefetch(pieces: Iterator[ClipFrames]) -> Generator[ClipFrames, None, None]:
    """Yield the same pieces, reading the next in a thread while one is in use. Raises what reading them raises."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        pending = executor.submit(next, pieces, None)
        while (piece := pending.result()) is not None:
            pending = executor.submit(next, pieces, None)
            yield piece


def read_many(
    videos: Sequence[Path],
    time_limits: Sequence[float],
    spec: FrameSpec,
    max_workers: int,
    first_clip: Callable[[int], int] = lambda index: 0,
) -> Generator[tuple[int, StreamItem], None, None]:
    """Read many videos in worker processes and yield (index of the video, item), the items of each video in order.

    Args:
        videos: the files.
        time_limits: seconds that the decoder may take for a piece, of each video.
        spec: which frames.
        max_workers: number of processes, at most.
        first_clip: called with the index of a video when its turn comes; returns the clip to begin with.

    Raises:
        MttsgError: if a worker meets an error that does not concern its video alone, such as an unknown reader.
    """
    readers = FrameReaders(spec, max_workers)
    try:
        yield from readers.read(videos, time_limits, first_clip)
    finally:
        readers.stop()


class FrameReaders:
    """Worker processes that read videos, and stay from one call of `read` to the next.

    A worker that crashes, or is silent for too long, is replaced; this costs one video. Another worker is started
    whenever pieces arrive too slowly, so that decoders do not take the cores that the encoder needs.

    Args:
        spec: which frames.
        max_workers: number of processes, at most.
    """

    def __init__(self, spec: FrameSpec, max_workers: int) -> None:
        self._spec, self._max_workers = spec, max_workers
        self._workers: list[_Worker] = []

    def stop(self) -> None:
        """Kill the processes, whatever they are doing; they have no state worth saving."""
        while self._workers:
            self._workers.pop().stop()

    def read(
        self, videos: Sequence[Path], time_limits: Sequence[float], first_clip: Callable[[int], int]
    ) -> Generator[tuple[int, StreamItem], None, None]:
        """Yield what `read_many` does. A call that is left before its end, or fails, stops the processes."""
        finished = False
        try:
            yield from self._read(deque(range(len(videos))), videos, time_limits, first_clip)
            finished = True
        finally:
            if not finished:
                self.stop()

    def _read(
        self,
        waiting: deque[int],
        videos: Sequence[Path],
        time_limits: Sequence[float],
        first_clip: Callable[[int], int],
    ) -> Iterator[tuple[int, StreamItem]]:
        workers = self._workers
        enough = bool(workers)
        while True:
            if waiting and not enough and len(workers) < self._max_workers:
                workers.append(_Worker(self._spec))
                enough = True
            for worker in workers:
                if worker.video is None and waiting:
                    index = waiting.popleft()
                    worker.read(index, videos[index], time_limits[index], first_clip(index))
            busy = [(worker, worker.video) for worker in workers if worker.video is not None]
            if not busy:
                break
            connections = [worker.connection for worker, _ in busy]
            ready = wait(connections, 0)
            if not ready:
                ready = wait(connections, _POLL_SECONDS)
                enough = bool(ready) and not workers[-1].has_sent_frames  # else the newest has had its chance
            for worker, index in busy:
                item = worker.receive() if worker.connection in ready else worker.check_overdue()
                if item is not None:
                    yield index, item


class _Worker:
    """A process that reads one video at a time.

    Attributes:
        connection: to the process.
        video: index of the video that it is reading, or None.
        has_sent_frames: whether it has ever sent a piece.
    """

    def __init__(self, spec: FrameSpec) -> None:
        self._spec = spec
        self.video: int | None = None
        self.has_sent_frames = False
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.connection, worker_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(worker_end, self._spec), daemon=True)
        with interrupts_blocked():
            self._process.start()
        worker_end.close()  # so that the end of the process closes the connection

    def read(self, index: int, video: Path, time_limit: float, first: int) -> None:
        """Start to read a video from a clip on."""
        self.video, self._time_limit, self._last_item = index, time_limit, time.monotonic()
        with suppress(OSError):  # the process has died; `receive` will report it
            self.connection.send((video, first))

    def receive(self) -> StreamItem:
        """Return the item that is ready. Raises an MttsgError that does not concern this video alone."""
        try:
            item: StreamItem | MttsgError = self.connection.recv()
        except (EOFError, OSError):
            return self._replace(CRASHED)
        self._last_item = time.monotonic()
        self.has_sent_frames = self.has_sent_frames or isinstance(item, ClipFrames)
        if isinstance(item, EndOfVideo):
            self.video = None
        elif isinstance(item, MttsgError):
            raise item
        return item

    def check_overdue(self) -> EndOfVideo | None:
        """Give up a video, and replace the process that reads it, if its next item is overdue."""
        if time.monotonic() - self._last_item < self._time_limit:
            return None
        return self._replace(given_up(self._time_limit))

    def stop(self) -> None:
        """Kill the process, whatever it is doing; it has no state worth saving."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _replace(self, reason: str) -> EndOfVideo:
        self.stop()
        self.video = None
        self._start()
        return EndOfVideo(Failure(reason))


def _serve(connection: Connection, spec: FrameSpec) -> None:
    """Read and send one video after the other until stopped; the main function of a worker process."""
    start_worker()
    with suppress(EOFError, BrokenPipeError):  # the parent has gone
        while True:
            video, first = connection.recv()
            _send_video(connection, video, first, spec)


def _send_video(connection: Connection, video: Path, first: int, spec: FrameSpec) -> None:
    """Read a video from a clip on, and send its items; the next piece is read while one waits to be taken."""
    try:
        state = FileState.of(video)
        timeline, pieces = read_clips(video, spec, first)
        connection.send(timeline)
        for piece in prefetch(pieces):
            connection.send(piece)
        if state is None or state != FileState.of(video):
            raise ChangedVideoError(video)
        connection.send(EndOfVideo(identity=state.identity))
    except (VideoError, MemoryError) as error:
        connection.send(EndOfVideo(Failure.of(error)))
    except MttsgError as error:
        connection.send(error)
