"""JSON lists of lists, `[video, duration, [start, end], sentence]`, as 2D-TAN, VSLNet and others publish them.

Later members of a list, such as the glance of weakly supervised methods, are not read.
"""

from __future__ import annotations

import re
from pathlib import Path

from mttsg_core.data.formats.base import Format, Row, Rows
from mttsg_core.data.formats.documents import parse_document
from mttsg_core.utils.json_lines import Problem

_MEMBERS = 4
_START = re.compile(r'\s*\[\s*\[\s*"(?:[^"\\]|\\.)*"\s*,\s*(?:null|"?[-+.\d:eE]+"?)\s*,\s*\[')


def _recognise(head: str) -> bool:
    return _START.match(head) is not None


def _read(path: Path, content: bytes) -> Rows:
    document = parse_document(path, content)
    for line, value in enumerate(document if isinstance(document, list) else (), start=1):
        if not isinstance(value, list) or len(value) < _MEMBERS:
            yield Problem(path, line, "not [VIDEO, DURATION, [START, END], SENTENCE]")
            continue
        video, duration, span, sentence = value[:_MEMBERS]
        yield Row(line, video, sentence, moments=span, duration=duration)


TUPLES = Format("2D-TAN json", _recognise, _read)
