"""The page of a training run: losses and validation by epoch, and how reliable the scores are."""

from __future__ import annotations

from pathlib import Path

from mttsg_core.checkpoints.files import PROVENANCE, REPORT, read_json, read_json_if_any
from mttsg_core.modeling.calibration import Bin
from mttsg_core.report.charts import draw, reliability_plot
from mttsg_core.report.layout import render_page
from mttsg_core.report.plots import read_epochs, training_plots


def render_training_page(folder: Path) -> str:
    """Return the page of a finished model folder as HTML.

    Raises:
        ModelError: if its report cannot be read.
        OSError: if its log cannot be read.
    """
    report = read_json(folder / REPORT)
    reliability = report.get("confidence") or {}
    return render_page(
        "training.html.j2",
        name=folder.name,
        made=_provenance(folder),
        report=report,
        curves=[draw(plot) for plot in training_plots(read_epochs(folder))],
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
        f"Features: {features['fingerprint']['encoder']}, {features['digest'][:19]}…" if features else "",
        f"Command: {record['command']}" if record.get("command") else "",
        f"To repeat: {record['repeat']}" if record.get("repeat") else "",
        f"Started {record.get('started')} on {record.get('device')} with {record.get('threads', '?')} CPU threads, "
        f"seed {record.get('seed')}, with mttsg {record.get('mttsg')}{commit} and torch {record.get('torch')}",
    ]
    return [line for line in lines if line]
