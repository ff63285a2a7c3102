"""What the charts of pages and files show, in the units of the data; `charts` and `chart_files` draw it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mttsg_core.evaluation.breakdown import GroupMetrics
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.evaluation.metrics import best_ious, hits_at
from mttsg_core.training.trainer import LOG

_THRESHOLDS: Sequence[float] = np.linspace(0.02, 1, 50).round(2).tolist()
_HEADLINES = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")
_TOTAL = "total"
_SHARES = ("phi", "phi_same", "dropped", "gate")  # logged with the losses, but values in 0..1 rather than loss terms


@dataclass(frozen=True)
class Curve:
    """Named points.

    Attributes:
        name: for the legend.
        xs, ys: of the points.
        lows, highs: ends of the points' intervals; empty without any.
        is_other: whether it is there to compare with, and drawn thinner.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    is_other: bool = False


@dataclass(frozen=True)
class Plot:
    """Curves over one axis.

    Attributes:
        name: of its file.
        label: the description.
        x_label, y_label: titles of the axes.
        curves: what is drawn.
        highest: the end of the y axis, which starts at 0.
        x_ticks: positions with a label on the x axis.
        x_names: names of the positions 0, 1, ... where x counts groups; their points are not connected.
    """

    name: str
    label: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    highest: float
    x_ticks: Sequence[float] = ()
    x_names: Sequence[str] = ()


def recall_plot(report: EvaluationReport) -> Plot:
    """Return recall by IoU threshold: every R@n of the main evaluation, and the first R@n of each baseline."""
    main = report.main
    first = min(main.metric_config.ns)
    curves = [Curve(f"R@{n} {main.name}", _THRESHOLDS, _recalls([main], n)) for n in main.metric_config.ns]
    curves += [
        Curve(f"R@{first} {baseline.name}", _THRESHOLDS, _recalls([baseline], first), is_other=True)
        for baseline in report.baselines
    ]
    return _over_thresholds("recall_by_iou", "Recall by IoU threshold", "recall (%)", curves)


def compared_recall_plots(report: ComparisonReport) -> list[Plot]:
    """Return recall by IoU threshold for each n of R@n, with a curve for each system, averaged over its runs."""
    plots = []
    for n in report.metric_config.ns:
        curves = [Curve(system.name, _THRESHOLDS, _recalls(system.runs, n)) for system in report.systems]
        plots.append(_over_thresholds(f"recall{n}_by_iou", f"R@{n} by IoU threshold", f"R@{n} (%)", curves))
    return plots


def group_plots(breakdowns: Mapping[str, Sequence[GroupMetrics]], metric: str) -> list[Plot]:
    """Return a metric by group with its intervals, a plot for each kind of groups.

    Args:
        breakdowns: the groups of each system, by its name; the same groups for all.
        metric: its name.
    """
    by_kind = {
        name: {kind: list(groups) for kind, groups in groupby(groups, key=lambda group: group.kind)}
        for name, groups in breakdowns.items()
    }
    plots = []
    for kind, groups in next(iter(by_kind.values())).items():
        curves = []
        for name, of_system in by_kind.items():
            values = [group.metrics[metric] for group in of_system[kind]]
            lows, highs = zip(*(group.intervals[metric] for group in of_system[kind]), strict=True)
            curves.append(Curve(name, list(range(len(values))), values, lows, highs))
        plots.append(
            Plot(
                f"by_{kind.replace(' ', '_')}",
                f"{metric} by {kind}",
                kind,
                f"{metric} (%)",
                curves,
                100,
                x_names=[group.name for group in groups],
            )
        )
    return plots


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    """Return what the training of a model logged of each epoch.

    Raises:
        OSError: if its log cannot be read.
    """
    lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def training_plots(epochs: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Return validation, loss terms, and the other logged values by epoch."""
    logged = epochs[0]["losses"]
    plots = []
    if epochs[0]["metrics"]:
        curves = _logged(epochs, "metrics", _HEADLINES)
        plots.append(_over_epochs("validation", "Validation (%)", "percent", curves, 100.0))
    losses = _logged(epochs, "losses", [name for name in logged if name not in (_TOTAL, *_SHARES)])
    highest = math.ceil(max(map(max, losses.values())))
    plots.append(_over_epochs("losses", "Loss terms (unweighted)", "loss", losses, max(highest, 1)))
    shares = _logged(epochs, "losses", [name for name in _SHARES if name in logged])
    if shares:
        label = "phi and phi_same, share of negatives dropped, memory gate"
        plots.append(_over_epochs("shares", label, "value", shares, 1.0))
    return plots


def reliability_plots(report: Mapping[str, Any]) -> list[Plot]:
    """Return the share of correct predictions by score, before and after calibration; none without calibration.

    Args:
        report: of a training, see `checkpoints.files.REPORT`.
    """
    measured = report.get("confidence")
    if not measured:
        return []
    curves = [
        Curve(
            name if name == "calibrated" else "not calibrated",
            [part["score"] for part in measured[name]["bins"]],
            [100 * part["right"] for part in measured[name]["bins"]],
        )
        for name in ("raw", "calibrated")
    ]
    curves.append(Curve("perfect calibration", [0, 1], [0, 100], is_other=True))
    label = "Share of correct predictions by score"
    return [Plot("reliability", label, "score", "correct (%)", curves, 100, [0, 0.2, 0.4, 0.6, 0.8, 1])]


def compared_training_plots(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Plot]:
    """Return validation mIoU by epoch with a curve for each run that was validated; none without any.

    Args:
        runs: what each run logged, by its name.
    """
    curves = {
        name: _logged(epochs, "metrics", ["mIoU"])["mIoU"] for name, epochs in runs.items() if epochs[0]["metrics"]
    }
    return [_over_epochs("validation", "mIoU on validation", "mIoU (%)", curves, 100.0)] if curves else []


def _logged(epochs: Sequence[Mapping[str, Any]], record: str, names: Sequence[str]) -> dict[str, list[float]]:
    return {name: [epoch[record][name] for epoch in epochs] for name in names}


def _over_epochs(name: str, label: str, y_label: str, curves: Mapping[str, Sequence[float]], highest: float) -> Plot:
    epochs = max(len(values) for values in curves.values())
    drawn = [
        Curve(curve, list(range(1, len(values) + 1)), [min(value, highest) for value in values])
        for curve, values in curves.items()
    ]
    return Plot(name, label, "epoch", y_label, drawn, highest, [0, epochs / 2, epochs])


def _over_thresholds(name: str, label: str, y_label: str, curves: Sequence[Curve]) -> Plot:
    return Plot(name, label, "IoU threshold", y_label, curves, 100, [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1])


def _recalls(runs: Sequence[Evaluation], n: int) -> list[float]:
    """Return R@n in percent at every threshold, the mean over runs."""
    strict = runs[0].metric_config.strict
    ious = [best_ious([pair.moments for pair in run.pairs], run.predictions, n) for run in runs]
    return [
        float(100 * np.mean([hits_at(best, n, threshold, strict=strict) for best in ious])) for threshold in _THRESHOLDS
    ]
