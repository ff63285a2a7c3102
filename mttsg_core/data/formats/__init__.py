"""Annotation formats as they are published. A file's format is recognised by its content, not by its name.

| module | formats |
| --- | --- |
| `json_lines` | the project's own jsonl; QVHighlights |
| `json_documents` | ActivityNet Captions and TACoS (sentences by video); a list of rows |
| `columns` | csv and tsv with a header |
| `charades_txt` | Charades-STA |

To add a format:

1. Write a module here that defines a `Format`, as `charades_txt` does in forty lines. `recognise` gets the first
   `HEAD_BYTES` of a file, decoded. `read` yields a `Row` for each annotated sentence, with whatever the file gives for
   each field, and a `Problem` for each entry that is not a sentence at all. It does not check values:
   `mttsg_core.data.pairs.check_row` does that for all formats.
2. Add the `Format` to `FORMATS`, before any format that would recognise its files too.
3. Test it in `tests/data/formats/`, and list it above and in `docs/data-formats.md`.

Everything that reads annotations goes through `read_rows`; no other module depends on a particular format.

The line of a row is its line in the file (counted from 1) if each row has a line of its own. In a JSON document it is
the number of the row, in the order of the file.
"""

from __future__ import annotations

from pathlib import Path

from mttsg_core.data.formats import charades_txt, columns, json_documents, json_lines
from mttsg_core.data.formats.base import Format, Row, Rows
from mttsg_core.errors import DataError
from mttsg_core.utils.json_lines import read_bytes

__all__ = ["FORMATS", "HEAD_BYTES", "SUFFIXES", "Format", "Row", "Rows", "format_of_suffix", "read_rows", "recognise"]

HEAD_BYTES = 1 << 16
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")  # of annotation files in a data folder

FORMATS: tuple[Format, ...] = (
    json_lines.OWN,
    json_lines.QVHIGHLIGHTS,
    json_documents.BY_VIDEO,
    json_documents.LIST,
    columns.CSV_OR_TSV,
    charades_txt.CHARADES_STA,
)


def recognise(path: Path) -> Format | None:
    """Return the format of a file by its content, or None.

    Raises:
        DataError: if the file cannot be read.
    """
    head = read_bytes(path, HEAD_BYTES).decode("utf-8", errors="replace")
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
    detected = recognise(path) or format_of_suffix(path)
    if detected is None:
        names = ", ".join(candidate.name for candidate in FORMATS)
        raise DataError(f"{path}: not an annotation file of a known format ({names})")
    return detected.read(path, read_bytes(path))
