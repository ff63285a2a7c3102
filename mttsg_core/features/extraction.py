"""Videos to features: decode, encode, store; many files at a time, each in a worker process of its own.

A light encoder runs in the workers; of a pretrained one there is one, here, for which the workers decode. So it is with
a light one when a single long video would leave the other cores idle. A decoder that crashes or hangs on a file takes
down its worker, not the batch: the file is reported as failed and the others go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pebble import ProcessExpired

from mttsg_core.encoders import Encoder, build_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features.frame_stream import ClipFrames, Reading, read_ahead, read_clips, read_many
from mttsg_core.features.store import FeatureCache, VideoFeatures, describe, read_features, write_features
from mttsg_core.moments import Timeline
from mttsg_core.utils.processes import interrupts_held_back, worker_pool
from mttsg_core.video import probe

_BASE_LIMIT, _LIMIT_PER_MEGABYTE = 120.0, 10.0  # seconds that one file may take
_LONG = 10_000_000  # bytes of a video that takes much longer than to start a worker
_OF_ONE_FILE = (VideoError, OSError, MemoryError)  # errors that cost one file


@dataclass(frozen=True)
class ExtractionSettings:
    """Which features to make.

    Attributes:
        encoder: id of the video encoder.
        fps: clips a second (bins are equal, so the true rate of a video can differ by less than one clip).
        reader: back end of the video reader: `auto`, `pyav` or `decord`.
        device: where a pretrained encoder runs; shapes no feature.
        offline: whether a pretrained encoder must be on this computer already; shapes no feature.
    """

    encoder: str = "classic"
    fps: float = 2.0
    reader: str = "auto"
    device: str = "cpu"
    offline: bool = False

    def build_encoder(self) -> Encoder:
        """The encoder.

        Raises:
            ConfigError: if there is no such encoder or device.
        """
        return build_encoder(self.encoder, device=self.device, offline=self.offline)

    def fingerprint(self, encoder: Encoder | None = None) -> Settings:
        """Every setting that shapes a feature. Raises ConfigError as `build_encoder`."""
        encoder = encoder or self.build_encoder()
        return {**encoder.settings, "fps": self.fps, "reader": self.reader}

    def reading(self, encoder: Encoder, threads: int | None = None) -> Reading:
        """Which frames the encoder wants."""
        return Reading(self.fps, encoder.frames_per_clip, encoder.framing, self.reader, encoder.clips_at_once, threads)

    @classmethod
    def from_fingerprint(
        cls, fingerprint: Settings, *, device: str = "cpu", offline: bool = False
    ) -> ExtractionSettings:
        """The settings that give this fingerprint.

        Raises:
            FeatureError: if such features are not made here.
        """
        if not {"fps", "reader"} <= fingerprint.keys():
            raise FeatureError(f"this version cannot make features of encoder {fingerprint.get('encoder')!r}")
        encoder, fps, reader = str(fingerprint["encoder"]), float(fingerprint["fps"]), str(fingerprint["reader"])
        return cls(encoder, fps, reader, device, offline)


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

    @property
    def time_limit(self) -> float:
        """Seconds that it may take."""
        return _BASE_LIMIT + _LIMIT_PER_MEGABYTE * self.size / 1e6


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
        threads: of the decoder; None lets it choose, and decodes while the encoder is at work.

    Raises:
        VideoError: if no clip can be read.
    """
    timeline, pieces = read_clips(video, settings.reading(encoder, threads))
    made = _Features(timeline)
    for piece in read_ahead(pieces) if threads is None else pieces:
        made.add(piece, encoder)
    return made.whole(video, settings.fingerprint(encoder))


@dataclass
class _Features:
    """Features of a video whose clips come one after the other. Those that do not come stay zero."""

    timeline: Timeline
    clips: npt.NDArray[np.float32] | None = None  # (T, D)
    regions: npt.NDArray[np.float16] | None = None  # (T, R, D_r)
    encoded: int = 0

    def add(self, piece: ClipFrames, encoder: Encoder) -> None:
        """Encode some clips."""
        features = encoder.encode(piece.frames)
        if self.clips is None:
            self.clips = np.zeros((self.timeline.clips, *features.clips.shape[1:]), dtype=np.float32)
        self.clips[piece.clips] = features.clips
        if features.regions is not None:
            if self.regions is None:
                self.regions = np.zeros((self.timeline.clips, *features.regions.shape[1:]), dtype=np.float16)
            self.regions[piece.clips] = features.regions
        self.encoded += len(piece.clips)

    def whole(self, video: Path, fingerprint: Settings) -> VideoFeatures:
        """The features of all clips. Raises VideoError if not one came."""
        if self.clips is None:
            raise VideoError(video, "no frame of it can be decoded")
        return VideoFeatures(
            clips=self.clips,
            regions=self.regions,
            duration=self.timeline.duration,
            start=self.timeline.start,
            fingerprint=fingerprint,
            lost_clips=self.timeline.clips - self.encoded,
        )


def cached_features(video: Path, cache: FeatureCache, settings: ExtractionSettings) -> VideoFeatures:
    """Features of one video file, from the cache, or made now and put there.

    Raises:
        VideoError: if the video cannot be read.
    """
    if not video.is_file():
        probe(video)  # says why
    encoder = settings.build_encoder()
    target = cache.path(video, settings.fingerprint(encoder))
    if target.is_file():
        with suppress(FeatureError):
            return read_features(target)
    write_features(target, encode_video(video, encoder, settings))
    return read_features(target)  # as every later use will see them: regions in half precision


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
        jobs: the files and where their features are to lie. Features that lie there already are kept; where they were
            made in another way, the job fails.
        settings: which features.
        workers: processes. With a light encoder, a single worker is this process, and so it is for a single short
            video, both without a time limit.
        overwrite: make features anew where they exist.
        time_limit: seconds that one file may take (a piece of it, where it is encoded here); None allows a time that
            grows with the file's size.

    Raises:
        ConfigError: if there is no such encoder, device or reader.
    """
    encoder = settings.build_encoder()
    fingerprint = settings.fingerprint(encoder)
    waiting: dict[Path, list[Job]] = {}  # by target: copies of one file have one in the cache
    for job in jobs:
        finished = None if overwrite else _finished(job, fingerprint)
        if finished is None:
            waiting.setdefault(job.target, []).append(job)
        else:
            yield finished
    firsts = [same[0] for same in waiting.values()]
    alone = len(firsts) == 1 < workers and firsts[0].size > _LONG
    workers = min(workers, len(firsts))
    events: Iterable[ExtractionEvent]
    if alone or not encoder.in_every_worker:
        events = _extract_centrally(firsts, settings, encoder, workers, time_limit)
    elif workers > 1:
        events = _extract_parallel(firsts, settings, workers, time_limit)
    else:
        events = (_extract_one(job, settings, None) for job in firsts)
    for event in events:
        yield from (replace(event, job=job) for job in waiting[event.job.target])


def _extract_parallel(
    jobs: Sequence[Job], settings: ExtractionSettings, workers: int, time_limit: float | None
) -> Iterator[ExtractionEvent]:
    with worker_pool(workers) as pool:
        pending = {}
        with interrupts_held_back():
            for job in jobs:
                limit = time_limit or job.time_limit
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


def _extract_centrally(
    jobs: Sequence[Job], settings: ExtractionSettings, encoder: Encoder, workers: int, time_limit: float | None
) -> Iterator[ExtractionEvent]:
    """Workers decode, and this process encodes what they send."""
    fingerprint = settings.fingerprint(encoder)
    begun: dict[int, _Features] = {}  # by the place of the job
    given_up: set[int] = set()
    pieces = read_many(
        [job.video for job in jobs],
        [time_limit or job.time_limit for job in jobs],
        settings.reading(encoder, threads=1 if workers > 1 else None),
        workers,
    )
    with closing(pieces):
        for place, piece in pieces:
            job = jobs[place]
            if place in given_up:
                continue
            try:
                if isinstance(piece, Timeline):
                    begun[place] = _Features(piece)
                elif isinstance(piece, ClipFrames):
                    begun[place].add(piece, encoder)
                elif piece.reason is None:
                    features = begun.pop(place).whole(job.video, fingerprint)
                    write_features(job.target, features)
                    yield _event(job, features, cached=False)
                else:
                    begun.pop(place, None)
                    yield ExtractionFailed(job, piece.reason)
            except _OF_ONE_FILE as error:
                given_up.add(place)
                begun.pop(place, None)
                yield ExtractionFailed(job, _reason(error))


def _extract_one(job: Job, settings: ExtractionSettings, threads: int | None) -> ExtractionEvent:
    try:
        features = encode_video(job.video, settings.build_encoder(), settings, threads=threads)
        write_features(job.target, features)
    except _OF_ONE_FILE as error:
        return ExtractionFailed(job, _reason(error))
    return _event(job, features, cached=False)


def _reason(error: VideoError | OSError | MemoryError) -> str:
    """Why a file failed, in a few words."""
    if isinstance(error, VideoError):
        return error.reason
    return "not enough memory for it" if isinstance(error, MemoryError) else error.strerror or str(error)


def _finished(job: Job, fingerprint: Settings) -> ExtractionEvent | None:
    """What a job comes to without any work; None if there is work to do, as where a damaged file lies."""
    if not job.target.is_file():
        return None
    try:
        features = read_features(job.target)
    except FeatureError:
        return None
    if dict(features.fingerprint) != dict(fingerprint):
        return ExtractionFailed(
            job, f"{job.target} holds features made with {describe(features.fingerprint)}; overwrite, or go elsewhere"
        )
    return _event(job, features, cached=True)


def _event(job: Job, features: VideoFeatures, *, cached: bool) -> Extracted:
    return Extracted(job, len(features.clips), features.duration or 0.0, cached, features.lost_clips)


def default_workers() -> int:
    """Processes that use all the cores this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
