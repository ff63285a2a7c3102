"""Names and paths that may be anything, looked at without harm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mttsg_core.utils.text import shorten


def outside_reason(name: str) -> str | None:
    """Why a name must not be joined to a folder, or None: absolute paths and `..` are refused."""
    if "\0" in name:
        return "the video's name holds a null character"
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", name) or ".." in re.split(r"[\\/]", name):
        return f"the path {shorten(name)} leaves the data folder"
    return None


def without_suffix(name: str, suffixes: Sequence[str]) -> str:
    """The name without its suffix, if that is one of `suffixes`; a dot alone does not make a suffix."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and not stem.endswith("/") and f".{suffix.lower()}" in suffixes else name


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for names that no file system takes."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def real_path(path: Path) -> Path | None:
    """The path with every link followed, or None where that fails."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return None
