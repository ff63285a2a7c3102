"""`mttsg train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from mttsg_cli import option_values, options
from mttsg_cli.command_line import command_words
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.settings_file import config_tables
from mttsg_cli.writers import print_json
from mttsg_core.config import NetworkConfig, upgrade_settings


def train(
    context: typer.Context,
    data: options.TrainingData,
    out: options.ModelOut = None,
    epochs: options.Epochs = None,
    batch_videos: options.BatchVideos = None,
    queries_per_video: options.QueriesPerVideo = None,
    lr: options.LearningRate = None,
    without: options.Without = None,
    resume: options.Resume = False,
    push: options.Push = None,
    overwrite: options.Overwrite = False,
    encoder: options.Encoder = None,
    text_encoder: options.TextEncoder = None,
    fps: options.Fps = None,
    reader: options.Reader = None,
    joint: options.Joint = None,
    features: options.Features = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    seed: options.TrainingSeed = None,
    workers: options.Workers = None,
    strict: options.Strict = False,
    tensorboard: options.TensorBoard = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a model on a data folder. It becomes the default model for videos below the same folder.

    Examples:

        mttsg train data/ --out model --epochs 60 --push ada/kitchen-moments

        mttsg train data/ --out model --resume
    """
    with exit_codes(), EventDisplay(Reporter(quiet=quiet, verbose=verbose)) as display:
        require_data(data, features=features)
        show_large_files(display.reporter, data)
        from mttsg_core.workflows import train as workflow
        from mttsg_core.workflows.options import FeatureOptions, TrainOptions

        training = option_values.given(
            epochs=epochs, batch_videos=batch_videos, queries_per_video=queries_per_video, lr=lr, seed=seed
        )
        runtime = (device, cache, offline, workers, precision)
        report = workflow.train(
            data,
            out,
            **_configs(context, training, without or [], display.reporter),
            features=FeatureOptions(encoder, text_encoder, fps, reader, features, joint),
            options=TrainOptions(*runtime, resume, overwrite, strict, tensorboard, push, command_words(context)),
            on_event=display.show,
        )
        if as_json:
            print_json(report.as_dict())
        if report.failures:
            raise typer.Exit(SOME_FAILED)


def _configs(
    context: typer.Context, training: Mapping[str, Any], without: Sequence[str], reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """Return the settings of the --config file, with those of the options. Raises ConfigError for an unknown part."""
    tables = config_tables(context)
    switches, notes = upgrade_settings("network", dict.fromkeys(without, False))
    if notes:
        reporter.say(f"renamed parts: {'; '.join(notes)}")
    return {
        "config": {**tables["training"], **training},
        "network": {**tables["network"], **NetworkConfig.switched_off(switches)},
        "loss": tables["loss"],
    }
