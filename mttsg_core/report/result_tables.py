"""Tables of figures and of groups of queries, as the pages of an evaluation and of a comparison show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from mttsg_core.evaluation.breakdown import GroupMetrics
from mttsg_core.evaluation.metric_names import heading_lines, metric_kinds


class Interval(NamedTuple):
    """A metric of a set of queries, in percent, with the ends of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """A figure, and the lines below it."""

    text: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """An evaluation or a system in a table.

    Attributes:
        name: of it.
        cells: one for each column.
        note: below the name; may be empty.
        colour: number of its colour; None where there is only one.
        is_main: whether the page is about it, rather than about what it is compared with.
    """

    name: str
    cells: Sequence[Cell]
    note: str = ""
    colour: int | None = None
    is_main: bool = False


@dataclass(frozen=True)
class Table:
    """Metrics of one kind; the name of each is a pair of lines."""

    label: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Row]


@dataclass(frozen=True)
class GroupRow:
    """An evaluation or a system in a group of queries; `colour` as in `Row`."""

    name: str
    colour: int | None
    headline: Interval


@dataclass(frozen=True)
class Group:
    """A group of queries, with a row for each evaluation or system."""

    name: str
    queries: int
    rows: Sequence[GroupRow]


def tables_of(names: Iterable[str], rows: Callable[[Sequence[str]], Sequence[Row]]) -> list[Table]:
    """Return a table for each kind of metrics.

    Args:
        names: of the metrics.
        rows: returns the rows with cells for some of the metrics.
    """
    return [
        Table(kind, [heading_lines(name) for name in columns], rows(columns))
        for kind, columns in metric_kinds(names).items()
    ]


def groups_of(
    breakdowns: Mapping[str, Sequence[GroupMetrics]], headline: str, colours: Sequence[int | None]
) -> list[tuple[str, list[Group]]]:
    """Return each kind of groups, by one metric.

    Args:
        breakdowns: by the name of an evaluation or a system, over the same groups.
        headline: the metric.
        colours: of each of them, see `Row`.
    """
    of_groups = zip(*breakdowns.values(), strict=True)
    return [
        (kind, [_group(of_group, list(breakdowns), headline, colours) for of_group in of_kind])
        for kind, of_kind in groupby(of_groups, key=lambda of_group: of_group[0].kind)
    ]


def _group(
    of_group: Sequence[GroupMetrics], names: Sequence[str], headline: str, colours: Sequence[int | None]
) -> Group:
    rows = [
        GroupRow(name, colour, Interval(group.metrics[headline], *group.intervals[headline]))
        for name, colour, group in zip(names, colours, of_group, strict=True)
    ]
    return Group(_with_unbroken_unit(of_group[0].name), of_group[0].queries, rows)


def _with_unbroken_unit(name: str) -> str:
    """Return a group's name with a no-break space between a number and its unit."""
    head, _, unit = name.rpartition(" ")
    return f"{head}\u00a0{unit}" if head[-1:].isdigit() else name
