"""Annotation formats as they are published. A file's format is recognised by its content, not by its name.

| module | formats |
| --- | --- |
| `json_lines` | the project's own rows and those of QVHighlights: one object per line, or a list |
| `video_records` | UniTime, CASTELLA, TimeLens-100K: objects of videos with lists of sentences |
| `video_documents` | ActivityNet Captions, TACoS, TimeLens-Bench: sentences by video |
| `databases` | ActionFormer, SnAG: all splits in one file |
| `tuple_lists` | 2D-TAN: a list of lists |
| `columns` | csv and tsv with a header |
| `charades_txt` | Charades-STA |

To add a format:

1. Write a module here that defines a `Format`, as `tuple_lists` does in forty lines. `recognise` gets the first
   `HEAD_BYTES` of a file, decoded. `read` yields a `Row` for each annotated sentence, with whatever the file gives for
   each field, a `Problem` for each entry that is not a sentence at all, and a `Note` about the file where one is due.
   It does not check values: `mttsg_core.data.pairs.check_row` does that for all formats.
2. Add the `Format` to `FORMATS`, before any format that would recognise its files too.
3. Test it in `tests/data/formats/`, and list it above and in `docs/data-formats.md`.

Everything that reads annotations goes through `read_rows` or `rows_of`; no other module depends on a particular format.
`fields` lists the names that columns and keys may have, and `mttsg_core.data.times` the forms of times.

The line of a row is its line in the file (counted from 1) if each row has a line of its own. In a JSON document, and
where a line holds several sentences, it is the number of the row, in the order of the file.
"""

from __future__ import annotations

from pathlib import Path

from mttsg_core.data.formats import (
    charades_txt,
    columns,
    databases,
    json_lines,
    tuple_lists,
    video_documents,
    video_records,
)
from mttsg_core.data.formats.base import Format, Note, Row, Rows
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import Content, head_of, read_bytes

__all__ = [
    "FORMATS",
    "HEAD_BYTES",
    "SUFFIXES",
    "Format",
    "Note",
    "Row",
    "Rows",
    "format_of_suffix",
    "has_subsets",
    "read_rows",
    "recognise",
    "recognise_content",
    "rows_of",
]

HEAD_BYTES = 1 << 16
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")  # of annotation files in a data folder

FORMATS: tuple[Format, ...] = (
    video_records.RECORDS,
    json_lines.ROWS,
    json_lines.LIST,
    video_documents.BY_VIDEO,
    databases.DATABASE,
    tuple_lists.TUPLES,
    columns.CSV_OR_TSV,
    charades_txt.CHARADES_STA,
)


def recognise(path: Path) -> Format | None:
    """Return the format of a file by its content, or None.

    Raises:
        DataError: if the file cannot be read.
    """
    return recognise_content(read_bytes(path, HEAD_BYTES))


def recognise_content(content: bytes) -> Format | None:
    """Return the format of the content of a file, or None."""
    head = _head(content)
    return next((candidate for candidate in FORMATS if candidate.recognise(head)), None)


def format_of_suffix(path: Path) -> Format | None:
    """Return the format that a file's suffix alone implies, or None.

    >>> format_of_suffix(Path("train.TSV")).name
    'csv or tsv'
    """
    return next((candidate for candidate in FORMATS if path.suffix.lower() in candidate.suffixes), None)


def read_rows(path: Path) -> Rows:
    """Read all rows of an annotation file of any known format.

    Raises:
        DataError: if the file cannot be read, or its format is not known.
    """
    return rows_of(path, read_bytes(path))


def rows_of(path: Path, content: Content) -> Rows:
    """Read all rows of the content of an annotation file.

    Args:
        path: of the file, for messages, and for its suffix if the content is not recognised.
        content: of the file, without a byte order mark.

    Raises:
        DataError: if its format is not known, or is not one that can be read as a stream.
    """
    detected = recognise_content(head_of(content)) or format_of_suffix(path)
    if detected is None:
        names = ", ".join(candidate.name for candidate in FORMATS)
        raise DataError(f"{path}: not an annotation file of a known format ({names})")
    if isinstance(content, bytes):
        return detected.read(path, content)
    if detected.read_stream is None:
        raise DataError(f"{path}: {detected.name} cannot be read as a stream")
    return detected.read_stream(path, content)


def has_subsets(path: Path) -> bool:
    """Tell whether a file may hold several splits, so that its rows say which.

    Raises:
        DataError: if the file cannot be read.
    """
    head = read_bytes(path, HEAD_BYTES)
    detected = recognise_content(head)
    return detected is not None and detected.has_subsets(_head(head))


def _head(content: bytes) -> str:
    return content[:HEAD_BYTES].decode("utf-8", errors="replace")
