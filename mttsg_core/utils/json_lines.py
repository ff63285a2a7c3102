"""Lines and JSON objects of text files that may be broken in any way: what cannot be read becomes a problem."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mttsg_core.errors import DataError
from mttsg_core.utils.atomic import write_atomically

MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used, and why. `line` is 1-based; `mttsg_core.data.formats` says what it counts."""

    file: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def read_bytes(path: Path, size: int = -1) -> bytes:
    """The file's bytes without a UTF-8 byte order mark.

    Raises:
        DataError: if the file is missing, cannot be read, or is in UTF-16.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(size)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path}: {reason}") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: the text is in UTF-16; save it as UTF-8")
    return content.removeprefix(b"\xef\xbb\xbf")


def read_lines(path: Path, content: bytes) -> Iterator[tuple[int, str] | Problem]:
    """Numbered lines that are not blank; a line that is too long or not UTF-8 becomes a problem."""
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            yield Problem(path, number, f"the line is too long ({len(line)} bytes, at most {MAX_LINE_BYTES})")
            continue
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield Problem(path, number, f"not UTF-8 at byte {error.start + 1} of the line")


def read_json_lines(path: Path, content: bytes) -> Iterator[tuple[int, dict[str, object]] | Problem]:
    """Numbered JSON objects, one a line; anything else becomes a problem."""
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
    """Write one JSON value a line, all of them or none.

    Raises:
        DataError: if the file cannot be written.
    """
    text = "".join(to_json(record) + "\n" for record in records)
    try:
        write_atomically(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def parse_json(text: str) -> tuple[object, str | None]:
    """The value and no fault, or None and the fault."""
    try:
        return json.loads(text), None
    except json.JSONDecodeError as error:
        return None, f"broken json: {error.msg} at column {error.colno}"
    except RecursionError:
        return None, "broken json: nested too deeply"
    except ValueError as error:  # an integer of thousands of digits
        return None, f"broken json: {error}"


def to_json(value: object, indent: int | None = None) -> str:
    """JSON as it is read best; escapes where a file name is no Unicode, since JSON is UTF-8."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if is_unicode(text) else json.dumps(value, indent=indent)


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it: a file name in another encoding has surrogates in it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
