"""What a workflow says before it reads annotation files that take long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mttsg_core.data import formats
from mttsg_core.utils.files import is_file
from mttsg_core.workflows.events import Noted

_LARGE = 4_000_000  # bytes that take more than a second or two to read


def note_large_files(data: Path) -> Iterator[Noted]:
    """Yield what to say before a data folder, or a single annotation file, is read; nothing if it is read at once."""
    files = [data]
    try:
        if data.is_dir():
            files = [path for path in sorted(data.iterdir()) if path.suffix.lower() in formats.SUFFIXES]
        sizes = {path.name: path.stat().st_size for path in files if is_file(path)}
    except OSError:
        return  # whoever reads them says so
    if sum(sizes.values()) > _LARGE:
        texts = [f"{name} ({size / 1e6:.0f} MB)" for name, size in sizes.items() if size > _LARGE // len(sizes)]
        yield Noted(f"reading {', '.join(texts)}")
