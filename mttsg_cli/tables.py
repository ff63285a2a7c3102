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

from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.evaluation.evaluation_report import EvaluationReport

_FIGURE_WIDTH = 7  # of a column with its padding
MISSING = "–"

Intervals = Mapping[str, tuple[float, float]]


def print_comparison(comparison: EvaluationReport, *, breakdown: bool = False) -> None:
    """The figures of a split, one row an evaluation, each with half its 95 % interval below it."""
    console = _console()
    main = comparison.main
    names = list(main.metrics)
    sign = ">" if main.metric_config.strict else "≥"
    rows = [
        (f"{other.name} ({other.mode})" if other is main and other.mode != other.name else other.name, other)
        for other in comparison.evaluations
    ]
    console.print(
        Text(
            f"{main.split}: {count(len(main.predictions), 'query', 'queries')} of {count(main.videos, 'video')}, "
            f"{main.missed} without answer"
        )
    )
    for part in _parts(names, console.width - 2 - max(len(label) for label, _ in rows)):
        table = _table("", part, sign)
        for label, other in rows:
            table.add_row(Text(label), *_cells(part, other.metrics, other.intervals))
        console.print(table)
    if breakdown:
        print_breakdown(comparison, console)
    said = comparison.conventions
    notes = [
        f"percent; ± half a 95 % interval, videos drawn again; {said['hit']}, in seconds; NMS: {said['nms']}.",
        f"A query without an answer {said['no_prediction']}.",
    ]
    console.print(Text(" ".join([*notes, comparison.baseline_note]).rstrip(), style="dim"))


def print_breakdown(comparison: EvaluationReport, console: Console) -> None:
    """The main evaluation's figures over groups of queries."""
    groups = comparison.breakdown
    width = max(len(group.name) for group in groups) + 4
    names = [name for name in comparison.main.metrics if not name.startswith("mAP")]
    sign = ">" if comparison.main.metric_config.strict else "≥"
    for part in _parts(names, console.width - 2 - width - _FIGURE_WIDTH):
        table = _table("", ["queries", *part], sign)
        kind = ""
        for group in groups:
            if group.kind != kind:
                kind = group.kind
                table.add_row(Text(f"by {kind}", style="bold"))
            table.add_row(
                Text(f"  {group.name}"), str(group.queries), *_cells(part, group.metrics, group.intervals, below=False)
            )
        console.print(table)


def print_columns(title: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> None:
    """A table of text with a name for each row."""
    console = _console()
    console.print(Text(title), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in columns:
        table.add_column(Text(name), justify="right", overflow="fold")
    for label, cells in rows:
        table.add_row(Text(label), *map(Text, cells))
    console.print(table)


def _console() -> Console:
    """Of standard output, whatever its encoding: characters that it lacks become question marks."""
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
    """`R@1,IoU=0.5` in two short lines that say the convention: R@1, ≥0.5."""
    name, _, level = name.partition(",IoU=")
    if level:
        return Text(f"{name}\n{sign}{level}")
    name, mark, rest = name.partition("-") if "-" in name else name.partition("@")
    return Text(f"{name}\n{'@' if mark == '@' else ''}{rest}")


def _parts(names: Sequence[str], width: int) -> list[list[str]]:
    """Figures of a kind together, in pieces that fit."""
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
