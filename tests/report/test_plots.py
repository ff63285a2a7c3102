"""What charts show, and what pages make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mttsg_core.evaluation.comparison import System
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.report.charts import Chart, draw
from mttsg_core.report.plots import (
    compared_recall_plots,
    compared_training_plots,
    group_plots,
    read_epochs,
    reliability_plots,
    training_plots,
)
from tests.helpers.report_pages import evaluation_report

EPOCHS = [
    {"metrics": {"R@1,IoU=0.3": 6.0, "R@1,IoU=0.5": 5.0, "R@1,IoU=0.7": 4.0, "mIoU": miou}, "losses": losses}
    for miou, losses in (
        (40.0, {"total": 9.0, "span": 5.5, "phi": 0.4}),
        (45.0, {"total": 3.0, "span": 2.5, "phi": 0.5}),
    )
]


@pytest.fixture(scope="module")
def report() -> ComparisonReport:
    plain = evaluation_report(40, baselines=True)
    systems = [System("ours", [plain.main, plain.main]), System("whole video", [plain.baselines[-1]])]
    return ComparisonReport(systems, plain.durations)


def test_recall_of_each_system(report: ComparisonReport) -> None:
    first, fifth = compared_recall_plots(report)
    assert (first.name, fifth.name) == ("recall1_by_iou", "recall5_by_iou")
    [ours, other] = first.curves
    assert (ours.name, other.name) == ("ours", "whole video")
    at = dict(zip(ours.xs, ours.ys, strict=True))
    for iou in (0.3, 0.5, 0.7):
        assert at[iou] == pytest.approx(report.first.metrics[f"R@1,IoU={iou}"].mean)
    assert list(ours.ys) == sorted(ours.ys, reverse=True)


def test_groups_have_the_same_names_for_all_systems(report: ComparisonReport) -> None:
    plots = group_plots(report.breakdowns, "R@1,IoU=0.5")
    assert [plot.name for plot in plots] == [
        *("by_moment_length", "by_moment_position", "by_video_length", "by_sentence_length"),
    ]
    for plot in plots:
        for curve in plot.curves:
            assert len(curve.xs) == len(plot.x_names) == len(curve.lows) == len(curve.highs)
            assert all(low <= y <= high for low, y, high in zip(curve.lows, curve.ys, curve.highs, strict=True))


def test_the_course_of_a_training(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in EPOCHS))
    epochs = read_epochs(tmp_path)
    validation, losses, shares = training_plots(epochs)
    assert {curve.name: curve.ys for curve in validation.curves}["mIoU"] == [40.0, 45.0]
    assert (losses.highest, [curve.name for curve in losses.curves]) == (6, ["span"])
    assert [curve.ys for curve in shares.curves] == [[0.4, 0.5]]
    [compared] = compared_training_plots(
        {"ours": epochs, "plain": epochs[:1], "blind": [{"metrics": {}, "losses": {}}]}
    )
    assert {curve.name: (curve.xs, curve.ys) for curve in compared.curves} == {
        "ours": ([1, 2], [40.0, 45.0]),
        "plain": ([1], [40.0]),
    }
    assert compared_training_plots({"blind": [{"metrics": {}, "losses": {}}]}) == []


def test_a_page_draws_the_points_at_their_place() -> None:
    chart = draw(training_plots(EPOCHS)[0])
    line = next(line for line in chart.lines if line.name == "mIoU")
    middle = (Chart.left + Chart.right) / 2
    (x1, y1), (x2, _) = (map(float, point.split(",")) for point in line.points.split())
    assert (x1, x2) == pytest.approx((middle, Chart.right))
    assert (Chart.bottom - y1) / (Chart.bottom - Chart.top) == pytest.approx(0.4, abs=1e-3)
    assert [tick.label for tick in chart.x_ticks] == ["0", "1", "2"]


def test_how_reliable_the_scores_are() -> None:
    bins = [{"score": 0.1, "right": 0.0, "answers": 9}, {"score": 0.9, "right": 0.75, "answers": 4}]
    [plot] = reliability_plots({"confidence": {"raw": {"bins": bins[:1]}, "calibrated": {"bins": bins}}})
    assert {curve.name: (curve.xs, curve.ys) for curve in plot.curves} == {
        "not calibrated": ([0.1], [0.0]),
        "calibrated": ([0.1, 0.9], [0.0, 75.0]),
        "perfect calibration": ([0, 1], [0, 100]),
    }
    assert reliability_plots({"confidence": None}) == reliability_plots({}) == []
