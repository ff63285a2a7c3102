"""What `mttsg ground` writes, read back by other code than that which wrote it."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import srt
import webvtt

from mttsg_cli.rows import NoAnswer, Row
from mttsg_cli.writers import FORMATS, write_rows
from tests.cli.test_ground import COLUMNS, QUERY, check, tsv
from tests.conftest import Mttsg


class TestFormats:
    """Each is read back by other code than that which wrote it."""

    QUERIES = (QUERY, 'a "quoted", one\twith tab', "die Tür 开 <b> & --> x")

    def test_tsv_into_a_pipe_is_the_default(self, ground: Mttsg, clip: Path) -> None:
        ran = ground(clip, *self.QUERIES, "--top", "2")
        assert ran.code == 0
        rows = tsv(ran.out)
        check(rows, clip)  # type: ignore[arg-type]
        assert [row["query"] for row in rows if row["rank"] == "1"] == list(self.QUERIES)
        assert all(re.fullmatch(r"\d+\.\d{3}", row[name]) for row in rows for name in ("start", "end", "score"))
        for query in self.QUERIES:
            ranks = [int(row["rank"]) for row in rows if row["query"] == query]
            assert ranks == list(range(1, len(ranks) + 1))
            assert len(ranks) <= 2

    def test_all_formats_say_the_same(self, ground: Mttsg, clip: Path) -> None:
        def printed(form: str) -> str:
            ran = ground(clip, *self.QUERIES, "-k", "3", "--format", form)
            assert ran.code == 0
            return str(ran.out)

        rows = json.loads(printed("json"))
        check(rows, clip)
        assert len(rows) >= 3
        assert [json.loads(line) for line in printed("jsonl").splitlines()] == rows
        for form, delimiter in (("csv", ","), ("tsv", "\t")):
            table = list(csv.reader(io.StringIO(printed(form), newline=""), delimiter=delimiter))
            assert table[0] == COLUMNS
            for line, row in zip(table[1:], rows, strict=True):
                assert line[:3] == [row["video"], row["query"], str(row["rank"])]
                assert [float(value) for value in line[3:]] == [row["start"], row["end"], row["score"]]
        times = sorted((row["start"], row["end"]) for row in rows)
        for form, comma in (("srt", ","), ("vtt", ".")):
            assert sorted(_cues(printed(form), comma)) == times

    def test_an_unknown_format_names_the_nearest(self, ground: Mttsg, clip: Path) -> None:
        ran = ground(clip, QUERY, "--format", "jsn")
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert "'json'" in ran.errors[0]


def _cues(text: str, comma: str) -> list[tuple[float, float]]:
    """Start and end of each cue of a subtitle file, as the libraries of players read them."""
    if comma == ".":
        cues = webvtt.from_string(text).captions
        assert text.count("-->") == len(cues)
        assert all(len(cue.lines) == 1 and cue.text.strip() for cue in cues)
        return [(_seconds(cue.start), _seconds(cue.end)) for cue in cues]
    found = list(srt.parse(text))  # strict: anything between cues is an error
    assert [cue.index for cue in found] == list(range(1, len(found) + 1))
    assert all(cue.content.strip() and "\n" not in cue.content for cue in found)
    return [(cue.start.total_seconds(), cue.end.total_seconds()) for cue in found]


def _seconds(stamp: str) -> float:
    clock = datetime.time.fromisoformat(stamp)
    return round(clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6, 3)


class TestWriter:
    """Rows to text, without a model."""

    ROWS = (
        Row("v.mp4", "late & <i>", 1, 3723.0004, 35999.9996, 0.12345),
        Row("v.mp4", "two\nlines --> here", 2, 0.0, 0.05, 1.0),
    )

    def write(self, form: str, *rows: Row) -> str:
        stream = io.StringIO()
        write_rows(iter(rows), form, stream)
        return stream.getvalue()

    def test_three_decimals(self) -> None:
        [first, _] = json.loads(self.write("json", *self.ROWS))
        assert (first["start"], first["end"], first["score"]) == (3723.0, 36000.0, 0.123)
        assert "3723.000,36000.000,0.123" in self.write("csv", *self.ROWS)

    def test_subtitles_are_in_order_of_time(self) -> None:
        assert _cues(self.write("srt", *self.ROWS), ",") == [(0.0, 0.05), (3723.0, 36000.0)]
        text = self.write("vtt", *self.ROWS)
        assert _cues(text, ".") == [(0.0, 0.05), (3723.0, 36000.0)]
        assert "late &amp; &lt;i>" in text
        assert "01:02:03.000 --> 10:00:00.000" in text

    def test_subtitles_of_several_videos_say_which(self) -> None:
        rows = [
            Row("x/a b.mp4", "a dog", 1, 5.0, 6.0, 0.5, "a b.mp4"),
            Row("x/d/<c>.mp4", "a dog\nruns", 1, 2.0, 3.0, 0.9, "d/<c>.mp4"),
        ]
        cues = list(srt.parse(self.write("srt", *rows)))
        assert [(cue.start.total_seconds(), cue.content) for cue in cues] == [
            (2.0, "d/<c>.mp4: a dog runs"),
            (5.0, "a b.mp4: a dog"),
        ]
        spoken = webvtt.from_string(self.write("vtt", *rows)).captions
        assert [(cue.start, cue.raw_text) for cue in spoken] == [
            ("00:00:02.000", "d/&lt;c>.mp4: a dog runs"),
            ("00:00:05.000", "a b.mp4: a dog"),
        ]

    def test_a_label_is_no_column(self) -> None:
        for form in ("json", "jsonl", "csv", "tsv"):
            assert self.write(form, replace(self.ROWS[0], label="l")) == self.write(form, self.ROWS[0])

    def test_only_a_table_shows_what_is_absent(self) -> None:
        stream = io.StringIO()
        write_rows([*self.ROWS, NoAnswer("a dog", "v.mp4")], "table", stream)
        assert "a dog: not in v.mp4" in stream.getvalue()
        for form in set(FORMATS) - {"table"}:
            stream = io.StringIO()
            write_rows([*self.ROWS, NoAnswer("a dog", "any video")], form, stream)
            assert stream.getvalue() == self.write(form, *self.ROWS)

    def test_a_table_has_the_answers(self) -> None:
        text = self.write("table", *self.ROWS)
        assert "1:02:03.000" in text
        assert "two\\nlines" in text

    @pytest.mark.parametrize("form", list(FORMATS))
    def test_no_answer_is_a_valid_file(self, form: str) -> None:
        text = self.write(form)
        if form == "json":
            assert json.loads(text) == []
        elif form in ("csv", "tsv"):
            assert len(text.splitlines()) == 1
        elif form in ("jsonl", "srt"):
            assert text == ""

    @pytest.mark.parametrize("form", ["json", "jsonl"])
    def test_json_is_utf8_even_for_names_that_are_not(self, form: str) -> None:
        text = self.write(form, Row("\udcff.mp4", "x", 1, 0, 1, 1), Row("é.mp4", "x", 1, 0, 1, 1))
        text.encode("utf-8")
        rows = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
        assert [row["video"] for row in rows] == ["\udcff.mp4", "é.mp4"]
