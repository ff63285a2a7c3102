"""Reading and writing of text files with one row, often one JSON object, per line; bad lines become problems."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mttsg_core.errors import DataError
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.text import os_reason

MAX_LINE_BYTES = 1 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BLOCK_BYTES = 1 << 18
_MAX_BYTES_WITHOUT_END = 64 << 20


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


class LineStream:
    """The lines of a file of any size, of which a little is in memory at a time. It can be read once.

    Attributes:
        path: of the file, for messages.
        head: the first bytes of the file.
        rest: what follows them.
        encoding: of the file; lines in another encoding than UTF-8 are converted.
    """

    def __init__(self, path: Path, head: bytes, rest: BinaryIO, encoding: str = "utf-8") -> None:
        self.path = path
        self.head = head
        self.rest = rest
        self.encoding = encoding

    def __iter__(self) -> Iterator[bytes]:
        """Yield each line without its end; of a line that is too long, only what shows that it is.

        Raises:
            DataError: if what follows cannot be read, or has no line end for so long that it is not text.
        """
        for line in self._lines():
            yield line if self.encoding == "utf-8" else line.decode(self.encoding, "replace").encode()

    def _lines(self) -> Iterator[bytes]:
        pending, block, length = b"", self.head, 0
        while block:
            length = 0 if b"\n" in block or b"\r" in block else length + len(block)
            if length > _MAX_BYTES_WITHOUT_END:
                raise DataError(f"{self.path}: {length >> 20} MB without a line end, so this is not a text file")
            *lines, pending = (pending + block).splitlines(keepends=True)
            yield from (line.rstrip(b"\r\n") for line in lines)
            if pending.endswith(b"\n"):  # after a \r, the \n may follow
                yield pending.rstrip(b"\r\n")
                pending = b""
            elif len(pending) > MAX_LINE_BYTES and not pending.endswith(b"\r"):
                pending = pending[: MAX_LINE_BYTES + 1]
            try:
                block = self.rest.read(_BLOCK_BYTES)
            except OSError as error:
                raise DataError(f"{self.path}: {os_reason(error)}") from error
        if pending:
            yield pending.rstrip(b"\r\n")


Content = bytes | LineStream


def head_of(content: Content) -> bytes:
    """Return the first lines of a file, or all of it."""
    if isinstance(content, bytes):
        return content
    return content.head[: content.head.rfind(b"\n") + 1] or content.head


def refuse_utf16(path: Path, head: bytes) -> None:
    """Raise DataError if a file is UTF-16 by its first bytes."""
    if head.startswith(_UTF16_MARKS):
        raise DataError(f"{path}: the text is UTF-16; save it as UTF-8")


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read in the `with` block.

    Raises:
        DataError: if the file is missing or cannot be read.
    """
    try:
        stream = path.open("rb")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {os_reason(error) if isinstance(error, OSError) else error}") from error
    with stream:
        yield stream


def read_bytes(path: Path, size: int = -1) -> bytes:
    """Read a file, or its first `size` bytes, without a UTF-8 byte order mark.

    Raises:
        DataError: if the file is missing, cannot be read, or is UTF-16.
    """
    with open_bytes(path) as stream:
        try:
            content = stream.read(size)
        except OSError as error:
            raise DataError(f"{path}: {os_reason(error)}") from error
    refuse_utf16(path, content)
    return content.removeprefix(_UTF8_MARK)


def read_lines(path: Path, content: Content) -> Iterator[tuple[int, str] | Problem]:
    """Yield the lines that are not blank, numbered; a line that is too long or not UTF-8 becomes a problem.

    Args:
        path: of the file, for messages.
        content: of the file.
    """
    lines = content.splitlines() if isinstance(content, bytes) else content
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            yield Problem(path, number, f"the line is too long (more than {MAX_LINE_BYTES:,} bytes)")
            continue
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield Problem(path, number, f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")


def read_json_lines(path: Path, content: Content) -> Iterator[tuple[int, dict[str, object]] | Problem]:
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
