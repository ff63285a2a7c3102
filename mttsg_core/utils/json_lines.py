"""Reading and writing of text files with one row, often one JSON object, per line; bad lines become problems."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mttsg_core.errors import DataError
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.text import os_reason

MAX_LINE_BYTES = 1 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Problem:
    """A row, or a part of one, that cannot be used.

    Attributes:
        file: that contains the row.
        line: counted from 1. For JSON documents, `mttsg_core.data.formats` says what it counts.
        reason: why, in a few words.
        row_used: whether only a part is lost, such as one of several moments, and the rest of the row is used.
    """

    file: Path
    line: int
    reason: str
    row_used: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def read_bytes(path: Path, size: int = -1) -> bytes:
    """Read a file, or its first `size` bytes, without a UTF-8 byte order mark.

    Raises:
        DataError: if the file is missing, cannot be read, or is UTF-16.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(size)
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise DataError(f"{path}: {reason}") from error
    if content.startswith(_UTF16_MARKS):
        raise DataError(f"{path}: the text is UTF-16; save it as UTF-8")
    return content.removeprefix(_UTF8_MARK)


def read_lines(path: Path, content: bytes) -> Iterator[tuple[int, str] | Problem]:
    """Yield the lines that are not blank, numbered; a line that is too long or not UTF-8 becomes a problem.

    Args:
        path: of the file, for messages.
        content: of the file.
    """
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            yield Problem(path, number, f"the line is too long ({len(line)} bytes, at most {MAX_LINE_BYTES})")
            continue
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield Problem(path, number, f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")


def read_json_lines(path: Path, content: bytes) -> Iterator[tuple[int, dict[str, object]] | Problem]:
    """Yield the JSON object of each line, numbered; any other line becomes a problem.

    Args:
        path: of the file, for messages.
        content: of the file.
    """
    for entry in read_lines(path, content):
        if isinstance(entry, Problem):
            yield entry
            continue
        number, line = entry
        value, fault = parse_json(line)
        if fault is None and not isinstance(value, dict):
            fault = "not a JSON object"
        yield Problem(path, number, fault) if fault is not None else (number, dict(value))  # type: ignore[call-overload]


def write_json_lines(path: Path, records: Iterable[object]) -> None:
    """Write one JSON value per line, all of them or none.

    Raises:
        DataError: if the file cannot be written.
    """
    text = "".join(to_json(record) + "\n" for record in records)
    try:
        write_atomically(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))
    except OSError as error:
        raise DataError(f"{path}: {os_reason(error)}") from error


def parse_json(text: str) -> tuple[object, str | None]:
    """Return the value and None, or None and the reason why the text is not JSON.

    >>> parse_json('{"start": 1.5}')
    ({'start': 1.5}, None)
    >>> parse_json('{"start": ')
    (None, 'invalid JSON: Expecting value at column 11')
    """
    try:
        return json.loads(text), None
    except json.JSONDecodeError as error:
        return None, f"invalid JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return None, "invalid JSON: nested too deeply"
    except ValueError as error:  # an integer of thousands of digits
        return None, f"invalid JSON: {error}"


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON, with non-ASCII characters as they are unless UTF-8 cannot encode them.

    A file name in another encoding is such a text; its bytes are escaped.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if is_unicode(text) else json.dumps(value, indent=indent)


def is_unicode(text: str) -> bool:
    r"""Tell whether UTF-8 can encode a text. It cannot encode surrogates, as in a file name in another encoding.

    >>> is_unicode("Tür"), is_unicode("T\udcfcr")
    (True, False)
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
