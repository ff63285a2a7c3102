"""Safe handling of names and paths from untrusted files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mttsg_core.utils.text import shorten


def unsafe_path_reason(name: str) -> str | None:
    """Return why a name must not be joined to a folder's path, or None: it is absolute, or contains `..`.

    >>> unsafe_path_reason("../secret.mp4")
    "the path '../secret.mp4' leaves the data folder"
    >>> unsafe_path_reason("kitchen/a.mp4")
    """
    if "\0" in name:
        return "the video's name contains a null character"
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", name) or ".." in re.split(r"[\\/]", name):
        return f"the path {shorten(name)} leaves the data folder"
    return None


def without_suffix(name: str, suffixes: Sequence[str]) -> str:
    """Return a name without its suffix if that is one of `suffixes`, else unchanged.

    >>> without_suffix("clips/a_1.5.MP4", [".mp4"]), without_suffix("a_1.5", [".mp4"])
    ('clips/a_1.5', 'a_1.5')
    """
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and not stem.endswith("/") and f".{suffix.lower()}" in suffixes else name


def is_file(path: Path) -> bool:
    """Tell whether a path is a file; False also for names that no file system accepts."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def real_path(path: Path) -> Path | None:
    """Return a path with all links followed, or None if that fails."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return None
