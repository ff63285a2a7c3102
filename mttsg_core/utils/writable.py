"""Whether files can be written to a folder, found out before hours of work depend on it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

_TRIAL_BYTES = 1 << 16  # enough to meet a full disk


def check_writable(folder: Path) -> None:
    """Write something to a folder, or where the folder would be created, and leave nothing behind.

    Permissions alone do not tell: a file system may be read-only or full, and the administrator may do anything.

    Raises:
        OSError: if a file cannot be written there.
    """
    if folder.parts[:1] == ("~",):  # where the user's folder is unknown, its name is kept as it is
        raise OSError(errno.ENOENT, "the home folder is unknown", str(folder))
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    with tempfile.TemporaryFile(dir=existing) as file:
        file.write(bytes(_TRIAL_BYTES))
        file.flush()
