"""The page of an evaluation: results, overlap, breakdown, and the worst and best queries one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from mttsg_core.evaluation.baselines import BLIND
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.evaluation.metrics import convention_sentences, heading_lines, metric_kinds
from mttsg_core.report.cases import Case
from mttsg_core.report.charts import draw, iou_histogram
from mttsg_core.report.layout import render_page
from mttsg_core.report.plots import recall_plot
from mttsg_core.report.thumbnails import Thumbnail


class Interval(NamedTuple):
    """A metric of a set of queries, in percent, with the ends of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class _ResultRow:
    """An evaluation in a table of results; a metric that it does not have is None."""

    name: str
    mode: str
    is_main: bool
    cells: Sequence[Interval | None]


@dataclass(frozen=True)
class _ResultTable:
    """Metrics of one kind; the name of each is a pair of lines."""

    label: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[_ResultRow]


@dataclass(frozen=True)
class _GroupRow:
    """A group of queries in the breakdown."""

    name: str
    queries: int
    headline: Interval


def render_evaluation_page(
    report: EvaluationReport,
    cases: Sequence[Case],
    thumbnails: Mapping[int, Sequence[Thumbnail]],
    made: Sequence[str] = (),
) -> str:
    """Return the page as HTML.

    Args:
        report: the results.
        cases: the queries to show one by one, see `pick_cases`.
        thumbnails: frames for the cases, by `Case.index`; a case may have none.
        made: lines on how the page was made: data, command.
    """
    main = report.main
    return render_page(
        "evaluation.html.j2",
        split=main.split,
        queries=len(main.predictions),
        videos=main.videos,
        name=report.answered_by or main.name,
        made=made,
        mode="" if main.mode == main.name else main.mode,
        missed=main.missed,
        tables=_result_tables(report),
        notes=[*convention_sentences(report.conventions, main.metrics), report.baseline_note],
        histogram=iou_histogram(main.first_ious),
        recall=draw(recall_plot(report)),
        headline=main.metric_config.headline,
        breakdown=_breakdown(report),
        has_training_words=report.seen_words is not None,
        worst=[case for case in cases if case.is_worst],
        best=[case for case in cases if not case.is_worst],
        thumbnails=thumbnails,
    )


def _result_tables(report: EvaluationReport) -> list[_ResultTable]:
    """Return a table of each kind of metrics, with a row per evaluation."""
    return [
        _ResultTable(
            label,
            [heading_lines(name) for name in columns],
            [
                _ResultRow(
                    evaluation.name,
                    "" if evaluation.mode in (BLIND, evaluation.name) else evaluation.mode,
                    evaluation is report.main,
                    [
                        Interval(evaluation.metrics[name], *evaluation.intervals[name])
                        if name in evaluation.metrics
                        else None
                        for name in columns
                    ],
                )
                for evaluation in report.evaluations
            ],
        )
        for label, columns in metric_kinds(report.main.metrics).items()
    ]


def _breakdown(report: EvaluationReport) -> list[tuple[str, list[_GroupRow]]]:
    """Return each kind of groups with its rows, by the headline metric."""
    headline = report.main.metric_config.headline
    return [
        (
            kind,
            [
                _GroupRow(
                    with_unbroken_unit(group.name),
                    group.queries,
                    Interval(group.metrics[headline], *group.intervals[headline]),
                )
                for group in groups
            ],
        )
        for kind, groups in groupby(report.breakdown, key=lambda group: group.kind)
    ]


def with_unbroken_unit(name: str) -> str:
    """Return a group's name with a no-break space between a number and its unit."""
    head, _, unit = name.rpartition(" ")
    return f"{head}\u00a0{unit}" if head[-1:].isdigit() else name
