"""The user's own folders: the feature cache, the history of searches, and where local encoders were last used from."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from mttsg_core.utils.writable import check_writable

_APP = "mttsg"


def user_folder(find: Callable[..., Path]) -> Path:
    """Return one of the user's folders for this program.

    Where the home folder is unknown, as in some containers, its path begins with `~`, and `writable.check_writable`
    refuses it.

    Args:
        find: a function of platformdirs that returns a path, such as `user_cache_path`.
    """
    try:
        return find(_APP, appauthor=False)
    except RuntimeError:
        return Path("~", _APP)


def default_cache() -> Path:
    """Return the folder of cached features."""
    return user_folder(user_cache_path) / "features"


def search_history() -> Path | None:
    """Return the file of the sentences that were typed at the prompt, after making its folder; None if it cannot be."""
    path = user_folder(user_data_path) / "search_history"
    try:
        check_writable(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path


def home_relative(path: Path) -> str:
    """Return a path as messages show it, with ~ for the home folder."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


def remember_folder(content: str, folder: Path) -> None:
    """Record which folder has some content, for `remembered_folder`. Does nothing if it cannot be recorded.

    Args:
        content: an id of the content.
        folder: where it is.
    """
    record = _records() / content
    with suppress(OSError):
        check_writable(record.parent)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(os.fsencode(folder.resolve()))


def remembered_folder(content: str) -> Path | None:
    """Return the folder recorded for some content by `remember_folder`, or None if there is none, or it is gone."""
    try:
        folder = Path(os.fsdecode((_records() / content).read_bytes()))
    except OSError:
        return None
    return folder if folder.is_dir() else None


def _records() -> Path:
    return user_folder(user_cache_path) / "encoders"
