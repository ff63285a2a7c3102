"""The files of charts: `--charts FOLDER` of `evaluate` and `compare`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mttsg_core.checkpoints.files import REPORT, read_json_if_any
from mttsg_core.errors import ConfigError
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.report.chart_files import FORMATS, need_matplotlib, render_chart
from mttsg_core.report.plots import (
    Plot,
    compared_recall_plots,
    compared_training_plots,
    group_plots,
    read_epochs,
    recall_plot,
    reliability_plots,
    training_plots,
)
from mttsg_core.workflows.outputs import require_folders, require_writable, save


def prepare_charts(folder: Path, *, overwrite: bool = False) -> None:
    """Check, before any work is done, that charts can be drawn and written.

    Raises:
        ConfigError: if matplotlib is missing, the folder cannot be written, or it has charts that are not to be
            replaced.
    """
    need_matplotlib()
    require_folders(folder)
    require_writable(folder)
    if not overwrite and folder.is_dir():
        existing = next((path for path in sorted(folder.iterdir()) if path.suffix[1:] in FORMATS), None)
        if existing is not None:
            raise ConfigError(f"{existing}: exists already; use --overwrite or another folder for the charts")


def write_charts(folder: Path, plots: Iterable[Plot]) -> None:
    """Write each plot in every format, replacing files of the same names.

    Raises:
        ConfigError: if a file cannot be written.
    """
    for plot in plots:
        for form in FORMATS:
            _save(folder / f"{plot.name}.{form}", render_chart(plot, form))


def evaluation_charts(report: EvaluationReport, model: Path | None) -> list[Plot]:
    """Return the plots of an evaluation, and those of the training of its model where that left any.

    Args:
        report: the results.
        model: folder of the model; None if a file or no training answered.
    """
    groups = group_plots({report.main.name: report.breakdown}, report.main.metric_config.headline)
    epochs = _epochs(model)
    plots = [recall_plot(report), *groups, *(training_plots(epochs) if epochs else [])]
    return plots if model is None else [*plots, *reliability_plots(read_json_if_any(model / REPORT))]


def comparison_charts(report: ComparisonReport, models: Mapping[str, Path]) -> list[Plot]:
    """Return the plots of a comparison.

    Args:
        report: the results.
        models: the folder of each run that is a model, by its name.
    """
    epochs = {name: read for name, folder in models.items() if (read := _epochs(folder))}
    return [
        *compared_recall_plots(report),
        *group_plots(report.breakdowns, report.metric_config.headline),
        *(compared_training_plots(epochs) if epochs else []),
    ]


def _save(path: Path, content: bytes) -> None:
    save(path, lambda part: part.write_bytes(content))


def _epochs(model: Path | None) -> Sequence[Mapping[str, Any]]:
    """Return what a training logged; nothing if the log is not at hand, as with a model of the hub."""
    if model is not None:
        with suppress(OSError, ValueError):
            return read_epochs(model)
    return ()
