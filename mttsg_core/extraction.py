"""Videos to features: decode, encode, store; many files at a time, each in a worker process of its own.

A decoder that crashes or hangs on a file takes down its worker, not the batch: the file is reported as failed and
the others go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pebble import ProcessExpired

from mttsg_core.encoders import Encoder, build_encoder
from mttsg_core.encoders.base import ClipFeatures, Settings
from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features import FeatureCache, VideoFeatures, read_features, write_features
from mttsg_core.moments import Timeline
from mttsg_core.video import FrameChunk, probe, sample
from mttsg_core.workers import interrupts_held_back, worker_pool

_CLIPS_AT_ONCE = 32
_BASE_LIMIT, _LIMIT_PER_MEGABYTE = 120.0, 10.0  # seconds that one file may take


@dataclass(frozen=True)
class ExtractionSettings:
    """Which features to make.

    Attributes:
        encoder: id of the video encoder.
        fps: clips a second (bins are equal, so the true rate of a video can differ by less than one clip).
        reader: back end of the video reader: `auto`, `pyav` or `decord`.
    """

    encoder: str = "classic"
    fps: float = 2.0
    reader: str = "auto"

    def fingerprint(self, encoder: Encoder | None = None) -> Settings:
        """Every setting that shapes a feature."""
        encoder = encoder or build_encoder(self.encoder)
        return {**encoder.settings, "fps": self.fps, "reader": self.reader}

    @classmethod
    def from_fingerprint(cls, fingerprint: Settings) -> ExtractionSettings:
        """The settings that give this fingerprint.

        Raises:
            FeatureError: if such features are not made here.
        """
        if not {"fps", "reader"} <= fingerprint.keys():
            raise FeatureError(f"this version cannot make features of encoder {fingerprint.get('encoder')!r}")
        return cls(str(fingerprint["encoder"]), float(fingerprint["fps"]), str(fingerprint["reader"]))


@dataclass(frozen=True)
class Job:
    """Features of `video` are to be at `target`."""

    video: Path
    target: Path

    @property
    def size(self) -> int:
        """Bytes of the video file; 0 if it cannot be read."""
        try:
            return self.video.stat().st_size
        except OSError:
            return 0


@dataclass(frozen=True)
class Extracted:
    """A video's features lie at `job.target`; `cached` if they did before. `lost_clips` had no readable frame."""

    job: Job
    clips: int
    video_seconds: float
    cached: bool = False
    lost_clips: int = 0


@dataclass(frozen=True)
class ExtractionFailed:
    """A video could not be read."""

    job: Job
    reason: str


ExtractionEvent = Extracted | ExtractionFailed


def encode_video(
    video: Path, encoder: Encoder, settings: ExtractionSettings, *, threads: int | None = None
) -> VideoFeatures:
    """Features of one video file, a few clips in memory at a time.

    A clip with a frame that cannot be decoded is all zeros and counted; nothing stands in for it.

    Args:
        video: the file.
        encoder: the encoder of `settings`.
        settings: the rate and the reader.
        threads: of the decoder; None lets it choose.

    Raises:
        VideoError: if no clip can be read.
    """
    info = probe(video)
    timeline = Timeline.at_rate(info.duration - info.start, settings.fps, info.start)
    per_clip = encoder.frames_per_clip
    times = timeline.sample_times(per_clip)
    chunks = sample(
        info, times, encoder.frame_size, reader=settings.reader, chunk=_CLIPS_AT_ONCE * per_clip, threads=threads
    )
    found: list[int] = []
    parts: list[ClipFeatures] = []
    for clips, frames in _whole_clips(chunks, per_clip):
        found.extend(clips)
        parts.append(encoder.encode(frames))
    if not found:
        raise VideoError(video, "no frame of it can be decoded")
    return VideoFeatures(
        clips=_scatter([part.clips for part in parts], found, timeline.clips),
        regions=None
        if parts[0].regions is None
        else _scatter([part.regions for part in parts if part.regions is not None], found, timeline.clips),
        duration=timeline.duration,
        start=timeline.start,
        fingerprint=settings.fingerprint(encoder),
        lost_clips=timeline.clips - len(found),
    )


def cached_features(video: Path, cache: FeatureCache, settings: ExtractionSettings) -> VideoFeatures:
    """Features of one video file, from the cache, or made now and put there.

    Raises:
        VideoError: if the video cannot be read.
    """
    if not video.is_file():
        probe(video)  # says why
    target = cache.path(video, settings.fingerprint())
    if target.is_file():
        with suppress(FeatureError):
            return read_features(target)
    features = encode_video(video, build_encoder(settings.encoder), settings)
    write_features(target, features)
    return read_features(target)  # as every later use will see them: in half precision


def extract(
    jobs: Sequence[Job],
    settings: ExtractionSettings,
    *,
    workers: int = 1,
    overwrite: bool = False,
    time_limit: float | None = None,
) -> Iterator[ExtractionEvent]:
    """Make the features of many videos, and say of each how it went, in the order in which they finish.

    Args:
        jobs: the files and where their features are to lie. Features that lie there already are kept.
        settings: which features.
        workers: processes. A single job, or a single worker, runs in this process, without a time limit.
        overwrite: make features anew where they exist.
        time_limit: seconds that one file may take; None allows a time that grows with the file's size.
    """
    waiting: dict[Path, list[Job]] = {}  # by target: copies of one file have one in the cache
    for job in jobs:
        finished = None if overwrite else _finished(job, settings)
        if finished is None:
            waiting.setdefault(job.target, []).append(job)
        else:
            yield finished
    firsts = [same[0] for same in waiting.values()]
    events: Iterable[ExtractionEvent] = (_extract_one(job, settings, None) for job in firsts)
    if min(workers, len(firsts)) > 1:
        events = _extract_parallel(firsts, settings, min(workers, len(firsts)), time_limit)
    for event in events:
        yield from (replace(event, job=job) for job in waiting[event.job.target])


def _extract_parallel(
    jobs: Sequence[Job], settings: ExtractionSettings, workers: int, time_limit: float | None
) -> Iterator[ExtractionEvent]:
    with worker_pool(workers) as pool:
        pending = {}
        with interrupts_held_back():
            for job in jobs:
                limit = time_limit or _BASE_LIMIT + _LIMIT_PER_MEGABYTE * job.size / 1e6
                pending[pool.schedule(_extract_one, args=(job, settings, 1), timeout=limit)] = (job, limit)
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                job, limit = pending.pop(future)  # type: ignore[call-overload]
                try:
                    yield future.result()
                except FutureTimeoutError:
                    yield ExtractionFailed(job, f"not done after {limit:.0f} s, given up")
                except (ProcessExpired, CancelledError):
                    yield ExtractionFailed(job, "the decoder crashed on it")


def _extract_one(job: Job, settings: ExtractionSettings, threads: int | None) -> ExtractionEvent:
    try:
        features = encode_video(job.video, build_encoder(settings.encoder), settings, threads=threads)
        write_features(job.target, features)
    except VideoError as error:
        return ExtractionFailed(job, error.reason)
    except OSError as error:
        return ExtractionFailed(job, error.strerror or str(error))
    except MemoryError:
        return ExtractionFailed(job, "not enough memory for it")
    return _event(job, features, cached=False)


def _finished(job: Job, settings: ExtractionSettings) -> Extracted | None:
    if not job.target.is_file():
        return None
    try:
        features = read_features(job.target)
    except FeatureError:
        return None
    if dict(features.fingerprint) != dict(settings.fingerprint()):
        return None
    return _event(job, features, cached=True)


def _event(job: Job, features: VideoFeatures, *, cached: bool) -> Extracted:
    return Extracted(job, len(features.clips), features.duration or 0.0, cached, features.lost_clips)


def _whole_clips(chunks: Iterable[FrameChunk], per_clip: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Frames of the clips of which every frame was read: clip numbers (B,) and frames (B, per_clip, H, W, 3)."""
    rest_numbers = np.empty(0, dtype=np.int64)
    rest_frames: np.ndarray | None = None
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
            yield whole.tolist(), frames[keep].reshape(len(whole), per_clip, *frames.shape[1:])


def _scatter(parts: Sequence[np.ndarray], rows: Sequence[int], length: int) -> np.ndarray:
    values = np.concatenate(parts)
    out = np.zeros((length, *values.shape[1:]), dtype=values.dtype)
    out[np.asarray(rows)] = values
    return out


def default_workers() -> int:
    """Processes that use all the cores this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
