"""A library of videos that is asked again and again: the model stays loaded, features in the cache and in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from heapq import nlargest
from pathlib import Path
from threading import RLock
from typing import TypeAlias

from mttsg_core.encoders.base import Array
from mttsg_core.errors import FeatureError, UnknownVideoError, VideoError
from mttsg_core.features.arrays import read_metadata
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
    ExtractionProgress,
)
from mttsg_core.features.fingerprint import number_in
from mttsg_core.features.jobs import Cause
from mttsg_core.features.store import FeatureStore, VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Moment, Timeline
from mttsg_core.video.discovery import VideoFile, find_videos, is_too_short
from mttsg_core.workflows.events import InputFailed, ProgressAdvanced, ProgressStarted
from mttsg_core.workflows.extract import extract_jobs
from mttsg_core.workflows.options import AnyPath
from mttsg_core.workflows.steps import iterate
from mttsg_core.workflows.threads import limited_threads

_MEMORY = 1 << 30  # bytes of features that stay in memory; those of further videos are read from the cache again

RefreshEvent: TypeAlias = (
    ProgressStarted
    | ProgressAdvanced
    | Extracted
    | ExtractionProgress
    | ExtractionFailed
    | ExtractionPassedOver
    | InputFailed
)
_log = logging.getLogger("mttsg")


@dataclass(frozen=True)
class LibraryVideo:
    """A video of a library.

    Attributes:
        id: short, without special characters, and the same as long as the file stays where it is.
        path: the file, absolute.
        name: for readers: relative to the folder that was searched.
        duration: seconds.
        modified: when the file was changed last, in seconds since the epoch.
    """

    id: str
    path: Path
    name: str
    duration: float
    modified: float


@dataclass(frozen=True)
class Hit:
    """A moment of a video that answers a sentence."""

    video: LibraryVideo
    moment: Moment


@dataclass(frozen=True)
class _Contents:
    """What one `Grounder` can be asked about. It is replaced as a whole, so that no answer mixes two models."""

    grounder: Grounder
    videos: Mapping[str, LibraryVideo] = field(default_factory=dict)
    features: FeatureStore = field(default_factory=lambda: FeatureStore({}))


class VideoLibrary:
    """Videos that are found once, and asked many times. Empty until `iter_refresh` is done for the first time.

    `ask` and the other questions may come from several threads; they are answered one after the other.

    Args:
        paths: video files, and folders that are searched for videos.
        grounder: of a trained model, or without training.
        workers: number of videos to read at a time; None for one per core.
    """

    def __init__(self, paths: Sequence[AnyPath], grounder: Grounder, *, workers: int | None = None) -> None:
        self.paths = tuple(Path(path) for path in paths)
        self._workers = workers
        self._lock = RLock()
        self._grounder = grounder
        self._contents = _Contents(grounder)

    @property
    def grounder(self) -> Grounder:
        """The model that answers."""
        return self._contents.grounder

    @property
    def videos(self) -> Sequence[LibraryVideo]:
        """The videos whose features exist, in the order in which they were found."""
        return list(self._contents.videos.values())

    def video(self, video_id: str) -> LibraryVideo:
        """Return the video with an id. Raises UnknownVideoError if there is none."""
        return _find(self._contents, video_id)

    def use(self, grounder: Grounder) -> None:
        """Let another model answer once `iter_refresh` has run; until then the one before does."""
        self._grounder = grounder

    def iter_refresh(self) -> Iterator[RefreshEvent]:
        """Find the videos again and extract missing features, which are the events; then questions see the result.

        A video that cannot be used is an event and costs no other video.

        Raises:
            DataError: if there are no videos.
            FeatureError: if the model expects external features.
            MttsgError: if a file cannot be written.
        """
        yield from (event for event in iterate(self._refresh()) if event is not None)

    def ask(
        self,
        query: str,
        top: int = 10,
        *,
        exhaustive: bool = False,
        below: AnyPath | None = None,
        since: datetime | None = None,
    ) -> list[Hit]:
        """Return the moments of all videos that a sentence describes, the best first; see `ask_many`."""
        [hits] = self.ask_many([query], top, exhaustive=exhaustive, below=below, since=since)
        return hits

    def ask_many(
        self,
        queries: Sequence[str],
        top: int = 10,
        *,
        exhaustive: bool = False,
        below: AnyPath | None = None,
        since: datetime | None = None,
    ) -> list[list[Hit]]:
        """Return for each of several sentences the moments of all videos that it describes, the best first.

        Args:
            queries: the sentences.
            top: number of moments of a sentence, at most.
            exhaustive: let the network answer in every video, however little the video has to do with the sentence.
            below: only videos in this folder, or below it.
            since: only videos that were changed then or later; a time without a zone is one of this computer.

        Raises:
            DataError: if a sentence is empty or has too many words, or `top` is less than 1.
        """
        with self._lock:
            contents = self._contents
            found: list[list[Hit]] = [[] for _ in queries]
            with limited_threads(contents.grounder.device):
                asked = list(_chosen(contents.videos.values(), below, since))
                for video, features in _readable(contents, asked):
                    [answers] = contents.grounder.ground_many([(features, queries)], top)
                    for hits, moments in zip(found, answers, strict=True):
                        hits += [Hit(video, moment) for moment in moments]
            return [nlargest(top, hits, key=lambda hit: hit.moment.score) for hits in found]

    def saliency(self, video_id: str, query: str) -> tuple[Timeline, Array]:
        """Return the clips of a video in seconds, and (T,) for each the probability that it is in the moment.

        Raises:
            UnknownVideoError: if there is no such video.
            VideoError, FeatureError: if its features are gone and cannot be extracted again.
            DataError: if the sentence is empty or has too many words.
        """
        with self._lock:
            contents = self._contents
            features = _read(contents, _find(contents, video_id))
            with limited_threads(contents.grounder.device):
                return features.timeline, contents.grounder.saliency(features, query)

    def _refresh(self) -> Generator[RefreshEvent, None, None]:
        grounder = self._grounder
        settings = grounder.extraction_settings()
        targets: dict[VideoFile, Path] = {}
        for video in find_videos(self.paths):
            try:
                targets[video] = grounder.cache.path(video.path, grounder.fingerprint)
            except VideoError as error:
                yield InputFailed(str(error))
        partial = grounder.cache.partial_folder
        jobs = [
            ExtractionJob(video.path, target, video.from_folder, target.stem, partial)
            for video, target in targets.items()
            if not target.is_file()
        ]
        lost: set[Path] = set()
        if jobs:
            with closing(extract_jobs(jobs, settings, workers=self._workers)) as extraction:
                for event in extraction:
                    if isinstance(event, ExtractionPassedOver) or (
                        isinstance(event, ExtractionFailed) and event.cause is not Cause.UNWRITTEN
                    ):
                        lost.add(event.job.video)
                    yield event
        files: dict[str, Path] = {}
        videos: dict[str, LibraryVideo] = {}
        for video, target in targets.items():
            if video.path in lost:
                continue
            try:
                entry = _describe(video, target, grounder)
            except (VideoError, FeatureError) as error:
                yield InputFailed(str(error))
                continue
            if not (video.from_folder and is_too_short(entry.duration)):
                videos[entry.id], files[entry.id] = entry, target
        with self._lock:
            self._contents = _Contents(grounder, videos, FeatureStore(files, max_bytes=_MEMORY))


def _describe(video: VideoFile, target: Path, grounder: Grounder) -> LibraryVideo:
    """Return what the library knows about a video. Raises VideoError or FeatureError if it cannot be used any more."""
    path = video.path.absolute()
    try:
        duration = number_in(read_metadata(target), "duration", 0.0, float("inf"))
    except (FeatureError, ValueError):
        duration = None
    if duration is None:  # damaged, or not written because the disk is full
        duration = grounder.features_of(path).timeline.duration
    try:
        modified = path.stat().st_mtime
    except OSError as error:
        raise VideoError(video.path, "has gone") from error
    return LibraryVideo(video_id_of(path), path, video.name.as_posix(), duration, modified)


def video_id_of(path: Path) -> str:
    """Return the id of a video file: a digest of its absolute path."""
    return blake2b(os.fsencode(path.absolute()), digest_size=8).hexdigest()


def _find(contents: _Contents, video_id: str) -> LibraryVideo:
    if video_id not in contents.videos:
        raise UnknownVideoError(f"no video has the id {video_id[:40]!r}")
    return contents.videos[video_id]


def _chosen(videos: Iterable[LibraryVideo], below: AnyPath | None, since: datetime | None) -> Iterator[LibraryVideo]:
    """Yield the videos that pass the filters of `VideoLibrary.ask_many`."""
    folder = None if below is None else Path(below).absolute()
    earliest = None if since is None else since.timestamp()
    for video in videos:
        is_below = folder is None or video.path.is_relative_to(folder)
        if is_below and (earliest is None or video.modified >= earliest):
            yield video


def _readable(contents: _Contents, videos: Iterable[LibraryVideo]) -> Iterator[tuple[LibraryVideo, VideoFeatures]]:
    """Yield videos with their features. One whose features are lost, and that is gone itself, is warned about."""
    for video in videos:
        try:
            yield video, _read(contents, video)
        except (VideoError, FeatureError) as error:
            _log.warning("%s", error)


def _read(contents: _Contents, video: LibraryVideo) -> VideoFeatures:
    """Return the features of a video from memory or the cache; missing or damaged ones are extracted now."""
    try:
        features = contents.features.load(video.id)
    except FeatureError:
        features = contents.grounder.features_of(video.path)
    return features if features.duration else replace(features, duration=video.duration)
