"""`mttsg evaluate`."""

from __future__ import annotations

import typer

from mttsg_cli import option_values, options
from mttsg_cli.command_line import command_words
from mttsg_cli.config_files import say_recipe
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.settings_file import is_typed
from mttsg_cli.tables import print_report
from mttsg_cli.writers import print_json

_SEVERAL = "'mttsg compare' takes several"


def evaluate(
    context: typer.Context,
    data: options.Data,
    model: options.Model = None,
    split: options.SplitName = "test",
    mode: options.GroundingMode = "independent",
    predictions: options.PredictionsIn = None,
    out: options.PredictionsOut = None,
    html: options.EvaluationPage = None,
    charts: options.Charts = None,
    baselines: options.Baselines = False,
    breakdown: options.Breakdown = False,
    at: options.RecallAt = "1,5",
    iou: options.RecallIou = "0.3,0.5,0.7",
    strict_iou: options.StrictIou = False,
    seed: options.BaselineSeed = 0,
    joint: options.Joint = None,
    features: options.Features = None,
    zero_shot: options.ZeroShot = False,
    encoder: options.ModelEncoder = None,
    text_encoder: options.ModelTextEncoder = None,
    fps: options.ModelFps = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Ground every sentence of a split and print the recall. A sentence without an answer counts as a miss.

    Examples:

        mttsg evaluate data/ --split val --model model --baselines --html report.html

        mttsg evaluate data/ --predictions theirs.jsonl --json
    """
    with exit_codes(), EventDisplay(Reporter(quiet=quiet, verbose=verbose)) as display:
        scored = option_values.only(predictions, "--predictions", _SEVERAL)
        features = option_values.feature_places(features, data)
        if scored and not is_typed(context, "features"):
            features = None  # a recipe names some, which predictions do not need
        require_data(data, features=features, predictions=None if model else scored)
        say_recipe(context, display.reporter)
        show_large_files(display.reporter, data)
        from mttsg_core.workflows import evaluate as workflow
        from mttsg_core.workflows.options import EvaluateOptions, FeatureOptions

        metrics = option_values.metric_config(at, iou, strict=strict_iou)
        runtime = (device, cache, offline, workers, precision)
        outputs = (html, charts, overwrite, command_words(context))
        report = workflow.evaluate(
            data,
            option_values.only(model, "--model", _SEVERAL),
            split=split,
            predictions=scored,
            features=FeatureOptions(encoder, text_encoder, fps, features=features, joint=joint),
            options=EvaluateOptions(*runtime, mode, metrics, strict, *outputs, baselines, seed, out, zero_shot),
            on_event=display.show,
        )
        if as_json:
            print_json(report.as_dict())
        else:
            print_report(report, breakdown=breakdown)
        if display.failed:
            raise typer.Exit(SOME_FAILED)
