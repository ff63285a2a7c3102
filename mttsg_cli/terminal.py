"""What may reach a terminal: no control characters of file names and sentences, which could steer it."""

from __future__ import annotations

import io
import sys
from typing import IO, cast

from rich.console import Console

_UNLIMITED = 1_000_000  # characters of a line of a table in a pipe or a file
_LAYOUT = "\n\t"  # what the formats themselves write


def printable(text: str, keep: str = "") -> str:
    r"""Return text with control characters and undecodable bytes as escapes, except those to keep.

    >>> printable("a\x1b[31m\udcff.mp4\n"), printable("a\n", keep="\n")
    ('a\\x1b[31m\\udcff.mp4\\n', 'a\n')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def for_terminal(stream: IO[str]) -> IO[str]:
    """Return a stream that writes to the given one: if that is a terminal, printable text only."""
    return cast("IO[str]", _PrintableStream(stream)) if stream.isatty() else stream


def table_console(stream: IO[str] | None = None) -> Console:
    """Return a console for tables on a stream, or on standard output: as wide as a terminal is, else without limit."""
    console = Console(file=stream)
    if not (stream or sys.stdout).isatty():
        console.width = _UNLIMITED
    return console


class _PrintableStream(io.TextIOBase):
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        self._stream.write(printable(text, keep=_LAYOUT))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
