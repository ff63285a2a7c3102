"""What to say before annotation files are read that take long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mttsg_core.data import formats
from mttsg_core.utils.files import is_file

_LARGE = 4_000_000  # bytes that take more than a second or two to read


def reading_notes(data: Path) -> Iterator[str]:
    """Yield a line to show before a data folder, or a single annotation file, is read; none if that takes no time.

    Nothing heavy is imported for it, so that it comes first.
    """
    files = [data]
    try:
        if data.is_dir():
            files = [path for path in sorted(data.iterdir()) if path.suffix.lower() in formats.SUFFIXES]
        sizes = {path.name: path.stat().st_size for path in files if is_file(path)}
    except OSError:
        return  # whoever reads them says so
    if sum(sizes.values()) > _LARGE:
        texts = [f"{name} ({size / 1e6:.0f} MB)" for name, size in sizes.items() if size > _LARGE // len(sizes)]
        yield f"reading {', '.join(texts)}"
