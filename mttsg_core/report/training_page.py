"""The page of a training: how the losses fell, how validation rose, and how far the scores can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mttsg_core.checkpoints.checkpoint import REPORT, read_json
from mttsg_core.modeling.calibration import Bin
from mttsg_core.report.charts import epoch_curves, reliability_plot
from mttsg_core.report.escape import clean, percent
from mttsg_core.report.layout import frame, section
from mttsg_core.training.trainer import LOG
from mttsg_core.utils.text import count

_HEADLINES = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")
_BESIDE_LOSSES = ("total", "phi", "dropped", "gate")


def render_training_page(folder: Path) -> str:
    """The report of a finished model folder.

    Raises:
        ModelError: if its report or its log cannot be read.
    """
    report = read_json(folder / REPORT)
    lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    epochs: list[dict[str, Any]] = [json.loads(line) for line in lines]
    intro = (
        f"<p>{count(report['pairs'], 'sentence')} of {count(report['videos'], 'video')}, "
        f"{count(report['epochs'], 'epoch')}, "
        f"{report['parameters'] / 1e6:.2f} M parameters, {report['seconds']:.0f} s. "
        f"Kept: epoch <strong>{report['best_epoch']}</strong>.</p>"
    )
    parts = [section("Training", _course(epochs))]
    if report.get("confidence"):
        parts.append(section("How far scores can be trusted", _confidence(report["confidence"])))
    title = f"Training of {folder.name}"
    return frame(title, intro, "".join(parts), "This page loads nothing and runs no script.")


def _course(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Validation, loss terms, and the work of phi, over the epochs."""
    plots = []
    if epochs[0]["metrics"]:
        plots.append(("Validation, percent", _curves(epochs, "metrics", _HEADLINES), 100.0))
    terms = [name for name in epochs[0]["losses"] if name not in _BESIDE_LOSSES]
    losses = _curves(epochs, "losses", terms)
    plots.append(("Loss terms, without their weights", losses, math.ceil(max(map(max, losses.values())))))
    shares = [name for name in _BESIDE_LOSSES[1:] if name in epochs[0]["losses"]]
    if shares:
        plots.append(("phi, share of negatives dropped, gate of mining", _curves(epochs, "losses", shares), 1.0))
    figures = "".join(
        f"<figure><figcaption>{clean(label)}</figcaption>{epoch_curves(label, curves, max(highest, 1))}</figure>"
        for label, curves, highest in plots
    )
    return f'<div class="pair">{figures}</div>'


def _curves(epochs: Sequence[Mapping[str, Any]], part: str, names: Sequence[str]) -> dict[str, list[float]]:
    return {name: [epoch[part][name] for epoch in epochs] for name in names}


def _confidence(found: Mapping[str, Any]) -> str:
    """Reliability before and after the calibration."""
    figures = "".join(
        f"<figure><figcaption>{label}: calibration error {percent(found[name]['error'])}</figcaption>"
        f"{reliability_plot([Bin(**one) for one in found[name]['bins']])}</figure>"
        for name, label in (("raw", "Before calibration"), ("calibrated", "After"))
    )
    return (
        f'<div class="pair">{figures}</div><p class="note">Every sentence of the validation split is asked of its own '
        "video, and of another one, where no answer is right. A dot is a tenth of the scale of scores, its size the "
        "number of answers. The first answer to a sentence in its own video scores more than one in another video in "
        f"{percent(found['calibrated']['auc'])} % of all pairs (AUC).</p>"
    )
