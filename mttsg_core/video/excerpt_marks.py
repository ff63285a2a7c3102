"""Marks on folders of excerpts, so that the pieces that were cut out of videos are not searched as videos later.

A hidden file in the folder says which files are excerpts: all below it, or, in a folder that had videos of its own
before, those that it lists.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

MARK = ".mttsg-clips"
_TITLE = "# Excerpts cut out by 'mttsg ground'; searches for videos pass over them."
_ALL = "*"


def mark_excerpts(folder: Path, excerpts: Iterable[Path], suffixes: Collection[str]) -> None:
    """Mark the excerpts of a folder, before they are written.

    Args:
        folder: the folder of excerpts; it exists.
        excerpts: the files in it, at any depth.
        suffixes: of videos, lower case. If there is none yet in the folder, all that will ever be in it is marked.

    Raises:
        OSError: if the mark cannot be written.
    """
    known = _lines(folder / MARK)
    if not known and not _has_files(folder, suffixes):
        _add(folder, [_ALL], known)
    else:
        _add(folder, (path.relative_to(folder).as_posix() for path in excerpts), known)


def mark_film(film: Path) -> None:
    """Mark one file as made of excerpts, before it is written into a folder that exists.

    Raises:
        OSError: if the mark cannot be written.
    """
    _add(film.parent, [film.name], _lines(film.parent / MARK))


def _add(folder: Path, names: Iterable[str], known: Collection[str]) -> None:
    new = [name for name in dict.fromkeys(names) if name not in known and "\n" not in name]
    if _ALL in known or not new:
        return
    mark = folder / MARK
    title = [] if mark.exists() else [_TITLE]
    with mark.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{line}\n" for line in [*title, *new])


def marked_excerpts(folder: Path, names: Collection[str]) -> set[str] | None:
    """Return the excerpts that the mark of a folder lists, as paths below it with slashes; None if all below it are.

    Args:
        folder: a folder.
        names: the files directly in it, so that nothing is opened where there is no mark.
    """
    lines = _lines(folder / MARK) if MARK in names else set()
    return None if _ALL in lines else lines


class ExcerptFilter:
    """Leaves out marked excerpts while folders are walked from the top down, as `os.walk` does.

    Args:
        root: where the walk begins. If all in it are excerpts, it was named for their sake, and they are kept.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: set[Path] = set()

    def enter(self, parent: str | Path, folders: list[str], names: list[str]) -> list[str]:
        """Return the names of a folder's files that are not excerpts; where all are, its folders are not entered."""
        folder = Path(parent)
        listed = marked_excerpts(folder, names)
        if listed is None and folder != self._root:
            folders.clear()
            return []
        self._listed.update(Path(os.path.normpath(folder / name)) for name in listed or ())
        if not self._listed:
            return names
        return [name for name in names if Path(os.path.normpath(folder / name)) not in self._listed]


def _lines(mark: Path) -> set[str]:
    try:
        text = mark.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return set()
    return {line for line in text.split("\n") if line and not line.startswith("# ")}


def _has_files(folder: Path, suffixes: Collection[str]) -> bool:
    """Return whether there is a file with one of the suffixes in a folder, at any depth."""
    return any(os.path.splitext(name)[1].lower() in suffixes for _, _, names in os.walk(folder) for name in names)  # noqa: PTH122
