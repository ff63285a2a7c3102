"""Where things lie for this user: the feature cache, folders of encoders."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

_APP = "mttsg"


def default_cache() -> Path:
    """The folder of cached features."""
    return user_cache_path(_APP, appauthor=False) / "features"


def remember_folder(content: str, folder: Path) -> None:
    """Note that the folder holds that content, for `remembered_folder`; where nothing can be noted nothing is."""
    note = _notes() / content
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_bytes(os.fsencode(folder.resolve()))


def remembered_folder(content: str) -> Path | None:
    """The folder that held that content when it was last used on this computer; None if it is not known, or gone."""
    try:
        folder = Path(os.fsdecode((_notes() / content).read_bytes()))
    except OSError:
        return None
    return folder if folder.is_dir() else None


def _notes() -> Path:
    return user_cache_path(_APP, appauthor=False) / "encoders"
