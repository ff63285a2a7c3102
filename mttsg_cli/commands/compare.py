"""`mttsg compare`."""

from __future__ import annotations

import typer

from mttsg_cli import option_values
from mttsg_cli.command_line import command_words
from mttsg_cli.comparison import print_comparison, save_comparison
from mttsg_cli.config_files import recipe_line, say_recipe
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.options import common, scoring_options
from mttsg_cli.settings_file import is_typed
from mttsg_cli.systems import read_systems
from mttsg_cli.table_formats import table_format


def compare(
    context: typer.Context,
    data: common.Data,
    systems: scoring_options.Systems,
    split: scoring_options.SplitName = "test",
    mode: scoring_options.GroundingMode = "independent",
    form: scoring_options.TableFormat = None,
    decimals: scoring_options.Decimals = 2,
    out: scoring_options.TableOut = None,
    html: scoring_options.ComparisonPage = None,
    charts: scoring_options.Charts = None,
    save: scoring_options.SavedPredictions = None,
    at: scoring_options.RecallAt = "1,5",
    iou: scoring_options.RecallIou = "0.3,0.5,0.7",
    strict_iou: scoring_options.StrictIou = False,
    average_precision: scoring_options.WithMap = True,
    highlights: scoring_options.WithHighlights = True,
    features: common.Features = None,
    encoder: common.ModelEncoder = None,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    offline: common.Offline = False,
    cache: common.Cache = None,
    workers: common.Workers = None,
    strict: common.Strict = False,
    overwrite: common.Overwrite = False,
    config: common.Config = None,
    as_json: scoring_options.TableJson = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Compare models and files of predictions on the same queries, with intervals of their differences to the first.

    Examples:

        mttsg compare data/ ours=run1,run2,run3 theirs.jsonl --split val --html comparison.html

        mttsg compare data/ model baseline=baseline.jsonl --format latex --out table.tex
    """
    with exit_codes(), EventDisplay(Reporter(quiet=quiet, verbose=verbose)) as display:
        form = table_format(form, out, as_json=as_json)
        features = option_values.feature_places(features, data)
        named = read_systems(systems)
        if not is_typed(context, "features") and all(run.is_file() for runs in named.values() for run in runs):
            features = None  # a recipe names some, which predictions do not need
        require_data(data, features=features)
        say_recipe(context, display.reporter)
        show_large_files(display.reporter, data)
        from mttsg_core.workflows import compare as workflow
        from mttsg_core.workflows.options import CompareOptions, FeatureOptions
        from mttsg_core.workflows.outputs import prepare_new_file, require_distinct

        require_distinct({"--out": out, "--html": html})
        if out is not None:
            prepare_new_file(out, overwrite=overwrite)
        metrics = option_values.metric_config(
            at, iou, strict=strict_iou, precision=average_precision, highlights=highlights
        )
        runtime = (device, cache, offline, workers, precision)
        outputs = (html, charts, overwrite, command_words(context), recipe_line(context))
        report = workflow.compare(
            data,
            named,
            split=split,
            features=FeatureOptions(encoder, features=features),
            options=CompareOptions(*runtime, mode, metrics, strict, *outputs, save),
            on_event=display.show,
        )
        if out is None:
            print_comparison(report, form, decimals)
        else:
            save_comparison(report, form, decimals, out)
        if display.failed:
            raise typer.Exit(SOME_FAILED)
