"""Reports as tables for a terminal of 80 columns."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mttsg_cli.terminal import printable
from mttsg_cli.writers import MISSING
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.evaluation.evaluation_report import EvaluationReport

__all__ = ["MISSING", "print_columns", "print_lines", "print_report"]
_FIGURE_WIDTH = 7  # of a column with its padding

Intervals = Mapping[str, tuple[float, float]]


def print_report(report: EvaluationReport, *, breakdown: bool = False) -> None:
    """Print the figures of a split: a row for each evaluation, and half the 95 % intervals below it."""
    console = _console()
    main = report.main
    names = list(main.metrics)
    sign = ">" if main.metric_config.strict else "≥"
    rows = [
        (f"{other.name} ({other.mode})" if other is main and other.mode != other.name else other.name, other)
        for other in report.evaluations
    ]
    queries, videos = count(len(main.predictions), "query", "queries"), count(main.videos, "video")
    console.print(Text(f"{printable(main.split)}: {queries} of {videos}, {main.missed} without answer"))
    for part in _parts(names, console.width - 2 - max(len(label) for label, _ in rows)):
        table = _table("", part, sign)
        for label, other in rows:
            table.add_row(Text(printable(label)), *_cells(part, other.metrics, other.intervals))
        console.print(table)
    if breakdown:
        _print_breakdown(report, console)
    conventions = report.conventions
    notes = [
        f"percent; ± half a 95 % interval, bootstrapped by video; {conventions['hit']}, in seconds; "
        f"NMS: {conventions['nms']}.",
        f"A query without an answer {conventions['no_prediction']}.",
    ]
    console.print(Text(" ".join([*notes, report.baseline_note]).rstrip(), style="dim"))


def _print_breakdown(report: EvaluationReport, console: Console) -> None:
    """Print the figures of the main evaluation for groups of queries."""
    groups = report.breakdown
    width = max(len(group.name) for group in groups) + 4
    names = [name for name in report.main.metrics if not name.startswith("mAP")]
    sign = ">" if report.main.metric_config.strict else "≥"
    for part in _parts(names, console.width - 2 - width - _FIGURE_WIDTH):
        table = _table("", ["queries", *part], sign)
        kind = ""
        for group in groups:
            if group.kind != kind:
                kind = group.kind
                table.add_row(Text(f"by {kind}", style="bold"))
            table.add_row(
                Text(f"  {printable(group.name)}"),
                str(group.queries),
                *_cells(part, group.metrics, group.intervals, below=False),
            )
        console.print(table)


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
    console = _console()
    if title:
        console.print(Text(printable(title)), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in columns:
        table.add_column(Text(printable(name)), justify="left" if name in left else "right", overflow="fold")
    for label, cells in rows:
        table.add_row(Text(printable(label)), *(Text(printable(cell)) for cell in cells))
    console.print(table)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of text, which are not broken."""
    console = _console()
    for line in lines:
        console.print(Text(printable(line)), soft_wrap=True)


def _console() -> Console:
    """Return the console of standard output; characters that its encoding lacks become question marks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console()


def _table(title: str, names: Sequence[str], sign: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, no_wrap=True)
    for name in names:
        table.add_column(_heading(name, sign), justify="right", no_wrap=True)
    return table


def _heading(name: str, sign: str) -> Text:
    """Return the heading `R@1,IoU=0.5` in two short lines that show the convention: R@1, ≥0.5."""
    name, _, level = name.partition(",IoU=")
    if level:
        return Text(f"{name}\n{sign}{level}")
    name, mark, rest = name.partition("-") if "-" in name else name.partition("@")
    return Text(f"{name}\n{'@' if mark == '@' else ''}{rest}")


def _parts(names: Sequence[str], width: int) -> list[list[str]]:
    """Divide figures into parts that fit the width, each of one kind."""
    room = max(1, width // _FIGURE_WIDTH)
    kinds = [[name for name in names if not name.startswith("mAP")], [name for name in names if name.startswith("mAP")]]
    return [kind[first : first + room] for kind in kinds for first in range(0, len(kind), room)]


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
