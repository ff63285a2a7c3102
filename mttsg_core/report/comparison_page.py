"""The page of a comparison: figures, differences, breakdown, and the queries that are won and lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from mttsg_core.evaluation.comparison import System
from mttsg_core.evaluation.comparison_report import ComparisonReport, Outcomes
from mttsg_core.evaluation.metrics import heading_lines, metric_kinds
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
from mttsg_core.report.evaluation_page import Interval, with_unbroken_unit
from mttsg_core.report.layout import render_page
from mttsg_core.report.palette import colour_number
from mttsg_core.report.plots import compared_recall_plots
from mttsg_core.report.thumbnails import Thumbnail
from mttsg_core.utils.text import count


@dataclass(frozen=True)
class _Cell:
    """A figure, and the lines below it."""

    text: str
    notes: Sequence[str]


@dataclass(frozen=True)
class _Row:
    """A system in a table; `colour` is the number of its colour."""

    name: str
    note: str
    colour: int
    cells: Sequence[_Cell]


@dataclass(frozen=True)
class _Table:
    """Metrics of one kind; the name of each is a pair of lines."""

    label: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[_Row]


@dataclass(frozen=True)
class _GroupRow:
    """A system in a group of queries."""

    name: str
    colour: int
    headline: Interval


@dataclass(frozen=True)
class _Group:
    """A group of queries, with a row for each system."""

    name: str
    queries: int
    rows: Sequence[_GroupRow]


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
    return render_page(
        "comparison.html.j2",
        split=report.split,
        queries=len(report.pairs),
        videos=report.videos,
        names=[system.name for system in report.systems],
        colours=[colour_number(number) for number in range(len(report.systems))],
        made=[*made, *(f"{system.name}: {'; '.join(system.sources)}" for system in report.systems if system.sources)],
        figures=_tables(report, 0, _figure_cells),
        notes=notes(report),
        differences=_tables(report, 1, lambda system, names: _difference_cells(report, system, names)),
        recall=[draw(plot) for plot in compared_recall_plots(report)],
        headline=report.metric_config.headline,
        breakdown=_breakdown(report),
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


def _tables(
    report: ComparisonReport, start: int, cells: Callable[[System, Sequence[str]], list[_Cell]]
) -> list[_Table]:
    """Return a table of each kind of metrics, with a row per system from `start` on."""
    systems = list(enumerate(report.systems))[start:]
    if not systems:
        return []
    return [
        _Table(
            label,
            [heading_lines(name) for name in names],
            [
                _Row(system.name, _about(system), colour_number(number), cells(system, names))
                for number, system in systems
            ],
        )
        for label, names in metric_kinds(report.metric_names).items()
    ]


def _about(system: System) -> str:
    parts = [count(len(system.runs), "seed")] if len(system.runs) > 1 else []
    parts += [f"{shown_missed(system)} without an answer"] if any(system.missed) else []
    return ", ".join(parts)


def _figure_cells(system: System, names: Sequence[str]) -> list[_Cell]:
    cells = []
    for name in names:
        if name not in system.metrics:
            cells.append(_Cell(MISSING, []))
            continue
        value, _, spread = shown_figure(system.metrics[name], DECIMALS).partition(" ")
        low, high = system.intervals[name]
        cells.append(_Cell(value, [*([spread] if spread else []), f"{low:.1f}–{high:.1f}"]))
    return cells


def _difference_cells(report: ComparisonReport, system: System, names: Sequence[str]) -> list[_Cell]:
    differences = report.differences[system.name]
    cells = []
    for name in names:
        if name not in differences:
            cells.append(_Cell(MISSING, []))
            continue
        value, _, p = shown_difference(differences[name], DECIMALS)
        _, interval, _ = shown_difference(differences[name], 1)  # a column is not wide enough for more
        cells.append(_Cell(value, [interval, p]))
    return cells


def _breakdown(report: ComparisonReport) -> list[tuple[str, list[_Group]]]:
    """Return each kind of groups, by the headline metric."""
    headline = report.metric_config.headline
    groups = list(zip(*report.breakdowns.values(), strict=True))
    return [
        (
            kind,
            [
                _Group(
                    with_unbroken_unit(of_systems[0].name),
                    of_systems[0].queries,
                    [
                        _GroupRow(
                            system.name,
                            colour_number(number),
                            Interval(group.metrics[headline], *group.intervals[headline]),
                        )
                        for number, (system, group) in enumerate(zip(report.systems, of_systems, strict=True))
                    ],
                )
                for of_systems in of_kind
            ],
        )
        for kind, of_kind in groupby(groups, key=lambda of_systems: of_systems[0].kind)
    ]
