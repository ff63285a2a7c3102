"""A video in work: its features so far, how far they are, and what is kept of them should the program be stopped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mttsg_core.encoders import Encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ChangedVideoError
from mttsg_core.features.builder import FeatureBuilder
from mttsg_core.features.frame_stream import ClipFrames
from mttsg_core.features.jobs import ExtractionJob, ExtractionProgress
from mttsg_core.features.partial import PartialFeatures
from mttsg_core.features.store import VideoFeatures
from mttsg_core.moments import Timeline

_STEP = 10.0  # seconds of video between two events


class VideoInWork:
    """The features of one video while its pieces arrive.

    Args:
        job: the video, and where what is done of it is kept.
        fingerprint: how the features are made.
    """

    def __init__(self, job: ExtractionJob, fingerprint: Settings) -> None:
        self._job, self._fingerprint = job, fingerprint
        self._partial = PartialFeatures(job, fingerprint)
        self._builder = self._partial.load()
        self._told = 0.0  # seconds

    @property
    def first_clip(self) -> int:
        """The clip to begin with: those before were done by an earlier run."""
        return 0 if self._builder is None else self._builder.next_clip

    def begin(self, timeline: Timeline) -> ExtractionProgress | None:
        """Take the timeline of the video, and return how far an earlier run came.

        Raises:
            VideoError: if that run read another video. What it did is removed, so that another try begins anew.
        """
        if self._builder is None:
            self._builder = FeatureBuilder(timeline)
            return None
        if self._builder.timeline != timeline:
            self._partial.remove()
            raise ChangedVideoError(self._job.video)
        self._told = self._builder.seconds
        return ExtractionProgress(self._job, self._told, timeline.duration, resumed=True)

    def add(self, piece: ClipFrames, encoder: Encoder) -> ExtractionProgress | None:
        """Encode some clips, and return how far the video is if there is something to tell."""
        builder = self._started
        builder.add(piece, encoder)
        if piece.ends_batch:
            self._partial.keep(builder)
        if not self._told + _STEP <= builder.seconds < builder.timeline.duration:
            return None
        self._told = builder.seconds
        return ExtractionProgress(self._job, self._told, builder.timeline.duration)

    def finish(self) -> VideoFeatures:
        """Return the features of the whole video. Raises VideoError if there is no clip."""
        return self._started.build(self._job.video, self._fingerprint)

    def forget(self) -> None:
        """Remove what is kept: the features are written, or of no use."""
        self._partial.remove()

    @property
    def _started(self) -> FeatureBuilder:
        if self._builder is None:
            raise RuntimeError("pieces of a video before its timeline")
        return self._builder


@dataclass(frozen=True)
class ProgressBoard:
    """How far the videos of many worker processes are: a file of numbers, which needs no lock that a crash could keep.

    Attributes:
        path: the file.
        videos: number of videos.
    """

    path: Path
    videos: int

    @classmethod
    @contextmanager
    def create(cls, videos: int) -> Iterator[ProgressBoard | None]:
        """Create a board in a temporary folder; None if that cannot be written."""
        folder = None
        board = None
        with suppress(OSError):
            folder = tempfile.TemporaryDirectory(prefix="mttsg-", ignore_cleanup_errors=True)
            board = cls(Path(folder.name) / "progress", videos)
            np.zeros((videos, 3)).tofile(board.path)
        try:
            yield board
        finally:
            if folder is not None:
                folder.cleanup()

    def note(self, index: int, progress: ExtractionProgress) -> None:
        """Write how far a video is. Does nothing if that fails."""
        with suppress(OSError, ValueError):
            numbers = np.memmap(self.path, np.float64, "r+", shape=(self.videos, 3))
            numbers[index] = (progress.seconds, progress.total_seconds, progress.resumed)

    def news(self, jobs: Sequence[ExtractionJob], seen: dict[int, float]) -> Iterator[ExtractionProgress]:
        """Yield how far the videos are that have moved on, and note it in `seen`: seconds by index."""
        with suppress(OSError, ValueError):
            numbers = np.fromfile(self.path, np.float64).reshape(self.videos, 3)
            for index, (seconds, total, resumed) in enumerate(numbers.tolist()):
                if seconds > seen.get(index, 0.0) and seconds < total:
                    seen[index] = seconds
                    yield ExtractionProgress(jobs[index], seconds, total, bool(resumed))
