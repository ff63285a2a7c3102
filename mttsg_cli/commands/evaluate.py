"""`mttsg evaluate`."""

from __future__ import annotations

import typer

from mttsg_cli import option_values
from mttsg_cli.command_line import command_words
from mttsg_cli.config_files import recipe_line, say_recipe
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.options import common, scoring_options
from mttsg_cli.settings_file import is_typed
from mttsg_cli.table_formats import PREDICTION_FORMATS
from mttsg_cli.tables import print_report
from mttsg_cli.writers import print_json
from mttsg_core.errors import ConfigError

_SEVERAL = "'mttsg compare' takes several"


def evaluate(
    context: typer.Context,
    data: common.Data,
    model: common.Model = None,
    split: scoring_options.SplitName = "test",
    mode: scoring_options.GroundingMode = "independent",
    predictions: scoring_options.PredictionsIn = None,
    out: scoring_options.PredictionsOut = None,
    form: scoring_options.PredictionForm = PREDICTION_FORMATS[0],
    html: scoring_options.EvaluationPage = None,
    charts: scoring_options.Charts = None,
    baselines: scoring_options.Baselines = False,
    breakdown: scoring_options.Breakdown = False,
    at: scoring_options.RecallAt = "1,5",
    iou: scoring_options.RecallIou = "0.3,0.5,0.7",
    strict_iou: scoring_options.StrictIou = False,
    seed: scoring_options.BaselineSeed = 0,
    joint: common.Joint = None,
    features: common.Features = None,
    zero_shot: common.ZeroShot = False,
    encoder: common.ModelEncoder = None,
    text_encoder: common.ModelTextEncoder = None,
    fps: common.ModelFps = None,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    offline: common.Offline = False,
    cache: common.Cache = None,
    workers: common.Workers = None,
    strict: common.Strict = False,
    overwrite: common.Overwrite = False,
    config: common.Config = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Ground every sentence of a split and print the recall. A sentence without an answer counts as a miss.

    Examples:

        mttsg evaluate data/ --split val --model model --baselines --html report.html

        mttsg evaluate data/ --predictions theirs.jsonl --json

        mttsg evaluate data/ --split test --out submission.jsonl --format qvhighlights
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

        if out is None and is_typed(context, "form"):
            raise ConfigError("--format: is the form of the predictions; name their file with --out FILE")
        metrics = option_values.metric_config(at, iou, strict=strict_iou)
        runtime = (device, cache, offline, workers, precision)
        outputs = (html, charts, overwrite, command_words(context), recipe_line(context))
        report = workflow.evaluate(
            data,
            option_values.only(model, "--model", _SEVERAL),
            split=split,
            predictions=scored,
            features=FeatureOptions(encoder, text_encoder, fps, features=features, joint=joint),
            options=EvaluateOptions(*runtime, mode, metrics, strict, *outputs, baselines, seed, out, zero_shot, form),
            on_event=display.show,
        )
        if as_json:
            print_json(report.as_dict())
        else:
            print_report(report, breakdown=breakdown)
        if display.failed:
            raise typer.Exit(SOME_FAILED)
