"""Output files: checked before any work is done, and written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path

from mttsg_core.errors import ConfigError
from mttsg_core.utils.files import is_file
from mttsg_core.utils.writable import check_writable


class OutputState(Enum):
    """What has to be done for an output file."""

    MISSING = "missing"
    INCOMPLETE = "incomplete"
    FINISHED = "finished"


def prepare_file(path: Path) -> None:
    """Make the folder of an output file.

    Raises:
        ConfigError: if the file can never be written.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() or not path.exists():  # pipes and terminals are written to directly
            check_writable(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def require_folders(*paths: str | Path | None) -> None:
    """Raise ConfigError if one of the paths exists and is not a folder."""
    for path in [Path(path) for path in paths if path is not None]:
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path}: is a file, not a folder")


def require_writable(folder: Path) -> None:
    """Raise ConfigError if files cannot be written to a folder, which need not exist yet. It is not created."""
    try:
        check_writable(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({(error.strerror or str(error)).lower()})") from error


def require_distinct(rows: Path | None, page: Path | None) -> None:
    """Raise ConfigError if two outputs would be written to one file."""
    if rows is not None and page is not None and rows.resolve() == page.resolve():
        raise ConfigError(f"{page}: --out and --html name the same file")


def protect_videos(outputs: Iterable[Path | None], videos: Iterable[Path]) -> None:
    """Raise ConfigError if an output would replace one of the videos."""
    existing = [path for path in outputs if path is not None and path.exists()]
    if existing:
        protected = {video.resolve() for video in videos}
        for path in existing:
            if path.resolve() in protected:
                raise ConfigError(f"{path}: is one of the videos, which no output may replace")


def output_state(path: Path) -> OutputState:
    """Return what has to be done for an output file, after making its folder.

    An existing file is finished, except one that `save` marked as incomplete and that has not changed since.

    Raises:
        ConfigError: if the file can never be written.
    """
    prepare_file(path)
    if not path.is_file():
        return OutputState.MISSING
    return OutputState.INCOMPLETE if _is_incomplete(path) else OutputState.FINISHED


def save(path: Path, write: Callable[[Path], object], *, is_complete: Callable[[], bool] = lambda: True) -> None:
    """Let `write` fill a file that appears when it is finished. A pipe or a terminal is written to directly.

    Args:
        path: of the file.
        write: called with the path of the file to fill.
        is_complete: called when the file is filled. If it returns False, a hidden file beside the output marks it as
            incomplete for `output_state`.

    Raises:
        ConfigError: if the file cannot be written.
    """
    from mttsg_core.features.identity import file_identity
    from mttsg_core.utils.atomic import write_atomically

    def write_and_mark(part: Path) -> None:
        write(part)
        if not is_complete():
            _mark_of(path).write_text(file_identity(part), encoding="ascii")

    try:
        if path.exists() and not path.is_file():
            write(path)
        else:
            write_atomically(path, write_and_mark)
            if is_complete() and is_file(_mark_of(path)):
                _mark_of(path).unlink()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _mark_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _is_incomplete(path: Path) -> bool:
    """Return whether this very content was marked as incomplete; a file that was edited since belongs to its editor."""
    mark = _mark_of(path)
    if not is_file(mark):
        return False
    from mttsg_core.features.identity import file_identity

    return mark.read_text(encoding="ascii", errors="replace") == file_identity(path)
