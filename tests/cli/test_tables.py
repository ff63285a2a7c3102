"""Tables: on a terminal of 80 columns no number is shortened, and in a pipe nothing is."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from mttsg_cli import moment_table, tables
from mttsg_cli.rows import Line, NoAnswer, Row
from mttsg_core.inference.ranking import LeftOut
from tests.conftest import Mttsg, read_terminal, start_mttsg
from tests.helpers.tiny import write_rows

LONG = "a very long sentence about everything that happens in this video " * 3


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed on a terminal of 80 columns."""
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    for module in (tables, moment_table):
        monkeypatch.setattr(module, "table_console", lambda stream=None: console)
    return stream


def lines(stream: io.StringIO) -> list[str]:
    found = stream.getvalue().splitlines()
    assert all(len(line.rstrip()) <= 80 for line in found)
    assert "…" not in stream.getvalue()
    return found


class TestMoments:
    """Of one video and of several."""

    def test_labels_make_room_for_numbers(self, terminal: io.StringIO) -> None:
        rows = [Row("v.mp4", query, rank, 35999.9, 36000.0, 1.0) for query in (LONG, "x") for rank in (1, 1000)]
        moment_table.write_table([*rows, NoAnswer("a dog", "v.mp4")], io.StringIO())
        text = "\n".join(lines(terminal))
        assert text.count(" 9:59:59.900  10:00:00.000   1.00") == 4
        assert "a dog: not in v.mp4" in text

    def test_names_of_several_videos_are_folded_last(self, terminal: io.StringIO) -> None:
        name = "2019 Holiday/" + "x" * 70 + ".mp4"
        rows = [Row(name, LONG, 1, 1.0, 35999.9, 0.91, name), Row("b.mp4", LONG, 2, 2.0, 3.0, 0.4, "b.mp4")]
        others: list[Line] = [LeftOut(LONG, 35, 35, False, 0.3), Row("b.mp4", "two", 10, 2.0, 3.0, 0.4, "b.mp4")]
        moment_table.write_table([*rows, *others, NoAnswer("three", "any video", True)], io.StringIO())
        found = lines(terminal)
        text = terminal.getvalue()
        assert re.search(r"1 +0:01\.000 +9:59:59\.900 +0\.91  2019 *\n", text)
        assert "  35 more below 0.3: --all\n" in text
        assert text.endswith("three\n  not in any video\n")
        assert text.count("rank") == 1
        columns = [line.index("0:02.000") for line in found if "0:02.000" in line]
        assert len(columns) == 2 and len(set(columns)) == 1  # the tables of two sentences are aligned

    def test_in_a_pipe_nothing_is_folded(self) -> None:
        stream = io.StringIO()
        name = "x" * 300
        moment_table.write_table([Row(name, LONG, 1, 1.0, 2.0, 0.91, name)], stream)
        assert stream.getvalue().splitlines()[0] == LONG
        assert name in stream.getvalue()
        stream = io.StringIO()
        moment_table.write_table([Row(name, LONG, 1, 1.0, 2.0, 0.91)], stream)
        assert LONG in stream.getvalue()

    @pytest.mark.parametrize(
        ("left_out", "text"),
        [
            (LeftOut("q", 35, 35, False, 0.3), "35 more below 0.3"),
            (LeftOut("q", 35, 30, False, 0.3), "35 more, 30 of them below 0.3"),
            (LeftOut("q", 3, 0, False, 0.3), "3 more"),
            (LeftOut("q", 39, 39, True, 0.3), "all below 0.3; 39 more"),
            (LeftOut("q", 4, 0, False, None), "4 more"),
        ],
    )
    def test_what_is_left_out_is_counted(self, left_out: LeftOut, text: str) -> None:
        assert str(left_out) == text


class TestColumns:
    """The table of `check`."""

    def test_many_splits_come_below_each_other(self, terminal: io.StringIO) -> None:
        names = [f"split number {index} with a long name" for index in range(9)]
        tables.print_columns("data", names, [("rows", ["1,234,567"] * 9), ("bad rows", ["100.0"] * 9)])
        found = lines(terminal)
        assert sum(line.count("1,234,567") for line in found) == 9
        assert len([line for line in found if line.startswith(" rows")]) > 1

    def test_in_a_pipe_all_are_in_one_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        tables.print_columns("data", [f"s{index}" for index in range(40)], [("rows", ["1,234,567"] * 40)])
        assert len([line for line in capsys.readouterr().out.splitlines() if "rows" in line]) == 1


def test_a_narrow_terminal_still_shows_whole_numbers() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=30, force_terminal=True, color_system=None)
    table_of = tables._empty_table
    made = table_of(console)
    made.add_column("R@1", justify="right", no_wrap=True)
    made.add_row("a long label for a narrow terminal", "100.0")
    console.print(made)
    assert "100.0" in stream.getvalue()
    assert SimpleNamespace(width=tables._width(made, console)).width <= 30


@pytest.fixture
def scored(corpus: Path, tmp_path: Path) -> list[str | Path]:
    """Arguments of an evaluation whose figures are all 100.0."""
    rows = [json.loads(line) for line in (corpus / "test.jsonl").read_text().splitlines()]
    predictions = [
        {"video": row["video"], "query": row["query"], "moments": [[row["start"], row["end"], 1.0]]} for row in rows
    ]
    write_rows(tmp_path / "a file of predictions with quite a long name.jsonl", predictions)
    return [
        "evaluate",
        corpus,
        "--predictions",
        next(tmp_path.glob("*.jsonl")),
        "--breakdown",
        "--baselines",
        "--at",
        "1,5,10",
    ]


@pytest.mark.subprocess
def test_figures_of_an_evaluation_on_a_terminal_of_80_columns(scored: list[str | Path]) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}
    process = start_mttsg(*scored, stdout=theirs, env=environment)
    os.close(theirs)
    printed = re.sub(r"\x1b\[[\d;]*m", "", read_terminal(ours).decode()).replace("\r", "")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "…" not in printed
    assert "100.0" in printed and "by moment position" in printed
    assert all(len(line.rstrip()) <= 80 for line in printed.splitlines() if "100.0" in line)


def test_figures_of_an_evaluation_in_a_pipe(mttsg: Mttsg, scored: list[str | Path]) -> None:
    ran = mttsg(*scored)
    assert ran.code == 0, ran.err
    assert "…" not in ran.out
    headings = [line for line in ran.out.splitlines() if "queries" in line and "R@1" in line]
    assert len(headings) == 1 and headings[0].count("R@") == 9
