"""Charades-STA's text files: `VIDEO START END##SENTENCE`, one per line.

They do not say how long a video is: `mttsg_core.data.duration_files` looks for that beside them.
"""

from __future__ import annotations

import re
from pathlib import Path

from mttsg_core.data.formats.base import HEAD_LINES, Format, Row, Rows, number_or_text
from mttsg_core.utils.json_lines import Problem, read_lines

_LINE = re.compile(r"\s*\S+\s+\S+\s+\S+\s*##")


def _recognise(head: str) -> bool:
    lines = [line for line in head.splitlines() if line.strip()][:HEAD_LINES]
    return any(_LINE.match(line) for line in lines) and not lines[0].lstrip().startswith(("{", "["))


def _read(path: Path, content: bytes) -> Rows:
    for entry in read_lines(path, content):
        if isinstance(entry, Problem):
            yield entry
            continue
        line, text = entry
        left, separator, sentence = text.partition("##")
        fields = left.split()
        if not separator or len(fields) != 3:
            yield Problem(path, line, "not VIDEO START END##SENTENCE")
        else:
            video, start, end = fields
            yield Row(line, video, sentence, number_or_text(start), number_or_text(end))


CHARADES_STA = Format("Charades-STA txt", _recognise, _read)
