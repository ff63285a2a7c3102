"""Paths as users type them: files and folders, patterns such as `*.mp4`, web addresses, and misspelled names."""

from __future__ import annotations

import glob
import os
import re
from itertools import islice
from pathlib import Path

from mttsg_core.config import nearest

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?=[^/])", re.IGNORECASE)  # `Path` leaves one slash of the two
_MAGIC = re.compile(r"[*?\[]")
_MAX_NAMES = 5000  # of a folder, among which a similar name is looked for


def find_path(text: str) -> Path | None:
    """Return the path that a text names if it exists, or is a link whose target does not; else None.

    A leading `~` that the shell left stands for the home folder.
    """
    if not text.strip():
        return None
    for path in (text, os.path.expanduser(text) if text.startswith("~") else text):  # noqa: PTH111 - never raises
        if os.path.lexists(path):
            return Path(path)
    return None


def expand_pattern(text: str) -> list[Path]:
    """Return the files and folders that match a pattern, sorted: `*.mp4`, `videos/**/*.mkv`, `clip_?.mov`.

    >>> expand_pattern("no such folder/*.mp4"), expand_pattern("a dog runs")
    ([], [])
    """
    if not _MAGIC.search(text):
        return []
    try:
        return [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - of any folder
    except (OSError, ValueError, re.error):
        return []


def is_pattern(text: str) -> bool:
    """Return whether a text has one of the wildcards `*`, `?` and `[`."""
    return _MAGIC.search(text) is not None


def is_address(text: str) -> bool:
    """Return whether a text is the address of something on the web, even one that `Path` has shortened.

    >>> is_address("https://youtu.be/abc"), is_address("https:/youtu.be/abc"), is_address(r"C:\\videos")
    (True, True, False)
    """
    return _ADDRESS.match(text) is not None


def missing_reason(text: str | Path, kind: str = "file") -> str:
    """Return why a path that does not exist cannot be used, and what to do about it.

    Args:
        text: the path as the user typed it.
        kind: what should be there: `file` or `folder`.

    >>> missing_reason("https://youtu.be/abc")
    'a web address, not a file: download it first, e.g. with yt-dlp'
    >>> missing_reason("no such folder/a.mp4")
    "no such file: the folder 'no such folder' does not exist"
    """
    text = str(text)
    if is_address(text):
        return f"a web address, not a {kind}: download it first" + (", e.g. with yt-dlp" if kind == "file" else "")
    if is_pattern(text):
        return f"no {kind} matches"
    folder, name = os.path.split(text.rstrip("/\\"))
    if folder and not os.path.isdir(folder):  # noqa: PTH112 - never raises
        return f"no such {kind}: the folder {folder!r} does not exist"
    try:
        with os.scandir(folder or ".") as entries:
            by_stem = {os.path.splitext(entry.name)[0]: entry.name for entry in islice(entries, _MAX_NAMES)}  # noqa: PTH122
    except (OSError, ValueError):
        by_stem = {}
    near = nearest(os.path.splitext(name)[0], by_stem)  # noqa: PTH122 - most names end alike
    if near is None:
        return f"no such {kind}"
    return f"no such {kind}; did you mean {os.path.join(folder, by_stem[near])!r}?"  # noqa: PTH118


def shown_path(text: str | Path) -> str:
    """Return a path for a message; a web address has both its slashes again.

    >>> shown_path(Path("https://youtu.be/abc")), shown_path("a.mp4")
    ('https://youtu.be/abc', 'a.mp4')
    """
    text = str(text)
    return _ADDRESS.sub(r"\1://", text, count=1) if is_address(text) else text
