"""Moments as a table for people. Numbers are never shortened; sentences and names take the room that is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mttsg_cli.rows import MISSING, Line, NoAnswer, Row
from mttsg_cli.terminal import printable, table_console

_NUMBERS = ("rank", "start", "end", "score")
_BAR_WIDTH = 10  # characters
_BLOCK_LINES = 2000  # a table of more lines is written in parts


def write_table(lines: Iterable[Line], stream: IO[str]) -> None:
    """Write the moments of one video as a table, or those of several best first under each sentence.

    A table of very many lines is written in parts, each as wide as its own numbers need.
    """
    console = table_console(stream)
    for number, block in enumerate(_blocks(lines)):
        if not any(line.label if isinstance(line, Row) else line.of_several for line in block):
            _write_flat(block, console)
            continue
        if number:
            console.print()
        _write_by_sentence(block, console)


def write_hits(rows: Sequence[Row], stream: IO[str]) -> None:
    """Write answers to one sentence as a table, with a bar for each score."""
    console = table_console(stream)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
    table.add_column("", width=0)
    _add_numbers(table, rows)
    has_scores = any(row.score is not None for row in rows)
    if has_scores:
        table.add_column("", width=_BAR_WIDTH)
    table.add_column("video", overflow="fold")
    for row in rows:
        bar = [Bar(1.0, 0.0, row.score or 0.0, width=_BAR_WIDTH, color="green")] if has_scores else []
        table.add_row("", *_numbers(row), *bar, Text(printable(row.label or row.video)))
    console.print(table)


def _blocks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Yield the lines in parts. Lines of one sentence that follow each other stay together."""
    block: list[Line] = []
    for line in lines:
        if len(block) >= _BLOCK_LINES and line.query != block[-1].query:
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _write_flat(lines: Sequence[Line], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("query", overflow="fold")
    _add_numbers(table, [])
    for line in lines:
        if isinstance(line, Row):
            table.add_row(Text(printable(line.query)), *_numbers(line))
        elif isinstance(line, NoAnswer):
            table.add_row(Text(printable(f"{line.query}: not in {line.where}")), *[""] * len(_NUMBERS), style="dim")
    console.print(table)


def _write_by_sentence(lines: Sequence[Line], console: Console) -> None:
    by_sentence: dict[str, list[Line]] = {}
    for line in lines:
        by_sentence.setdefault(line.query, []).append(line)
    rows = [line for line in lines if isinstance(line, Row)]
    for index, (query, answers) in enumerate(by_sentence.items()):
        if index:
            console.print()
        console.print(Text(printable(query), style="bold"))
        found = [line for line in answers if isinstance(line, Row)]
        if found:
            table = Table(box=None, pad_edge=False, header_style="dim", show_header=index == 0, padding=(0, 1))
            table.add_column("", width=0)
            _add_numbers(table, rows)
            table.add_column("video", overflow="fold")
            for row in found:
                table.add_row("", *_numbers(row), Text(printable(row.label or row.video)))
            console.print(table)
        for line in answers:
            if not isinstance(line, Row):
                text = f"not in {line.where}" if isinstance(line, NoAnswer) else f"{line}: --all"
                console.print(Text(f"  {printable(text)}", style="dim"))


def _add_numbers(table: Table, rows: Sequence[Row]) -> None:
    """Add the columns of numbers, as wide as those of all rows, so that several tables are aligned."""
    cells = [_numbers(row) for row in rows]
    for index, name in enumerate(_NUMBERS):
        width = max([len(name), *(len(row[index]) for row in cells)])
        table.add_column(name, justify="right", no_wrap=True, min_width=width)


def _numbers(row: Row) -> list[str]:
    score = MISSING if row.score is None else f"{row.score:.2f}"
    return [str(row.rank), _clock(row.start), _clock(row.end), score]


def _clock(seconds: float) -> str:
    """Return a time as 1:02:03.456, or as 2:03.456 below an hour."""
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest / 1000:06.3f}"
