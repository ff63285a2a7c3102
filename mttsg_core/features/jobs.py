"""Jobs of an extraction, and the events that tell what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mttsg_core.errors import ChangedVideoError, NoMovingPicturesError, VideoError
from mttsg_core.utils.text import os_reason

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
        partial: folder that keeps what is done of a long video until it is whole; None keeps nothing.
        partial_seconds: of video after which what is done is kept.
    """

    video: Path
    target: Path
    from_folder: bool = False
    identity: str | None = None
    partial: Path | None = None
    partial_seconds: float = 600.0

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


class Cause(Enum):
    """The kinds of failures that are not treated alike."""

    UNUSABLE = "the video cannot be read, or its target holds other features"
    NO_MOVING_PICTURES = "the file is a still image, or has sound only"
    CHANGED = "the video changed while it was read"
    UNWRITTEN = "the video was read, and only the target could not be written"
    UNSEEN = "the computer that was to read the video does not see it, and this one does"


@dataclass(frozen=True)
class Failure:
    """Why a video could not be used: a short line for people, and the kind of failure."""

    reason: str
    cause: Cause = Cause.UNUSABLE

    @classmethod
    def of(cls, error: VideoError | OSError | MemoryError) -> Failure:
        """Return the failure that an error stands for."""
        if isinstance(error, MemoryError):
            return cls("not enough memory")
        if not isinstance(error, VideoError):
            return cls(os_reason(error))
        if isinstance(error, ChangedVideoError):
            return cls(error.reason, Cause.CHANGED)
        if isinstance(error, NoMovingPicturesError):
            return cls(error.reason, Cause.NO_MOVING_PICTURES)
        return cls(error.reason)


@dataclass(frozen=True)
class ExtractionProgress:
    """The event that a part of a video is done. Short videos have none.

    Attributes:
        job: the job.
        seconds: of the video that are done.
        total_seconds: duration of the video.
        resumed: whether an earlier run did it.
    """

    job: ExtractionJob
    seconds: float
    total_seconds: float
    resumed: bool = False


@dataclass(frozen=True)
class ExtractionFailed:
    """The event that the features of a video could not be extracted or written.

    Attributes:
        job: the job.
        reason: why, in one short line.
        cause: the kind of failure.
    """

    job: ExtractionJob
    reason: str
    cause: Cause = Cause.UNUSABLE

    @classmethod
    def because(cls, job: ExtractionJob, failure: Failure) -> ExtractionFailed:
        """Return the event of a job that failed."""
        return cls(job, failure.reason, failure.cause)

    @classmethod
    def unwritten(cls, job: ExtractionJob, error: OSError) -> ExtractionFailed:
        """Return the event of a job whose target cannot be written."""
        reason = os_reason(error).lower()
        return cls(job, f"its features cannot be written to {job.target.parent} ({reason})", Cause.UNWRITTEN)


@dataclass(frozen=True)
class ExtractionPassedOver:
    """The event that a file found in a folder is not a video: it has only sound, or lasts less than a second, say."""

    job: ExtractionJob
    reason: str


ExtractionEvent = Extracted | ExtractionProgress | ExtractionFailed | ExtractionPassedOver
