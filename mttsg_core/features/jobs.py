"""Jobs of an extraction, and the events that tell what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_BASE_LIMIT, _LIMIT_PER_MEGABYTE = 120.0, 10.0  # seconds that one file may take


@dataclass(frozen=True)
class ExtractionJob:
    """One video to extract.

    Attributes:
        video: the file.
        target: the file that its features are written to.
        from_folder: whether the video was found in a folder; then having no moving pictures is not a failure.
        identity: of the video when the target was chosen by it, as the cache does; None for other targets. A video
            that has changed since then fails.
    """

    video: Path
    target: Path
    from_folder: bool = False
    identity: str | None = None

    @property
    def size(self) -> int:
        """Size of the video file in bytes; 0 if it cannot be read."""
        try:
            return self.video.stat().st_size
        except OSError:
            return 0

    @property
    def time_limit(self) -> float:
        """Seconds that the job may take."""
        return _BASE_LIMIT + _LIMIT_PER_MEGABYTE * self.size / 1e6


@dataclass(frozen=True)
class Extracted:
    """The event that a video's features are at `job.target`.

    Attributes:
        job: the job.
        clips: number of clips.
        video_seconds: duration of the video.
        cached: whether the features existed already.
        lost_clips: number of clips with a frame that could not be decoded.
    """

    job: ExtractionJob
    clips: int
    video_seconds: float
    cached: bool = False
    lost_clips: int = 0


@dataclass(frozen=True)
class ExtractionFailed:
    """The event that the features of a video could not be extracted or written.

    Attributes:
        job: the job.
        reason: why, in one short line.
        unwritten: whether the video was read, and only the target could not be written.
    """

    job: ExtractionJob
    reason: str
    unwritten: bool = False


@dataclass(frozen=True)
class ExtractionPassedOver:
    """The event that a file found in a folder is no video: it has only sound, or lasts less than a second, say."""

    job: ExtractionJob
    reason: str


ExtractionEvent = Extracted | ExtractionFailed | ExtractionPassedOver
