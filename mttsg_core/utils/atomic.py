"""Atomic writing: a file is complete, or it does not change."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then replace `path` by it in one step.

    Args:
        path: the file to write. Its folder is created if needed.
        write: called with the path of the temporary file.

    Raises:
        OSError: if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        part.touch()
        mode = stat.S_IMODE(part.stat().st_mode)
        write(part)
        part.chmod(mode)  # safetensors creates the file anew, readable by its owner only
        part.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({error})") from error
    finally:
        part.unlink(missing_ok=True)
