"""Tables with a header: csv, tsv, and semicolons."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data.formats import columns
from mttsg_core.errors import DataError
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
        (5, "start is not a time: 'nan'"),
        (6, "start is not a time: '1_0'"),
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


@pytest.mark.parametrize(
    "header",
    [
        "video,query,start,end",
        "vid,sentence,start_time,end_time",
        "video_id,caption,t_start,t_end",
        "video_name,text,begin,end",
        "filename,description,start_sec,end_sec",
        "file,text,from,to",
        "youtube id,Sentence,Start (s),End (s)",
        "VideoID,queryText,startTime,stopTime",
    ],
)
def test_usual_names_of_columns(tmp_path: Path, header: str) -> None:
    split = read_text(tmp_path, "train.csv", f"{header}\na,b,1.5,0:02.5\n")
    assert [content_of(pair) for pair in split.pairs] == [("a", "b", ((1.5, 2.5),), None)]
    assert not split.problems
    assert not split.notes


def test_columns_that_are_not_read_are_named_once(tmp_path: Path) -> None:
    split = read_text(tmp_path, "train.csv", "video,query,start,end,start_frame,note\na,b,1,2,30,x\na,c,1,2,30,y\n")
    assert split.notes == [f"{split.file}: not read: 'start_frame', 'note'"]
    assert len(split.pairs) == 2


def test_blank_cells_at_the_end_do_not_matter(tmp_path: Path) -> None:
    split = read_text(tmp_path, "train.csv", "video,query,start,end,\na,b,1,2,,, \na,c,1,2,,x\n")
    assert [pair.query for pair in split.pairs] == ["b"]
    assert reasons(split) == [(3, "6 cells, but the header has 5")]


def test_windows_in_a_cell(tmp_path: Path) -> None:
    text = 'vid,query,relevant_windows,duration_ms\na,b,"[[1, 2], [3, 4]]",9000\na,b,"[1, 2]",9000\na,b,1-2,9000\n'
    split = read_text(tmp_path, "train.csv", text)
    assert [content_of(pair) for pair in split.pairs] == [
        ("a", "b", ((1.0, 2.0), (3.0, 4.0)), 9.0),
        ("a", "b", ((1.0, 2.0),), 9.0),
    ]
    assert reasons(split) == [(4, "relevant_windows is not a list: '1-2'")]


@pytest.mark.parametrize("head", ["", "sep=;\n", '"sep=;"\n'])
def test_a_spreadsheet_with_decimal_commas(tmp_path: Path, head: str) -> None:
    text = "video;query;start;end;duration\na;b, c;29,2;34,125;1.038,5\na;b, c;29,2;34,125;38,72\na;d;29.2;34.4;\n"
    split = read_text(tmp_path, "train.csv", head + text)
    assert [content_of(pair) for pair in split.pairs] == [
        ("a", "b, c", ((29.2, 34.125),), 38.72),
        ("a", "d", ((29.2, 34.4),), None),
    ]
    line = 2 + bool(head)
    assert reasons(split) == [(line, "duration is not a time: '1.038,5'")]


def test_a_comma_that_may_group_thousands_is_not_read(tmp_path: Path) -> None:
    split = read_text(tmp_path, "train.tsv", "video\tquery\tstart\tend\na\tb\t1,234\t2,345\na\tb\t1,2\t2,3\n")
    assert [pair.moments for pair in split.pairs] == [((1.2, 2.3),)]
    assert reasons(split) == [(2, "start is not a time: '1,234'")]


def test_windows_1252(tmp_path: Path) -> None:
    text = "video,query,start,end\na,un café rouge – l’été,1,2\nb,plain,1,2\n"
    split = read_text(tmp_path, "train.csv", text.encode("cp1252"))
    assert [pair.query for pair in split.pairs] == ["un café rouge – l’été", "plain"]
    assert len(split.notes) == 1
    assert "Windows-1252" in split.notes[0]


@pytest.mark.parametrize(
    "content",
    [
        "a,окно открыто,1,2".encode("cp1251"),
        "a,他打开门,1,2".encode("gbk"),
        "a,łódź,1,2".encode("cp1250"),
        b"a," + "é".encode("cp1252") + ",1,2\na,é,1,2".encode(),  # the rest is UTF-8
    ],
)
def test_other_encodings_cost_only_their_own_rows(tmp_path: Path, content: bytes) -> None:
    split = read_text(tmp_path, "train.csv", b"video,query,start,end\nb,plain,1,2\n" + content)
    assert split.pairs[0].query == "plain"
    assert [(problem.line, "save the file as UTF-8" in problem.reason) for problem in split.problems] == [(3, True)]


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("0004,the square moves,29.2,34.4", "no column video and no column query"),
        ("id,sentence,start,end", "no column video"),
        ("video,start,end", "no column query"),
    ],
)
def test_a_header_that_is_not_understood_is_refused(tmp_path: Path, header: str, missing: str) -> None:
    with pytest.raises(DataError, match=rf"train\.csv:1: the header has {missing}"):
        read_text(tmp_path, "train.csv", f"{header}\n0004,the square moves,29.2,34.4\n")
