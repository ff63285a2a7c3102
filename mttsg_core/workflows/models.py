"""The trained models on this computer: `list_models`, and what is recorded of one: `describe_model`."""

from __future__ import annotations

from typing import Any

from mttsg_core.checkpoints.files import CONFIG, PROVENANCE, REPORT, read_json, read_json_if_any
from mttsg_core.checkpoints.registry import finished_runs, roots_of
from mttsg_core.checkpoints.summary import ModelSummary, summarise
from mttsg_core.workflows.options import AnyPath


def list_models() -> list[ModelSummary]:
    """Return the finished models on this computer, the newest first."""
    return [summarise(run.folder) for run in finished_runs()]


def describe_model(model: AnyPath, *, offline: bool = False) -> dict[str, Any]:
    """Return what is recorded of a model, ready for JSON.

    Args:
        model: a folder, the number of a run, `last`, or `user/name` on the Hugging Face Hub.
        offline: use a model of the hub only if it was downloaded before.

    Returns:
        `model`, a summary; `here`, the folders of its data on this computer, as far as they are known; `provenance`,
        where it comes from, which models of earlier versions do not record; `report` of its training; and the
        `settings` that shape its network and its inputs.

    Raises:
        ModelError: if there is no such model.
    """
    from mttsg_core.checkpoints.hub import find_model

    folder = find_model(model, offline=offline)
    settings = read_json(folder / CONFIG)
    report = read_json_if_any(folder / REPORT)
    return {
        "model": summarise(folder).as_dict(),
        "here": {"data": [str(root) for root in roots_of(folder)]},
        "provenance": read_json_if_any(folder / PROVENANCE),
        "report": {name: value for name, value in report.items() if not isinstance(value, dict)},
        "settings": settings,
    }
