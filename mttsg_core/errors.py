"""What can go wrong through no fault of ours. The text of each error is one line, ready to be shown to a user."""

from __future__ import annotations

from pathlib import Path

_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class MttsgError(Exception):
    """Base of every error that this library raises on purpose."""


class ConfigError(MttsgError):
    """An option or setting that cannot be used."""


class DataError(MttsgError):
    """A data folder, an annotation file or a predictions file that cannot be used."""


class FeatureError(MttsgError):
    """Features that are missing, unreadable, or made in another way than the model expects."""


class ModelError(MttsgError):
    """A model folder that is missing, incomplete, or of another format."""


class TrainingError(MttsgError):
    """A training that cannot go on."""


class VideoError(MttsgError):
    """A video that cannot be read. `path` is the file, `reason` says why in a few words."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # errors travel between worker processes


class VideoNotFoundError(VideoError):
    """There is no such file."""


class NotAVideoError(VideoError):
    """The file is empty, is no media file, or has no video stream."""


class CorruptVideoError(VideoError):
    """The file is a video, but truncated or so damaged that no frame can be read."""


class UnsupportedVideoError(VideoError):
    """The video's codec or pixel format has no decoder here."""


def memory_ran_out(error: Exception) -> bool:
    """Whether an error, MemoryError or torch's RuntimeErrors of any device, says that there is no memory left."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY)


def brief(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
