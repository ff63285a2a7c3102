"""Feature extraction: decodes, encodes and stores many videos, several at a time in worker processes.

A light encoder runs in the workers. Of a pretrained encoder there is one instance, in this process, for which the
workers decode; so it is with a light encoder when a single long video would leave the other cores idle. A decoder that
crashes or hangs on a file takes down its worker, not the batch: the file is reported as failed and the others continue.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mttsg_core.encoders import Encoder, build_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ChangedVideoError, FeatureError, VideoError
from mttsg_core.features.builder import FeatureBuilder
from mttsg_core.features.frame_stream import (
    ClipFrames,
    EndOfVideo,
    FrameSpec,
    StreamItem,
    prefetch,
    read_clips,
    read_many,
)
from mttsg_core.features.identity import read_unchanged
from mttsg_core.features.jobs import (
    Cause,
    Extracted,
    ExtractionEvent,
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
    Failure,
)
from mttsg_core.features.store import FeatureCache, VideoFeatures, describe_fingerprint, read_features, write_features
from mttsg_core.moments import Timeline
from mttsg_core.utils.files import is_file
from mttsg_core.utils.processes import WorkerLost, run_in_workers
from mttsg_core.utils.text import os_reason
from mttsg_core.video.discovery import TOO_SHORT, PassedOver, is_too_short
from mttsg_core.video.probe import probe

__all__ = [
    "Extracted",
    "ExtractionEvent",
    "ExtractionFailed",
    "ExtractionJob",
    "ExtractionPassedOver",
    "ExtractionSettings",
    "cached_features",
    "default_workers",
    "encode_video",
    "extract",
]

_LONG_VIDEO = 10_000_000  # bytes of a video that takes much longer to extract than a worker takes to start
_FILE_ERRORS = (VideoError, OSError, MemoryError)  # errors that cost one file, not the batch

_log = logging.getLogger("mttsg")


@dataclass(frozen=True)
class ExtractionSettings:
    """Which features are extracted.

    Attributes:
        encoder: id of the video encoder.
        fps: clips per second. Clips are equal bins, so a video's true rate can differ by less than one clip.
        reader: back end of the video reader: `auto`, `pyav` or `decord`.
        device: where a pretrained encoder runs; does not affect feature values.
        offline: whether a pretrained encoder must already be on this computer; does not affect feature values.
    """

    encoder: str = "classic"
    fps: float = 2.0
    reader: str = "auto"
    device: str = "cpu"
    offline: bool = False

    def build_encoder(self) -> Encoder:
        """Build the encoder.

        Raises:
            ConfigError: if the encoder or the device does not exist.
        """
        return build_encoder(self.encoder, device=self.device, offline=self.offline)

    def fingerprint(self, encoder: Encoder | None = None) -> Settings:
        """Return every setting that affects feature values.

        >>> ExtractionSettings(fps=1.5).fingerprint()
        {'encoder': 'classic', 'version': 2, 'fps': 1.5, 'reader': 'auto'}

        Args:
            encoder: the result of `build_encoder`, if it exists already.

        Raises:
            ConfigError: if the encoder or the device does not exist.
        """
        encoder = encoder or self.build_encoder()
        return {**encoder.settings, "fps": self.fps, "reader": self.reader}

    def frame_spec(self, encoder: Encoder, threads: int | None = None) -> FrameSpec:
        """Return which frames the encoder needs, read with the given number of decoder threads."""
        return FrameSpec(
            fps=self.fps,
            frames_per_clip=encoder.frames_per_clip,
            frame_transform=encoder.frame_transform,
            reader=self.reader,
            clip_batch_size=encoder.clip_batch_size,
            threads=threads,
        )

    @classmethod
    def from_fingerprint(
        cls, fingerprint: Settings, *, device: str = "cpu", offline: bool = False
    ) -> ExtractionSettings:
        """Return the settings that lead to a fingerprint.

        Raises:
            FeatureError: if such features cannot be extracted, because they are external.
        """
        if not {"fps", "reader"} <= fingerprint.keys():
            raise FeatureError(f"this version cannot extract features with encoder {fingerprint.get('encoder')!r}")
        encoder, fps, reader = str(fingerprint["encoder"]), float(fingerprint["fps"]), str(fingerprint["reader"])
        return cls(encoder, fps, reader, device, offline)


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
    timeline, pieces = read_clips(video, settings.frame_spec(encoder, threads))
    builder = FeatureBuilder(timeline)
    for piece in prefetch(pieces) if threads is None else pieces:
        builder.add(piece, encoder)
    return builder.build(video, settings.fingerprint(encoder))


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
    features = read_unchanged(video, target.stem, lambda: encode_video(video, encoder, settings))
    try:
        write_features(target, features, video.name)
    except OSError as error:
        cache.warn(error)
    return features


def extract(
    jobs: Sequence[ExtractionJob],
    settings: ExtractionSettings,
    *,
    workers: int = 1,
    overwrite: bool = False,
    time_limit: float | None = None,
) -> Iterator[ExtractionEvent]:
    """Extract the features of many videos, and yield an event for each one as soon as it is finished.

    Args:
        jobs: the videos and their target files. Existing features are kept; if they were made with other settings, the
            job fails.
        settings: which features.
        workers: number of processes. With a light encoder, one worker means this process, and so does a single short
            video; neither has a time limit then.
        overwrite: extract even if features exist.
        time_limit: seconds that one file may take (for one piece, if it is encoded in this process); None allows a time
            that grows with the file's size.

    Raises:
        ConfigError: if the encoder, the device or the reader does not exist.
    """
    encoder = settings.build_encoder()
    fingerprint = settings.fingerprint(encoder)
    waiting: dict[Path, list[ExtractionJob]] = {}  # by target: copies of a file share one entry of the cache
    for job in jobs:
        existing = None if overwrite else _check_existing(job, fingerprint)
        if existing is None:
            waiting.setdefault(job.target, []).append(job)
        else:
            yield _passed_over(job, existing) or existing
    unique_jobs = [min(same_target, key=lambda job: job.from_folder) for same_target in waiting.values()]
    single_long_video = len(unique_jobs) == 1 < workers and unique_jobs[0].size > _LONG_VIDEO
    workers = min(workers, len(unique_jobs))
    events: Iterable[ExtractionEvent]
    if single_long_video or not encoder.runs_in_workers:
        events = _extract_centrally(unique_jobs, settings, encoder, workers, time_limit)
    elif workers > 1:
        events = _extract_parallel(unique_jobs, settings, workers, time_limit)
    else:
        events = (_extract_one(job, settings, None) for job in unique_jobs)
    for event in events:
        for job in waiting[event.job.target]:
            yield _passed_over(job, event) or replace(event, job=job)


def _extract_parallel(
    jobs: Sequence[ExtractionJob], settings: ExtractionSettings, workers: int, time_limit: float | None
) -> Iterator[ExtractionEvent]:
    """Decode and encode in the workers."""
    limited = [(job, time_limit or job.time_limit) for job in jobs]
    extract_one = partial(_extract_one, settings=settings, threads=1)
    with closing(run_in_workers(extract_one, limited, workers)) as finished:
        for job, event in finished:
            yield ExtractionFailed(job, event.reason) if isinstance(event, WorkerLost) else event


def _extract_centrally(
    jobs: Sequence[ExtractionJob],
    settings: ExtractionSettings,
    encoder: Encoder,
    workers: int,
    time_limit: float | None,
) -> Iterator[ExtractionEvent]:
    """Decode in the workers, and encode in this process what they send. Videos that change meanwhile are read again."""
    spec = settings.frame_spec(encoder, threads=1 if workers > 1 else None)
    fingerprint = settings.fingerprint(encoder)

    def extract_all(jobs: Sequence[ExtractionJob]) -> Iterator[ExtractionEvent]:
        videos = [_StreamedVideo(job, encoder, fingerprint) for job in jobs]
        limits = [time_limit or job.time_limit for job in jobs]
        with closing(read_many([job.video for job in jobs], limits, spec, workers)) as stream:
            for index, item in stream:
                event = videos[index].take(item)
                if event is not None:
                    yield event

    changed: list[ExtractionJob] = []
    for event in extract_all(jobs):
        if isinstance(event, ExtractionFailed) and event.cause is Cause.CHANGED:
            changed.append(event.job)
        else:
            yield event
    if changed:
        yield from extract_all(changed)


class _StreamedVideo:
    """A video that a worker reads, while its features are built in this process."""

    def __init__(self, job: ExtractionJob, encoder: Encoder, fingerprint: Settings) -> None:
        self._job = job
        self._encoder = encoder
        self._fingerprint = fingerprint
        self._builder: FeatureBuilder | None = None
        self._failed = False

    def take(self, item: StreamItem) -> ExtractionEvent | None:
        """Use the next item of the video; return an event if the video is done. What follows an error is ignored."""
        if self._failed:
            return None
        try:
            return self._use(item)
        except _FILE_ERRORS as error:
            self._failed, self._builder = True, None
            return ExtractionFailed.because(self._job, Failure.of(error))

    def _use(self, item: StreamItem) -> ExtractionEvent | None:
        if isinstance(item, Timeline):
            self._builder = FeatureBuilder(item)
            return None
        if isinstance(item, EndOfVideo) and item.failure is not None:
            self._builder = None
            return ExtractionFailed.because(self._job, item.failure)
        if self._builder is None:
            raise RuntimeError("a stream that does not begin with a timeline")
        if isinstance(item, ClipFrames):
            self._builder.add(item, self._encoder)
            return None
        features, self._builder = self._builder.build(self._job.video, self._fingerprint), None
        if self._job.identity not in (None, item.identity):
            raise ChangedVideoError(self._job.video)
        return _store(self._job, features)


def _extract_one(job: ExtractionJob, settings: ExtractionSettings, threads: int | None) -> ExtractionEvent:
    try:
        encoder = settings.build_encoder()
        features = read_unchanged(
            job.video, job.identity, lambda: encode_video(job.video, encoder, settings, threads=threads)
        )
        return _store(job, features)
    except _FILE_ERRORS as error:
        return ExtractionFailed.because(job, Failure.of(error))


def _store(job: ExtractionJob, features: VideoFeatures) -> ExtractionEvent:
    if job.from_folder and is_too_short(features.duration):
        return ExtractionPassedOver(job, TOO_SHORT)
    try:
        write_features(job.target, features, job.video.name)
    except OSError as error:
        reason = os_reason(error).lower()
        return ExtractionFailed(
            job, f"its features cannot be written to {job.target.parent} ({reason})", Cause.UNWRITTEN
        )
    return _extracted(job, features, cached=False)


def _passed_over(job: ExtractionJob, event: ExtractionEvent) -> ExtractionPassedOver | None:
    """Return the event that replaces another one of a file in a folder that is no video; None if it is one."""
    if not job.from_folder:
        return None
    reason = None
    if isinstance(event, Extracted):
        reason = TOO_SHORT if is_too_short(event.video_seconds) else None
    elif isinstance(event, ExtractionPassedOver) or event.cause is Cause.NO_MOVING_PICTURES:
        reason = event.reason
    if reason is None:
        return None
    _log.info("%s", PassedOver(job.video, reason))
    return ExtractionPassedOver(job, reason)


def _check_existing(job: ExtractionJob, fingerprint: Settings) -> ExtractionEvent | None:
    """Return the event of a job whose target exists; None if there is work to do, as for a damaged target."""
    if not is_file(job.target):
        return None
    try:
        features = read_features(job.target)
    except FeatureError as error:
        _log.info("extracting again: %s", error)
        return None
    if dict(features.fingerprint) != dict(fingerprint):
        made_with = describe_fingerprint(features.fingerprint)
        return ExtractionFailed(
            job, f"{job.target} holds features made with {made_with}; overwrite them or choose another folder"
        )
    return _extracted(job, features, cached=True)


def _extracted(job: ExtractionJob, features: VideoFeatures, *, cached: bool) -> Extracted:
    return Extracted(job, len(features.clips), features.duration or 0.0, cached, features.lost_clips)


def default_workers() -> int:
    """Return the number of cores that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
