"""Brings an index of videos up to date: only what is new or changed is read, and what has gone goes."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionFailed,
    ExtractionJob,
)
from mttsg_core.features.jobs import Cause
from mttsg_core.features.store import VideoFeatures, read_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.index import IndexedVideo, VideoIndex
from mttsg_core.search.spaces import ClipSpace, ClipVectors
from mttsg_core.utils.text import os_reason
from mttsg_core.video.discovery import VideoFile, find_videos, is_too_short
from mttsg_core.workflows.events import InputFailed, ProgressAdvanced, ProgressStarted, ReadingEvent
from mttsg_core.workflows.extract import extract_jobs

if TYPE_CHECKING:
    from mttsg_core.features.cluster import ClusterOptions


@dataclass
class IndexReport:
    """What has changed in an index.

    Attributes:
        videos: number of videos in it.
        added: of these, how many are new or have changed.
        moved: how many are known from another place, and were not read again.
        removed: number of videos that have gone.
        failures: one line for each video that cannot be used.
        found: number of video files, usable or not; 0 until they are known.
    """

    videos: int = 0
    added: int = 0
    moved: int = 0
    removed: int = 0
    failures: list[str] = field(default_factory=list)
    found: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        values = {**vars(self), "failures": len(self.failures)}
        del values["found"]
        return values


@dataclass(frozen=True)
class _Found:
    """A video file that is to be put into the index.

    Attributes:
        video: the file.
        target: of its features.
        size, modified_ns: of the file before its identity was read.
    """

    video: VideoFile
    target: Path
    size: int
    modified_ns: int

    @property
    def identity(self) -> str:
        """Of the content."""
        return self.target.stem


def refresh_index(
    index: VideoIndex,
    space: ClipSpace | None,
    grounder: Grounder,
    paths: Sequence[Path],
    report: IndexReport,
    workers: int | None = None,
    cluster: ClusterOptions | None = None,
) -> Generator[ReadingEvent, None, None]:
    """Bring an index up to date with video files and folders.

    A file that has its size and time of change is not read; one with a known identity at another place is not encoded.
    A source that does not exist any more, such as a disk that is not mounted, is a failure and its videos stay.

    Args:
        index: what is changed.
        space: makes the vectors; None keeps the videos alone.
        grounder: its features are used.
        paths: the sources.
        report: what has changed, filled in as it does.
        workers: number of videos to read at a time; None for one per core.
        cluster: reads the videos in place of this computer.

    Raises:
        DataError: if there are no videos, known ones included.
        FeatureError: if the model expects external features.
    """
    known = {video.path: video for video in index.videos()}
    if index.identities() - {video.identity for video in known.values()}:
        index.tidy()  # what a stopped run has left
    missing = [path for path in paths if not os.path.lexists(path)]
    kept = {path: video for path, video in known.items() if any(path.is_relative_to(gone) for gone in missing)}
    for path in missing:
        number = sum(video.is_relative_to(path) for video in kept)
        yield from _failed(report, f"{path}: does not exist" + (f"; its {number} videos stay" if number else ""))
    present = [path for path in paths if path not in missing]
    work = _Refresh(index, space, grounder, report, known, kept, workers=workers, cluster=cluster)
    if present:
        yield from work.run(find_videos(present))
    gone = known.keys() - kept.keys()
    index.remove(gone)
    if work.has_changed or gone:
        index.tidy()
    report.removed = len(gone) - report.moved
    report.videos = len(kept)


class _Refresh:
    """One run. `kept` collects the videos that are in the index at its end."""

    def __init__(
        self,
        index: VideoIndex,
        space: ClipSpace | None,
        grounder: Grounder,
        report: IndexReport,
        known: Mapping[Path, IndexedVideo],
        kept: dict[Path, IndexedVideo],
        *,
        workers: int | None,
        cluster: ClusterOptions | None,
    ) -> None:
        self._index, self._space, self._grounder = index, space, grounder
        self._workers, self._cluster = workers, cluster
        self._report, self._known, self._kept = report, known, kept
        self._contents = {video.identity: video for video in known.values()}
        self._vectors: dict[str, ClipVectors] = {}
        self._waiting: dict[Path, IndexedVideo] = {}
        self.has_changed = False

    def run(self, videos: Iterable[VideoFile]) -> Generator[ReadingEvent, None, None]:
        """Add what is new or has changed."""
        failed = len(self._report.failures)
        found = yield from self._find_changes(videos)
        failed = len(self._report.failures) - failed
        self._report.found = len(self._kept) + len(self._waiting) + len(found) + failed
        cached = [change for change in found if change.target.is_file()]
        if cached:
            yield ProgressStarted("indexing", len(cached))
        for change in cached:
            yield from self._add(change)
            yield ProgressAdvanced("indexing")
        missing = {change.video.path: change for change in found if not change.target.is_file()}
        if missing:
            yield from self._extract(missing)
        self._flush()

    def _find_changes(self, videos: Iterable[VideoFile]) -> Generator[ReadingEvent, None, list[_Found]]:
        """Return the videos whose vectors are not in the index, and take note of the others."""
        changes: list[_Found] = []
        for video in videos:
            path = video.path.absolute()
            try:
                status = path.stat()
                before = self._known.get(path)
                if before is not None and (before.size, before.modified_ns) == (status.st_size, status.st_mtime_ns):
                    self._kept[path] = before
                    continue
                target = self._grounder.cache_path(path)
            except VideoError as error:
                yield from _failed(self._report, str(error))
                continue
            except OSError as error:
                yield from _failed(self._report, f"{video.path}: {os_reason(error).lower()}")
                continue
            change = _Found(video, target, status.st_size, status.st_mtime_ns)
            if change.identity in self._contents:
                self._report.moved += not os.path.lexists(self._contents[change.identity].path)
                self._put(change, self._contents[change.identity].duration, self._contents[change.identity].clips)
            else:
                changes.append(change)
        return changes

    def _extract(self, missing: Mapping[Path, _Found]) -> Generator[ReadingEvent, None, None]:
        """Extract features, and add each video as soon as they exist."""
        partial = self._grounder.cache.partial_folder
        jobs = [
            ExtractionJob(path, change.target, change.video.from_folder, change.identity, partial)
            for path, change in missing.items()
        ]
        settings = self._grounder.extraction_settings()
        with closing(extract_jobs(jobs, settings, workers=self._workers, cluster=self._cluster)) as extraction:
            for event in extraction:
                yield event
                if isinstance(event, Extracted):
                    yield from self._add(missing[event.job.video])
                elif isinstance(event, ExtractionFailed):
                    if event.cause is Cause.UNWRITTEN:
                        yield from self._add(missing[event.job.video])
                    else:
                        self._report.failures.append(f"{event.job.video}: {event.reason}")

    def _add(self, change: _Found) -> Iterator[ReadingEvent]:
        """Add a video whose features exist."""
        try:
            features = self._read(change)
            if change.video.from_folder and is_too_short(features.duration):
                return
            vectors = None if self._space is None else self._space.clips(features)
            duration = features.timeline.duration
        except (VideoError, FeatureError) as error:
            yield from _failed(self._report, f"{change.video.path}: {error}")
            return
        if vectors is not None and change.identity not in self._contents:
            self._vectors[change.identity] = vectors
        self._report.added += 1
        self._put(change, duration, 0 if vectors is None else len(vectors.vectors))
        if len(self._waiting) >= self._index.at_once:
            self._flush()

    def _read(self, change: _Found) -> VideoFeatures:
        try:
            return self._grounder.adapt(read_features(change.target))
        except FeatureError:  # damaged, or not written because the disk is full
            return self._grounder.features_of(change.video.path)

    def _put(self, change: _Found, duration: float, clips: int) -> None:
        folder = self._grounder.cache.folder
        target = change.target
        video = IndexedVideo(
            path=change.video.path.absolute(),
            name=change.video.name.as_posix(),
            identity=change.identity,
            size=change.size,
            modified_ns=change.modified_ns,
            duration=duration,
            clips=clips,
            features=str(target.relative_to(folder) if target.is_relative_to(folder) else target),
        )
        self._waiting[video.path] = video
        self._contents.setdefault(video.identity, video)

    def _flush(self) -> None:
        """Write what was collected: the vectors first, so that no video is without them."""
        if self._waiting:
            self.has_changed = True
            self._index.add(self._vectors)
            self._index.put(list(self._waiting.values()))
            self._kept |= self._waiting
        self._vectors, self._waiting = {}, {}


def _failed(report: IndexReport, reason: str) -> Iterator[InputFailed]:
    report.failures.append(reason)
    yield InputFailed(reason)
