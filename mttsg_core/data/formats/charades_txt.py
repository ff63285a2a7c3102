"""Charades-STA's text files: `VIDEO START END##SENTENCE`, one per line.

They do not say how long a video is: `mttsg_core.data.duration_files` looks for that beside them.
"""

from __future__ import annotations

import re
from pathlib import Path

from mttsg_core.data.formats.base import HEAD_LINES, Format, Row, Rows
from mttsg_core.utils.json_lines import Content, Problem, read_lines

_TIME_START = re.compile(r"[-+.\d]", re.ASCII)


def _recognise(head: str) -> bool:
    lines = [line for line in head.splitlines() if line.strip()][:HEAD_LINES]
    return any(map(_is_row, lines)) and not lines[0].lstrip().startswith(("{", "["))


def _is_row(line: str) -> bool:
    fields = _fields(line)
    return fields is not None and all(_TIME_START.match(time) for time in fields[1:3])


def _fields(line: str) -> tuple[str, str, str, str] | None:
    """Return video, start, end and sentence of a line, or None."""
    left, separator, sentence = line.partition("##")
    fields = left.rsplit(maxsplit=2)  # a video's name may contain spaces
    return (fields[0], fields[1], fields[2], sentence) if separator and len(fields) == 3 else None


def _read(path: Path, content: Content) -> Rows:
    for entry in read_lines(path, content):
        if isinstance(entry, Problem):
            yield entry
            continue
        line, text = entry
        fields = _fields(text)
        if fields is None:
            yield Problem(path, line, "not VIDEO START END##SENTENCE")
        else:
            video, start, end, sentence = fields
            yield Row(line, video, sentence, start, end)


CHARADES_STA = Format("Charades-STA txt", _recognise, _read, read_stream=_read)
