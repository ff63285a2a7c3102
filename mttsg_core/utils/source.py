"""Which source code is running: the commit of its repository, if it is run from one."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import mttsg_core

_SECONDS = 5.0  # that git may take, on a slow disk


@cache
def source_commit() -> str | None:
    """Return the commit that this package is run from, with `-dirty` behind it if files have changed since.

    None for an installed package, or where git is not available. A repository around the package's own folder, such as
    one that an environment was created in, does not count.
    """
    root = Path(mttsg_core.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip() or None
