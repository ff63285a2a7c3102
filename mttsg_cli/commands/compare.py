"""`mttsg compare`."""

from __future__ import annotations

import typer

from mttsg_cli import option_values, options
from mttsg_cli.command_line import command_words
from mttsg_cli.comparison import print_comparison, save_comparison
from mttsg_cli.config_files import say_recipe
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.systems import read_systems
from mttsg_cli.table_formats import table_format


def compare(
    context: typer.Context,
    data: options.Data,
    systems: options.Systems,
    split: options.SplitName = "test",
    mode: options.GroundingMode = "independent",
    form: options.TableFormat = None,
    decimals: options.Decimals = 2,
    out: options.TableOut = None,
    html: options.ComparisonPage = None,
    charts: options.Charts = None,
    save: options.SavedPredictions = None,
    at: options.RecallAt = "1,5",
    iou: options.RecallIou = "0.3,0.5,0.7",
    strict_iou: options.StrictIou = False,
    average_precision: options.WithMap = True,
    features: options.Features = None,
    encoder: options.ModelEncoder = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    as_json: options.TableJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare models and files of predictions on the same queries, with intervals of their differences to the first.

    Examples:

        mttsg compare data/ ours=run1,run2,run3 theirs.jsonl --split val --html comparison.html

        mttsg compare data/ model baseline=baseline.jsonl --format latex --out table.tex
    """
    with exit_codes(), EventDisplay(Reporter(quiet=quiet, verbose=verbose)) as display:
        form = table_format(form, out, as_json=as_json)
        features = option_values.feature_places(features, data)
        require_data(data, features=features)
        named = read_systems(systems)
        say_recipe(context, display.reporter)
        show_large_files(display.reporter, data)
        from mttsg_core.workflows import compare as workflow
        from mttsg_core.workflows.options import CompareOptions, FeatureOptions
        from mttsg_core.workflows.outputs import prepare_new_file, require_distinct

        require_distinct({"--out": out, "--html": html})
        if out is not None:
            prepare_new_file(out, overwrite=overwrite)
        metrics = option_values.metric_config(at, iou, strict=strict_iou, precision=average_precision)
        runtime = (device, cache, offline, workers, precision)
        outputs = (html, charts, overwrite, command_words(context))
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
