"""Reports as tables for a terminal of 80 columns: columns that do not fit come below, and no number is shortened."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mttsg_cli.rows import MISSING
from mttsg_cli.terminal import printable, table_console
from mttsg_core.evaluation.metric_names import convention_sentences, heading_lines, metric_kinds
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.evaluation.evaluation_report import EvaluationReport

__all__ = ["MISSING", "print_columns", "print_lines", "print_report"]
_LABEL_WIDTH, _MIN_LABEL_WIDTH = 32, 8  # characters of a label on a terminal, which is folded beyond them
_NUMBERS_WIDTH = 30  # characters of a terminal that are kept free for numbers
_HEADING_WIDTH = 12
_WIDE = 200  # characters from which on labels are not folded

Intervals = Mapping[str, tuple[float, float]]


def print_report(report: EvaluationReport, *, breakdown: bool = False) -> None:
    """Print the figures of a split: a row for each evaluation, and half the 95 % intervals below it."""
    console = output_console()
    main = report.main
    names = list(main.metrics)
    sign = ">" if main.metric_config.strict else "≥"
    rows = [
        (f"{other.name}, {other.mode}" if other is main and other.mode == "joint" else other.name, other)
        for other in report.evaluations
    ]
    queries, videos = count(len(main.predictions), "query", "queries"), count(main.videos, "video")
    console.print(Text(f"{printable(main.split)}: {queries} of {videos}, {main.missed} without answer"))
    for kind in metric_kinds(names).values():

        def table_of(part: Sequence[str]) -> Table:
            table = metric_table(part, sign, console)
            for label, other in rows:
                table.add_row(Text(printable(label)), *_cells(part, other.metrics, other.intervals))
            return table

        print_parts(kind, table_of, console)
    if breakdown:
        _print_breakdown(report, console)
    if not main.is_scored:
        console.print(Text("No row has a true moment: there is nothing to score."))
        return
    notes = [
        *convention_sentences(report.conventions, names),
        "± is half a 95 % interval (bootstrap over videos).",
        report.baseline_note,
    ]
    console.print(Text(printable(" ".join(notes).rstrip()), style="dim"))


def _print_breakdown(report: EvaluationReport, console: Console) -> None:
    """Print the figures of the main evaluation for groups of queries."""
    groups = report.breakdown
    names = metric_kinds(report.main.metrics).get("Recall", [])
    sign = ">" if report.main.metric_config.strict else "≥"

    def table_of(part: Sequence[str]) -> Table:
        table = metric_table(["queries", *part], sign, console)
        kind = ""
        for group in groups:
            if group.kind != kind:
                kind = group.kind
                table.add_row(Text(f"by {kind}", style="bold"))
            cells = _cells(part, group.metrics, group.intervals, below=False)
            table.add_row(Text(f"  {printable(group.name)}"), str(group.queries), *cells)
        return table

    print_parts(names, table_of, console)


def print_columns(
    title: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], *, left: Sequence[str] = ()
) -> None:
    """Print a table of text with a label for each row, and without a title if that is empty.

    Args:
        title: above the table.
        columns: their headings.
        rows: of each its label and its cells.
        left: the columns that are aligned to the left.
    """
    console = output_console()
    if title:
        console.print(Text(printable(title)), soft_wrap=True)
    rows = list(rows)

    def table_of(part: Sequence[str]) -> Table:
        table = _empty_table(console)
        for index in map(int, part):
            heading = "\n".join(wrap(printable(columns[index]), _HEADING_WIDTH))
            is_text = columns[index] in left
            table.add_column(heading, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
        for label, cells in rows:
            table.add_row(Text(printable(label)), *(Text(printable(cells[int(index)])) for index in part))
        return table

    print_parts([str(index) for index in range(len(columns))], table_of, console)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of text, which are not broken."""
    console = output_console()
    for line in lines:
        console.print(Text(printable(line)), soft_wrap=True)


def output_console() -> Console:
    """Return the console of standard output; characters that its encoding lacks become question marks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return table_console()


def print_parts(names: Sequence[str], table_of: Callable[[Sequence[str]], Table], console: Console) -> None:
    """Print as few tables as hold all columns without shortening any, each with the same labels."""
    rest = list(names)
    while rest:
        size = len(rest)
        while size > 1 and _width(table_of(rest[:size]), console) > console.width:
            size -= 1
        console.print(table_of(rest[:size]))
        rest = rest[size:]


def _width(table: Table, console: Console) -> int:
    unlimited = console.options.update(width=100 * console.width)
    return Measurement.get(console, unlimited, table).maximum


def _empty_table(console: Console) -> Table:
    """Return a table with a column of labels, which are folded if they would take room from the numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    room = max(_MIN_LABEL_WIDTH, min(_LABEL_WIDTH, console.width - _NUMBERS_WIDTH))
    table.add_column("", overflow="fold", max_width=room if console.width <= _WIDE else None)
    return table


def metric_table(names: Sequence[str], sign: str, console: Console) -> Table:
    table = _empty_table(console)
    for name in names:
        table.add_column(_heading(name, sign), justify="right", no_wrap=True)
    return table


def _heading(name: str, sign: str) -> Text:
    """Return the heading `R@1,IoU=0.5` in two short lines that show the convention: R@1, ≥0.5."""
    first, second = heading_lines(name)
    return Text(f"{first}\n{second.replace('IoU=', sign)}")


def _cells(
    names: Sequence[str], metrics: Mapping[str, float], intervals: Intervals, *, below: bool = True
) -> list[Text]:
    cells = []
    for name in names:
        if name not in metrics:
            cells.append(Text(MISSING))
            continue
        low, high = intervals[name]
        cell = Text(f"{metrics[name]:.1f}")
        if below:
            cell.append(f"\n±{(high - low) / 2:.1f}", style="dim")
        cells.append(cell)
    return cells
