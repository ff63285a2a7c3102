"""Output files: checked before any work is done, and written whole or not at all. Links are followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path

from mttsg_core.errors import ConfigError
from mttsg_core.utils.files import is_file
from mttsg_core.utils.text import os_reason
from mttsg_core.utils.writable import check_writable

# How the files begin that this program writes, and how they end unless they are cut off.
_ENDS = (
    (b"<!doctype html>", b"</html>"),
    (b'[\n  {\n    "video"', b"]"),
    (b'{"video": ', b"}\n"),
    (b'{"qid": ', b"}\n"),
    (b"video,query,rank,", b"\n"),
    (b"video\tquery\trank\t", b"\n"),
    (b"webvtt\n", b"\n\n"),
)
_END_BYTES = 64


class OutputState(Enum):
    """What has to be done for an output file."""

    MISSING = "missing"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    FINISHED = "finished"


def prepare_file(path: Path) -> None:
    """Make the folder of an output file.

    Raises:
        ConfigError: if the file can never be written.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder")
        target = follow_links(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() or not target.exists():  # pipes and terminals are written to directly
            check_writable(target.parent)
    except OSError as error:
        raise ConfigError(f"{path}: {os_reason(error)}") from error


def prepare_new_file(path: Path, *, overwrite: bool = False) -> None:
    """Make the folder of an output that is only written to a file, and only replaced if `overwrite`.

    Raises:
        ConfigError: if the file can never be written, or exists and is not to be replaced.
    """
    if path == Path("-"):
        raise ConfigError("predictions and pages are written to files; '-' is not accepted here")
    prepare_file(path)
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists already; use --overwrite")


def follow_links(path: Path) -> Path:
    """Return the file that an output is written to: as everywhere, through a link and not in its place.

    Raises:
        ConfigError: if the links lead nowhere.
    """
    if not path.is_symlink():
        return path
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path}: a link that leads to itself") from error


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
        raise ConfigError(f"{folder}: cannot be written ({os_reason(error).lower()})") from error


def require_distinct(outputs: Mapping[str, Path | None]) -> None:
    """Raise ConfigError if two outputs would be written to one file. The keys are the options that name them."""
    options: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is not None:
            other = options.setdefault(path.resolve(), option)
            if other != option:
                raise ConfigError(f"{path}: {other} and {option} name the same file")


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

    An existing file is finished, except one that `save` marked as incomplete and that has not changed since, and one
    that is damaged: empty, ended by zeros, or begun by this program and cut off.

    Raises:
        ConfigError: if the file can never be written.
    """
    prepare_file(path)
    path = follow_links(path)
    if not path.is_file():
        return OutputState.MISSING
    if _is_incomplete(path):
        return OutputState.INCOMPLETE
    return OutputState.DAMAGED if _is_damaged(path) else OutputState.FINISHED


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

    target = follow_links(path)

    def write_and_mark(part: Path) -> None:
        write(part)
        if not is_complete():
            _mark_of(target).write_text(file_identity(part), encoding="ascii")

    try:
        if target.exists() and not target.is_file():
            write(target)
        else:
            write_atomically(target, write_and_mark)
            if is_complete() and is_file(_mark_of(target)) and not _is_incomplete(target):  # else by another run
                _mark_of(target).unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: {os_reason(error)}") from error


def _is_damaged(path: Path) -> bool:
    """Return whether a file has lost its end, as after a loss of power. False for one that cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(_END_BYTES).lower()
            file.seek(max(0, path.stat().st_size - _END_BYTES))
            end = file.read()
    except OSError:
        return False
    cut_off = any(start.startswith(first) and not end.endswith((last, last + b"\n")) for first, last in _ENDS)
    return not end or end.endswith(b"\0") or cut_off


def _mark_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _is_incomplete(path: Path) -> bool:
    """Return whether this very content was marked as incomplete; a file that was edited since belongs to its editor."""
    mark = _mark_of(path)
    if not is_file(mark):
        return False
    from mttsg_core.features.identity import file_identity

    return mark.read_text(encoding="ascii", errors="replace") == file_identity(path)
