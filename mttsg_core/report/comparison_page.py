"""The page of a comparison: figures, differences, breakdown, and the queries that are won and lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mttsg_core.evaluation.comparison import System
from mttsg_core.evaluation.comparison_report import ComparisonReport, Outcomes
from mttsg_core.report.charts import draw
from mttsg_core.report.compared_cases import ComparedCase
from mttsg_core.report.comparison_tables import (
    DECIMALS,
    MISSING,
    notes,
    shown_difference,
    shown_figure,
    shown_missed,
)
from mttsg_core.report.layout import render_page
from mttsg_core.report.palette import colour_number
from mttsg_core.report.plots import compared_recall_plots
from mttsg_core.report.result_tables import Cell, Row, groups_of, tables_of
from mttsg_core.report.thumbnails import Thumbnail
from mttsg_core.utils.text import count


@dataclass(frozen=True)
class _Section:
    """A system against the first one."""

    name: str
    outcomes: Outcomes
    won: Sequence[ComparedCase]
    lost: Sequence[ComparedCase]


def render_comparison_page(
    report: ComparisonReport,
    cases: Mapping[str, Sequence[ComparedCase]],
    thumbnails: Mapping[int, Sequence[Thumbnail]],
    made: Sequence[str] = (),
) -> str:
    """Return the page as HTML.

    Args:
        report: the results.
        cases: the queries to show one by one for each system after the first, see `pick_compared_cases`.
        thumbnails: frames for the cases, by `ComparedCase.index`; a case may have none.
        made: lines on how the page was made: data, command.
    """
    systems = list(enumerate(report.systems))
    colours = [colour_number(number) for number, _ in systems]
    return render_page(
        "comparison.html.j2",
        split=report.split,
        queries=len(report.pairs),
        videos=report.videos,
        names=[system.name for system in report.systems],
        colours=colours,
        made=[*made, *(f"{system.name}: {'; '.join(system.sources)}" for system in report.systems if system.sources)],
        figures=tables_of(report.metric_names, lambda names: _rows(systems, lambda one: _figure_cells(one, names))),
        notes=notes(report),
        differences=tables_of(
            report.metric_names if report.others else (),
            lambda names: _rows(systems[1:], lambda one: _difference_cells(report, one, names)),
        ),
        recall=[draw(plot) for plot in compared_recall_plots(report)],
        headline=report.metric_config.headline,
        breakdown=groups_of(report.breakdowns, report.metric_config.headline, colours),
        sections=[
            _Section(
                system.name,
                report.outcomes(system),
                [case for case in cases[system.name] if case.is_won],
                [case for case in cases[system.name] if not case.is_won],
            )
            for system in report.others
        ],
        thumbnails=thumbnails,
    )


def _rows(systems: Sequence[tuple[int, System]], cells: Callable[[System], list[Cell]]) -> list[Row]:
    """Return a row for each system, with the number of its colour."""
    return [Row(system.name, cells(system), _about(system), colour_number(number)) for number, system in systems]


def _about(system: System) -> str:
    parts = [count(len(system.runs), "seed")] if len(system.runs) > 1 else []
    parts += [f"{shown_missed(system)} without an answer"] if any(system.missed) else []
    return ", ".join(parts)


def _figure_cells(system: System, names: Sequence[str]) -> list[Cell]:
    cells = []
    for name in names:
        if name not in system.metrics:
            cells.append(Cell(MISSING))
            continue
        value, _, spread = shown_figure(system.metrics[name], DECIMALS).partition(" ")
        low, high = system.intervals[name]
        cells.append(Cell(value, [*([spread] if spread else []), f"{low:.1f}–{high:.1f}"]))
    return cells


def _difference_cells(report: ComparisonReport, system: System, names: Sequence[str]) -> list[Cell]:
    differences = report.differences[system.name]
    cells = []
    for name in names:
        if name not in differences:
            cells.append(Cell(MISSING))
            continue
        value, _, p = shown_difference(differences[name], DECIMALS)
        _, interval, _ = shown_difference(differences[name], 1)  # a column is not wide enough for more
        cells.append(Cell(value, [interval, p]))
    return cells
