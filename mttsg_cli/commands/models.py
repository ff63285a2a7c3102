"""`mttsg models`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mttsg_cli.console import Reporter, exit_codes
from mttsg_cli.options import common, scoring_options
from mttsg_cli.tables import MISSING, print_columns, print_lines
from mttsg_cli.writers import print_json

if TYPE_CHECKING:
    from mttsg_core.checkpoints.summary import ModelSummary

_FIGURES = ("R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")


def models(
    show: scoring_options.ShownModel = None,
    offline: common.Offline = False,
    config: common.Config = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """List the trained models on this computer, the newest first, or show what is recorded of one.

    A number in the first column is the name of a run for --model. Figures are those of the validation split.

    Examples:

        mttsg models

        mttsg models --show 3

        mttsg models --json
    """
    with exit_codes():
        from mttsg_core.workflows import models as workflow

        reporter = Reporter(quiet=quiet, verbose=verbose)
        if show is not None:
            described = workflow.describe_model(show, offline=offline)
            print_json(described) if as_json else _print_description(described)
            return
        found = workflow.list_models()
        if as_json:
            print_json({"models": [model.as_dict() for model in found]})
        elif found:
            _print_list(found)
        if not found:
            reporter.say("no model yet: train one with 'mttsg train DATA'")


def _print_list(found: list[ModelSummary]) -> None:
    """Print a line for each model, and where those are that have no number."""
    columns = ["date", "data", "videos", "encoder", "R@1≥0.5", "R@1≥0.7", "mIoU"]
    print_columns("", columns, [(_name(model), _cells(model)) for model in found], left=("data", "encoder"))
    print_lines(f"{model.name}: {model.folder}" for model in found if model.number is None)


def _name(model: ModelSummary) -> str:
    return str(model.number) if model.number is not None else model.name


def _cells(model: ModelSummary) -> list[str]:
    from mttsg_core.checkpoints.summary import encoder_name

    figures = [model.metrics.get(name) for name in _FIGURES]
    return [
        model.date or MISSING,
        model.data or MISSING,
        MISSING if model.videos is None else f"{model.videos:,}",
        MISSING if model.encoder is None else encoder_name(model.encoder).rpartition("/")[2],
        *(MISSING if value is None else f"{value:.1f}" for value in figures),
    ]


def _print_description(described: Mapping[str, Any]) -> None:
    """Print what is recorded of a model, a line each."""
    for title, table in described.items():
        print_lines(["", title] if title != "model" else [title])
        print_lines(f"  {name}: {value}" for name, value in _flat(table))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a table of tables by dotted names; what is not recorded is a dash."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", MISSING if value is None else str(value)
