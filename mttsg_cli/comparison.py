"""A comparison on standard output or in a file: as a table for a terminal, or as text for papers and programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from mttsg_cli.rows import MISSING
from mttsg_cli.tables import metric_table, output_console, print_parts
from mttsg_cli.terminal import for_terminal, printable, table_console
from mttsg_cli.writers import print_json
from mttsg_core.evaluation.metric_names import metric_kinds
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from rich.table import Table

    from mttsg_core.evaluation.comparison import Difference, OverSeeds
    from mttsg_core.evaluation.comparison_report import ComparisonReport


def print_comparison(report: ComparisonReport, form: str, decimals: int) -> None:
    """Print a comparison in one of `TABLE_FORMATS`."""
    if form == "json":
        print_json(report.as_dict())
    elif form == "table":
        _print_tables(report, decimals, output_console())
    else:
        from mttsg_core.report.comparison_tables import RENDERERS

        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        for_terminal(sys.stdout).write(RENDERERS[form](report, decimals))


def save_comparison(report: ComparisonReport, form: str, decimals: int, path: Path) -> None:
    """Write a comparison to a file.

    Raises:
        ConfigError: if it cannot be written.
    """
    from mttsg_core.report.comparison_tables import RENDERERS
    from mttsg_core.workflows.outputs import save

    if form == "json":
        text = json.dumps(report.as_dict(), indent=2) + "\n"
    elif form == "table":
        stream = io.StringIO()
        _print_tables(report, decimals, table_console(stream))
        text = stream.getvalue()
    else:
        text = RENDERERS[form](report, decimals)
    save(path, lambda part: part.write_text(text, encoding="utf-8", errors="surrogateescape", newline=""))


def _print_tables(report: ComparisonReport, decimals: int, console: Console) -> None:
    """Print the figures with their spread below, then the differences to the first system."""
    from mttsg_core.report.comparison_tables import difference_title, notes, scope

    console.print(Text(printable(scope(report))))
    sign = ">" if report.metric_config.strict else "≥"
    kinds = metric_kinds(report.metric_names).values()
    for names in kinds:
        print_parts(names, _figures(report, sign, decimals, console), console)
    if report.others:
        console.print(Text(printable(difference_title(report))))
        for names in kinds:
            print_parts(names, _differences(report, sign, decimals, console), console)
        for system in report.others:
            outcomes = report.outcomes(system)
            better = f"{report.metric_config.headline} better on {count(outcomes.won, 'query', 'queries')}"
            text = f"{system.name}: {better}, worse on {outcomes.lost}, equal on {outcomes.tied}"
            console.print(Text(printable(text)))
    console.print(Text(printable(notes(report)), style="dim"))


def _figures(report: ComparisonReport, sign: str, decimals: int, console: Console) -> Callable[[Sequence[str]], Table]:
    def cell(value: OverSeeds | None) -> Text:
        if value is None:
            return Text(MISSING)
        shown = Text(f"{value.mean:.{decimals}f}")
        return shown if value.spread is None else shown.append(f"\n±{value.spread:.{decimals}f}", style="dim")

    def table_of(names: Sequence[str]) -> Table:
        table = metric_table(names, sign, console)
        for system in report.systems:
            label = Text(printable(system.name))
            if len(system.runs) > 1:
                label.append(f"\n{count(len(system.runs), 'seed')}", style="dim")
            table.add_row(label, *(cell(system.metrics.get(name)) for name in names))
        return table

    return table_of


def _differences(
    report: ComparisonReport, sign: str, decimals: int, console: Console
) -> Callable[[Sequence[str]], Table]:
    def cell(difference: Difference | None) -> Text:
        if difference is None:
            return Text(MISSING)
        value, low, high = (f"{number:+.{decimals}f}".replace("-", "−") for number in difference[:3])
        return Text(value).append(f"\n{low}\n{high}\n{difference.p:.3f}", style="dim")

    def table_of(names: Sequence[str]) -> Table:
        table = metric_table(names, sign, console)
        for system in report.others:
            label = Text(printable(system.name)).append("\n  from\n  to\n  p", style="dim")
            table.add_row(label, *(cell(report.differences[system.name].get(name)) for name in names))
        return table

    return table_of
