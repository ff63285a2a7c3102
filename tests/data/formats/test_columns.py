"""Tables with a header: csv, tsv, and semicolons."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data.formats import columns
from tests.data.reading import content_of, read_text, reasons


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_columns(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["Query", "video", "start", "end", "duration", "note"],
        ['"a, b; c"', "v", "1", "2.5", "", ""],
        ['"says ""hi""\nand leaves"', "v", "", "", "", ""],
        ["runs", "v", "nan", "2", "", ""],
        ["runs", "v", "1_0", "2", "", ""],
        ["short", "v"],
        ['"never closed', "v", "1", "2", "", ""],
        ["last", "v", "1", "2", "9", ""],
    ]
    split = read_text(tmp_path, "pairs.csv", "\ufeff" + "\n".join(delimiter.join(row) for row in rows))
    assert [content_of(pair) for pair in split.pairs] == [
        ("v", "a, b; c", ((1.0, 2.5),), None),
        ("v", 'says "hi"\nand leaves', (), None),
        ("v", "last", ((1.0, 2.0),), 9.0),
    ]
    assert reasons(split) == [
        (5, "start is not a number: 'nan'"),
        (6, "start is not a number: '1_0'"),
        (7, "2 cells, but the header has 6"),
        (8, "a quote is never closed"),
    ]


def test_a_stray_quote_costs_a_bounded_amount_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0
    quote_is_open = columns._quote_is_open

    def count_characters(text: str, delimiter: str) -> bool:
        nonlocal parsed
        parsed += len(text)
        return quote_is_open(text, delimiter)

    monkeypatch.setattr(columns, "_quote_is_open", count_characters)
    work = []
    for rows in (200, 400, 800):
        parsed = 0
        split = read_text(tmp_path, "a.csv", 'video,query\na,"never closed\n' + "video,sentence\n" * rows)
        assert reasons(split) == [(2, "a quote is never closed")]
        assert len(split.pairs) == rows
        work.append(parsed)
    assert work[2] - work[1] == 2 * (work[1] - work[0])
