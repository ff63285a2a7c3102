"""Feature extraction: decodes, encodes and stores many videos, several at a time in worker processes.

A light encoder runs in the workers. Of a pretrained encoder there is one instance, in this process, for which the
workers decode; so it is with a light encoder when a single long video would leave the other cores idle. A decoder that
crashes or hangs on a file takes down its worker, not the batch: the file is reported as failed and the others continue.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from mttsg_core.encoders import Encoder
from mttsg_core.errors import ChangedVideoError, FeatureError, VideoError
from mttsg_core.features.frame_stream import ClipFrames, FrameReaders, StreamItem, prefetch, read_clips
from mttsg_core.features.identity import read_unchanged
from mttsg_core.features.job_outcomes import check_existing, extracted, passed_over
from mttsg_core.features.jobs import (
    Cause,
    Extracted,
    ExtractionEvent,
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
    ExtractionProgress,
    Failure,
)
from mttsg_core.features.settings import ExtractionSettings
from mttsg_core.features.store import FeatureCache, VideoFeatures, read_features, write_features
from mttsg_core.features.video_in_work import ProgressBoard, VideoInWork
from mttsg_core.moments import Timeline
from mttsg_core.utils.files import is_file
from mttsg_core.utils.processes import WorkerLost, poll_pool, worker_pool
from mttsg_core.video.discovery import TOO_SHORT, is_too_short
from mttsg_core.video.probe import probe

if TYPE_CHECKING:
    from pebble import ProcessPool

__all__ = [
    "Extracted",
    "ExtractionEvent",
    "ExtractionFailed",
    "ExtractionJob",
    "ExtractionPassedOver",
    "ExtractionProgress",
    "ExtractionSettings",
    "cached_features",
    "default_workers",
    "encode_video",
    "extract",
]

_LONG_VIDEO = 10_000_000  # bytes of a video that takes much longer to extract than a worker takes to start
_FILE_ERRORS = (VideoError, OSError, MemoryError)  # errors that cost one file, not the batch

_POLL_SECONDS = 0.5  # between two looks at how far the workers are

ExtractElsewhere: TypeAlias = Callable[[Sequence[ExtractionJob], Encoder], Generator[ExtractionEvent, None, None]]

_Result = TypeVar("_Result")
_log = logging.getLogger("mttsg")


def encode_video(
    video: Path, encoder: Encoder, settings: ExtractionSettings, *, threads: int | None = None
) -> VideoFeatures:
    """Extract the features of one video file, with a few clips in memory at a time.

    A clip with a frame that cannot be decoded is all zeros and counted in `lost_clips`.

    Args:
        video: the file.
        encoder: the encoder of `settings`.
        settings: clip rate and reader.
        threads: decoder threads; None lets the decoder choose, and decodes while the encoder is busy.

    Raises:
        VideoError: if no clip can be read.
    """
    work = VideoInWork(ExtractionJob(video, video), settings.fingerprint(encoder))
    return _last(_encode_video(work, video, encoder, settings, threads))


def _encode_video(
    work: VideoInWork, video: Path, encoder: Encoder, settings: ExtractionSettings, threads: int | None
) -> Generator[ExtractionProgress, None, VideoFeatures]:
    """Yield how far the video is, and return its features."""
    timeline, pieces = read_clips(video, settings.frame_spec(encoder, threads), work.first_clip)
    resumed = work.begin(timeline)
    if resumed is not None:
        yield resumed
    for piece in prefetch(pieces) if threads is None else pieces:
        progress = work.add(piece, encoder)
        if progress is not None:
            yield progress
    return work.finish()


def _encode_job(
    job: ExtractionJob, encoder: Encoder, settings: ExtractionSettings, threads: int | None
) -> Generator[ExtractionProgress, None, tuple[VideoFeatures, VideoInWork]]:
    """Yield how far the video of a job is, and return its features and what has to be forgotten once they are written.

    Raises:
        VideoError: if the video cannot be read, or changes while it is read.
    """
    fingerprint = settings.fingerprint(encoder)

    def read() -> Generator[ExtractionProgress, None, tuple[VideoFeatures, VideoInWork]]:
        work = VideoInWork(job, fingerprint)
        features = yield from _encode_video(work, job.video, encoder, settings, threads)
        return features, work

    return (yield from read_unchanged(job.video, job.identity, read))


def _last(steps: Generator[object, None, _Result]) -> _Result:
    """Run a generator to its end, and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result


def cached_features(video: Path, cache: FeatureCache, settings: ExtractionSettings) -> VideoFeatures:
    """Return the features of one video file from the cache, extracting them first if necessary.

    If they cannot be written to the cache, they are still returned.

    Raises:
        VideoError: if the video cannot be read, or changes while it is read.
        ConfigError: if the encoder, the device or the reader does not exist.
    """
    if not is_file(video):
        probe(video)  # raises the error that says why
    encoder = settings.build_encoder()
    target = cache.path(video, settings.fingerprint(encoder))
    if is_file(target):
        try:
            return read_features(target)
        except FeatureError as error:
            _log.info("extracting again: %s", error)
    job = ExtractionJob(video, target, identity=target.stem, partial=cache.partial_folder)
    with cache.writing():
        features, work = _last(_encode_job(job, encoder, settings, None))
        try:
            write_features(target, features, video.name, video.absolute())
        except OSError as error:
            cache.warn(error)
        work.forget()
    return features


def extract(
    jobs: Sequence[ExtractionJob],
    settings: ExtractionSettings,
    *,
    workers: int = 1,
    overwrite: bool = False,
    time_limit: float | None = None,
    elsewhere: ExtractElsewhere | None = None,
) -> Iterator[ExtractionEvent]:
    """Extract the features of many videos, and yield an event for each one as soon as it is finished.

    Long videos have events before, each time that some more seconds of them are done.

    Args:
        jobs: the videos and their target files. Existing features are kept; if they were made with other settings, the
            job fails.
        settings: which features.
        workers: number of processes. With a light encoder, one worker means this process, and so does a single short
            video; neither has a time limit then.
        overwrite: extract even if features exist.
        time_limit: seconds that one file may take (for one piece, if it is encoded in this process); None allows a time
            that grows with the file's size.
        elsewhere: extracts what is missing, in place of this computer; then `workers` and `time_limit` have no effect.

    Raises:
        ConfigError: if the encoder, the device or the reader does not exist.
    """
    encoder = settings.build_encoder()
    fingerprint = settings.fingerprint(encoder)
    waiting: dict[Path, list[ExtractionJob]] = {}  # by target: copies of a file share one entry of the cache
    for job in jobs:
        existing = None if overwrite else check_existing(job, fingerprint)
        if existing is None:
            waiting.setdefault(job.target, []).append(job)
        else:
            yield passed_over(job, existing) or existing
    unique_jobs = [min(same_target, key=lambda job: job.from_folder) for same_target in waiting.values()]
    if elsewhere is not None:
        events = elsewhere(unique_jobs, encoder)
    else:
        events = _extract_locally(unique_jobs, settings, encoder, workers, time_limit)
    with closing(events):
        for event in events:
            for job in waiting[event.job.target]:
                yield passed_over(job, event) or replace(event, job=job)


def _extract_locally(
    jobs: Sequence[ExtractionJob],
    settings: ExtractionSettings,
    encoder: Encoder,
    workers: int,
    time_limit: float | None,
) -> Generator[ExtractionEvent, None, None]:
    """Extract on this computer, whatever exists at the targets."""
    single_long_video = len(jobs) == 1 < workers and jobs[0].size > _LONG_VIDEO
    workers = min(workers, len(jobs))
    central = single_long_video or not encoder.runs_in_workers
    if not central and workers <= 1:
        for job in jobs:
            yield from _extract_here(job, settings, None)
        return
    threads = 1 if workers > 1 else None
    with ExtractionWorkers(settings, encoder, workers, central=central, threads=threads) as processes:
        yield from processes.extract(jobs, time_limit)


class ExtractionWorkers:
    """Worker processes that extract features, and stay from one call of `extract` to the next.

    A context manager: leaving it ends the processes.

    Args:
        settings: which features.
        encoder: the encoder of `settings`.
        workers: number of processes.
        central: whether they only decode, and the encoder is the one in this process.
        threads: decoder threads of each if they only decode; None lets the decoder choose.
    """

    def __init__(
        self, settings: ExtractionSettings, encoder: Encoder, workers: int, *, central: bool, threads: int | None
    ) -> None:
        self._settings, self._encoder, self._workers = settings, encoder, workers
        self._readers = FrameReaders(settings.frame_spec(encoder, threads), workers) if central else None
        self._pool: ProcessPool | None = None
        self._stack = ExitStack()

    def __enter__(self) -> ExtractionWorkers:
        if self._readers is None:
            self._pool = self._stack.enter_context(worker_pool(self._workers))
        else:
            self._stack.callback(self._readers.stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def extract(self, jobs: Sequence[ExtractionJob], time_limit: float | None = None) -> Iterator[ExtractionEvent]:
        """Yield the events of videos, as the function `extract` does, whatever exists at their targets.

        Raises:
            MttsgError: for what does not concern one video, such as an unknown reader.
        """
        if self._readers is not None:
            return _extract_centrally(jobs, self._settings, self._encoder, self._readers, time_limit)
        if self._pool is None:
            raise RuntimeError("the workers of an extraction before its context")
        return _extract_parallel(jobs, self._settings, self._pool, time_limit)


def _extract_parallel(
    jobs: Sequence[ExtractionJob], settings: ExtractionSettings, pool: ProcessPool, time_limit: float | None
) -> Iterator[ExtractionEvent]:
    """Decode and encode in the workers."""
    with ProgressBoard.create(len(jobs)) as board:
        work = partial(_extract_in_worker, settings=settings, board=board)
        limited = [((index, job), time_limit or job.time_limit) for index, job in enumerate(jobs)]
        seen: dict[int, float] = {}
        with closing(poll_pool(pool, work, limited, _POLL_SECONDS)) as results:
            for finished in results:
                if finished is not None:
                    (_, job), event = finished
                    yield ExtractionFailed(job, event.reason) if isinstance(event, WorkerLost) else event
                elif board is not None:
                    yield from board.news(jobs, seen)


def _extract_centrally(
    jobs: Sequence[ExtractionJob],
    settings: ExtractionSettings,
    encoder: Encoder,
    readers: FrameReaders,
    time_limit: float | None,
) -> Iterator[ExtractionEvent]:
    """Decode in the workers, and encode in this process what they send. Videos that change meanwhile are read again."""
    changed: list[ExtractionJob] = []
    for event in _extract_streams(jobs, settings, encoder, readers, time_limit):
        if isinstance(event, ExtractionFailed) and event.cause is Cause.CHANGED:
            changed.append(event.job)
        else:
            yield event
    if changed:
        yield from _extract_streams(changed, settings, encoder, readers, time_limit)


def _extract_streams(
    jobs: Sequence[ExtractionJob],
    settings: ExtractionSettings,
    encoder: Encoder,
    readers: FrameReaders,
    time_limit: float | None,
) -> Iterator[ExtractionEvent]:
    """Decode in the workers, and encode in this process what they send."""
    fingerprint = settings.fingerprint(encoder)
    works: dict[int, VideoInWork] = {}  # by index of the job
    failed: set[int] = set()

    def first_clip(index: int) -> int:
        works[index] = VideoInWork(jobs[index], fingerprint)
        return works[index].first_clip

    limits = [time_limit or job.time_limit for job in jobs]
    with closing(readers.read([job.video for job in jobs], limits, first_clip)) as stream:
        for index, item in stream:
            if index in failed:
                continue
            try:
                event = _take_item(item, jobs[index], works[index], encoder)
            except _FILE_ERRORS as error:
                failed.add(index)
                event = ExtractionFailed.because(jobs[index], Failure.of(error))
            if not isinstance(event, ExtractionProgress | None):
                del works[index]
            if event is not None:
                yield event


def _take_item(item: StreamItem, job: ExtractionJob, work: VideoInWork, encoder: Encoder) -> ExtractionEvent | None:
    """Use an item of the stream of a video, and return the event that it leads to."""
    if isinstance(item, Timeline):
        return work.begin(item)
    if isinstance(item, ClipFrames):
        return work.add(item, encoder)
    if item.failure is not None:
        return ExtractionFailed.because(job, item.failure)
    features = work.finish()
    if job.identity not in (None, item.identity):
        raise ChangedVideoError(job.video)
    return _store(job, features, work)


def _extract_here(job: ExtractionJob, settings: ExtractionSettings, threads: int | None) -> Iterator[ExtractionEvent]:
    """Decode and encode in this process."""
    try:
        features, work = yield from _encode_job(job, settings.build_encoder(), settings, threads)
        yield _store(job, features, work)
    except _FILE_ERRORS as error:
        yield ExtractionFailed.because(job, Failure.of(error))


def _extract_in_worker(
    numbered: tuple[int, ExtractionJob], settings: ExtractionSettings, board: ProgressBoard | None
) -> ExtractionEvent:
    """Decode and encode in this process, one of several, and return the last event; the others go to the board."""
    index, job = numbered
    event: ExtractionEvent | None = None
    for event in _extract_here(job, settings, 1):
        if isinstance(event, ExtractionProgress) and board is not None:
            board.note(index, event)
    if event is None:
        raise RuntimeError("an extraction without an event")
    return event


def _store(job: ExtractionJob, features: VideoFeatures, work: VideoInWork) -> ExtractionEvent:
    if job.from_folder and is_too_short(features.duration):
        return ExtractionPassedOver(job, TOO_SHORT)
    try:
        is_cached = job.identity is not None
        write_features(job.target, features, job.video.name, job.video.absolute() if is_cached else None)
    except OSError as error:
        return ExtractionFailed.unwritten(job, error)
    work.forget()
    return extracted(job, features, cached=False)


def default_workers() -> int:
    """Return the number of cores that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
