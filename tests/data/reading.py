"""Short forms for tests that read annotation files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mttsg_core.data.pairs import Pair
from mttsg_core.data.splits import Split, read_pairs


def read_text(folder: Path, name: str, content: str | bytes) -> Split:
    """Write an annotation file and read it."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_pairs(path)


def content_of(pair: Pair) -> tuple[object, ...]:
    """Return what a pair says, without its id and line."""
    return pair.video, pair.query, pair.moments, pair.duration


def reasons(split: Split) -> list[tuple[int, str]]:
    """Return line and reason of each problem."""
    return [(problem.line, problem.reason) for problem in split.problems]


def write_rows(path: Path, *rows: Mapping[str, object]) -> Path:
    """Write rows in the project's own format, also values that a bad file would have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def touch(folder: Path, *names: str) -> None:
    """Create small files, and the folders that they are in."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
