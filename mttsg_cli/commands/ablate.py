"""`mttsg ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from mttsg_cli import option_values
from mttsg_cli.command_line import command_words
from mttsg_cli.comparison import print_comparison
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.options import common, scoring_options, training_options
from mttsg_cli.settings_file import merge_settings, parse_settings, parse_variations
from mttsg_cli.table_formats import table_format


def ablate(
    context: typer.Context,
    data: common.TrainingData,
    out: training_options.AblationOut = Path("ablation"),
    without: training_options.WithoutVariant = None,
    assigned: training_options.SetVariants = None,
    seeds: training_options.AblationSeeds = "3",
    folds: training_options.Folds = 0,
    share: training_options.Share = None,
    split: training_options.AblationSplit = None,
    epochs: training_options.Epochs = None,
    batch_videos: training_options.BatchVideos = None,
    lr: training_options.LearningRate = None,
    form: training_options.AblationFormat = None,
    decimals: scoring_options.Decimals = 2,
    at: scoring_options.RecallAt = "1,5",
    iou: scoring_options.RecallIou = "0.3,0.5,0.7",
    average_precision: scoring_options.WithMap = False,
    encoder: common.Encoder = None,
    text_encoder: common.TextEncoder = None,
    fps: common.Fps = None,
    reader: common.Reader = None,
    joint: common.Joint = None,
    features: common.Features = None,
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
    """Train variants of the method with several seeds, and compare each with the whole method.

    The same command goes on where it was stopped, and prints finished runs at once, in any --format.

    Examples:

        mttsg ablate data/ --seeds 3

        mttsg ablate data/ --without contrast --without objects,activities --folds 5 --seeds 1

        mttsg ablate data/ --set loss.contrast=0.1,0.3,0.6 --share 0.25 --format latex
    """
    with exit_codes(), EventDisplay(Reporter(quiet=quiet, verbose=verbose)) as display:
        form = table_format(form, None, as_json=as_json)
        fixed, varied = parse_variations(assigned or [])
        features = option_values.feature_places(features, data)
        require_data(data, features=features)
        show_large_files(display.reporter, data)
        from mttsg_core.workflows import ablate as workflow
        from mttsg_core.workflows.options import AblateOptions, FeatureOptions

        training = option_values.given(epochs=epochs, batch_videos=batch_videos, lr=lr)
        planned: dict[str, Any] = {"without": option_values.parts_lists(without or []), "vary": varied}
        planned |= {"seeds": option_values.seed_list(seeds), "folds": folds, "share": share, "split": split}
        report = workflow.ablate(
            data,
            out,
            **merge_settings(context, training, [], parse_settings(fixed), display.reporter),
            features=FeatureOptions(encoder, text_encoder, fps, reader, features, joint),
            options=AblateOptions(
                *(device, cache, offline, workers, precision),
                **planned,
                metrics=option_values.metric_config(
                    at, iou, strict=False, precision=average_precision, highlights=False
                ),
                strict=strict,
                overwrite=overwrite,
                command=command_words(context),
            ),
            on_event=display.show,
        )
        print_comparison(report.comparison, form, decimals)
        display.reporter.say(f"runs and figures: {out}")
        if report.failures or display.failed:
            raise typer.Exit(SOME_FAILED)
