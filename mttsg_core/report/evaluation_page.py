"""The page of an evaluation: results, overlap, breakdown, and the worst and best queries one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mttsg_core.evaluation.baselines import BLIND
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.evaluation.metric_names import convention_sentences
from mttsg_core.report.cases import Case
from mttsg_core.report.charts import draw, iou_histogram
from mttsg_core.report.comparison_tables import MISSING
from mttsg_core.report.escape import percent
from mttsg_core.report.layout import render_page
from mttsg_core.report.plots import recall_plot
from mttsg_core.report.result_tables import Cell, Row, groups_of, tables_of
from mttsg_core.report.thumbnails import Thumbnail


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
        tables=tables_of(main.metrics, lambda names: _rows(report, names)),
        notes=[*convention_sentences(report.conventions, main.metrics), report.baseline_note],
        histogram=iou_histogram(main.first_ious),
        recall=draw(recall_plot(report)),
        headline=main.metric_config.headline,
        breakdown=groups_of({main.name: report.breakdown}, main.metric_config.headline, [None]),
        has_training_words=report.seen_words is not None,
        worst=[case for case in cases if case.is_worst],
        best=[case for case in cases if not case.is_worst],
        thumbnails=thumbnails,
    )


def _rows(report: EvaluationReport, names: Sequence[str]) -> list[Row]:
    """Return a row for each evaluation; a metric that it does not have is a dash."""
    return [
        Row(
            evaluation.name,
            [_cell(evaluation, name) for name in names],
            note="" if evaluation.mode in (BLIND, evaluation.name) else evaluation.mode,
            is_main=evaluation is report.main,
        )
        for evaluation in report.evaluations
    ]


def _cell(evaluation: Evaluation, name: str) -> Cell:
    if name not in evaluation.metrics:
        return Cell(MISSING)
    low, high = evaluation.intervals[name]
    return Cell(percent(evaluation.metrics[name]), [f"{percent(low)}–{percent(high)}"])
