"""Errors that a user can cause or fix. The text of each is one line, ready to be shown."""

from __future__ import annotations

from pathlib import Path

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
_SUMMARY_LENGTH = 200


class MttsgError(Exception):
    """Base class of all errors that this library raises deliberately."""


class ConfigError(MttsgError):
    """An option or setting that cannot be used."""


class DataError(MttsgError):
    """A data folder, annotation file or predictions file that cannot be used."""


class UnknownVideoError(MttsgError):
    """An id that no video of a library has."""


class FeatureError(MttsgError):
    """Features that are missing, unreadable, or not made the way the model expects."""


class ModelError(MttsgError):
    """A model folder that is missing, incomplete, or in an unknown format."""


class BusyError(MttsgError):
    """A folder in which another process is at work."""


class TrainingError(MttsgError):
    """A training run that cannot continue."""


class LostRankError(TrainingError):
    """Another process of the same training that has ended, or does not answer."""


class ToldError(MttsgError):
    """An error that another process of the same training has raised, and tells of."""


class VideoError(MttsgError):
    """A video that cannot be read.

    Attributes:
        path: the file.
        reason: why, in a few words.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # worker processes send errors to their parent


class VideoNotFoundError(VideoError):
    """The file does not exist."""


class NotAVideoError(VideoError):
    """The file is empty, is not a media file, or has no video stream."""


class NoMovingPicturesError(NotAVideoError):
    """The file is a still image, or has sound only."""


class ChangedVideoError(VideoError):
    """The file changed while it was read."""

    def __init__(self, path: str | Path, reason: str = "changed while it was read") -> None:
        super().__init__(path, reason)


class CorruptVideoError(VideoError):
    """The file is a video, but truncated or so damaged that no frame can be read."""


class UnsupportedVideoError(VideoError):
    """No decoder is available for the video's codec or pixel format."""


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error reports that memory ran out: MemoryError, or torch's RuntimeError on any device.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"))
    True
    """
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def error_summary(error: Exception) -> str:
    r"""Return the text of an error in one line of at most 200 characters.

    >>> error_summary(ValueError("bad header\n  at byte 3"))
    'bad header at byte 3'
    >>> error_summary(MemoryError())
    'MemoryError'
    """
    return " ".join(str(error).split())[:_SUMMARY_LENGTH] or type(error).__name__
