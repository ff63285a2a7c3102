"""The page of a training run: losses and validation by epoch, and how reliable the scores are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mttsg_core.checkpoints.files import PROVENANCE, REPORT, read_json, read_json_if_any
from mttsg_core.modeling.calibration import Bin
from mttsg_core.report.charts import Chart, epoch_curves, reliability_plot
from mttsg_core.report.layout import render_page
from mttsg_core.training.trainer import LOG

_HEADLINES = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")
_TOTAL = "total"
_SHARES = ("phi", "phi_same", "dropped", "gate")  # logged with the losses, but values in 0..1 rather than loss terms


def render_training_page(folder: Path) -> str:
    """Return the page of a finished model folder as HTML.

    Raises:
        ModelError: if its report cannot be read.
        OSError: if its log cannot be read.
    """
    report = read_json(folder / REPORT)
    lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    epochs: list[dict[str, Any]] = [json.loads(line) for line in lines]
    reliability = report.get("confidence") or {}
    return render_page(
        "training.html.j2",
        name=folder.name,
        made=_provenance(folder),
        report=report,
        curves=_curve_charts(epochs),
        reliability={
            name: (measured["error"], reliability_plot([Bin(**part) for part in measured["bins"]]))
            for name, measured in reliability.items()
        },
        auc=reliability["calibrated"]["auc"] if reliability else None,
    )


def _provenance(folder: Path) -> list[str]:
    """Return lines on where the model comes from, as far as that is recorded."""
    record = read_json_if_any(folder / PROVENANCE)
    if not record:
        return []
    commit = f" ({record['commit']})" if record.get("commit") else ""
    features = record.get("features") or {}
    division = f", {record['division']}" if record.get("division") else ""
    lines = [
        f"Data folder: {record.get('data')}{division}, rows {str(record.get('rows'))[:19]}…",
        f"Features: {features.get('encoder')}, {str(features['digest'])[:19]}…" if features.get("digest") else "",
        f"Command: {record['command']}" if record.get("command") else "",
        f"To repeat: {record['repeat']}" if record.get("repeat") else "",
        f"Started {record.get('started')} on {record.get('device')} with {record.get('threads', '?')} CPU threads, "
        f"seed {record.get('seed')}, with mttsg {record.get('mttsg')}{commit} and torch {record.get('torch')}",
    ]
    return [line for line in lines if line]


def _curve_charts(epochs: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Return validation, loss terms, and the other logged values by epoch."""
    logged = epochs[0]["losses"]
    charts = []
    if epochs[0]["metrics"]:
        charts.append(epoch_curves("Validation (%)", _curves(epochs, "metrics", _HEADLINES), 100.0))
    losses = _curves(epochs, "losses", [name for name in logged if name not in (_TOTAL, *_SHARES)])
    highest = math.ceil(max(map(max, losses.values())))
    charts.append(epoch_curves("Loss terms (unweighted)", losses, max(highest, 1)))
    shares = _curves(epochs, "losses", [name for name in _SHARES if name in logged])
    if shares:
        charts.append(epoch_curves("phi and phi_same, share of negatives dropped, memory gate", shares, 1.0))
    return charts


def _curves(epochs: Sequence[Mapping[str, Any]], record: str, names: Sequence[str]) -> dict[str, list[float]]:
    return {name: [epoch[record][name] for epoch in epochs] for name in names}
