"""`mttsg train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mttsg_cli import option_values
from mttsg_cli.command_line import command_words
from mttsg_cli.config_files import say_recipe
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.options import common, training_options
from mttsg_cli.settings_file import is_typed, merge_settings, parse_settings
from mttsg_cli.writers import print_json
from mttsg_core.errors import ConfigError
from mttsg_core.utils.launch import errors_alike, is_first_process

if TYPE_CHECKING:
    from mttsg_core.workflows.options import FeatureOptions, TrainOptions
    from mttsg_core.workflows.train import TrainReport
    from mttsg_core.workflows.train_seeds import SeedsReport


def train(
    context: typer.Context,
    data: common.TrainingData,
    out: training_options.ModelOut = None,
    epochs: training_options.Epochs = None,
    batch_videos: training_options.BatchVideos = None,
    queries_per_video: training_options.QueriesPerVideo = None,
    lr: training_options.LearningRate = None,
    network: training_options.Network = None,
    without: training_options.Without = None,
    assigned: training_options.Set = None,
    resume: training_options.Resume = False,
    push: training_options.Push = None,
    overwrite: common.Overwrite = False,
    encoder: common.Encoder = None,
    text_encoder: common.TextEncoder = None,
    fps: common.Fps = None,
    reader: common.Reader = None,
    joint: common.Joint = None,
    features: common.Features = None,
    features_of: common.FeaturesOf = None,
    bins: common.Bins = None,
    device: common.Device = "auto",
    precision: common.Precision = "auto",
    offline: common.Offline = False,
    cache: common.Cache = None,
    seed: training_options.TrainingSeed = None,
    seeds: training_options.Seeds = None,
    workers: common.Workers = None,
    strict: common.Strict = False,
    tensorboard: training_options.TensorBoard = False,
    config: common.Config = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> None:
    """Train a model on a data folder. It becomes the default model for videos below the same folder.

    Examples:

        mttsg train data/ --out model --epochs 60 --push ada/kitchen-moments

        mttsg train data/ --out model --resume

        mttsg train data/ --out runs --seeds 3 --set loss.contrast=0.5

        torchrun --nproc-per-node 4 -m mttsg_cli train data/ --out model
    """
    is_first = is_first_process()  # of those that torchrun started, or the only one
    reporter = Reporter(quiet=quiet or not is_first, verbose=verbose and is_first)
    with exit_codes(), EventDisplay(reporter) as display:
        with errors_alike():
            features = option_values.feature_places(features, data)
            require_data(data, features=features)
            say_recipe(context, display.reporter)
            show_large_files(display.reporter, data)
            training = option_values.given(
                epochs=epochs, batch_videos=batch_videos, queries_per_video=queries_per_video, lr=lr, seed=seed
            )
            assignments, left_out = parse_settings(assigned or []), option_values.parts(without or [])
            settings = merge_settings(
                context, training, left_out, assignments, display.reporter, option_values.given(network=network)
            )
        from mttsg_core.workflows import train as workflow
        from mttsg_core.workflows.options import FeatureOptions, TrainOptions

        chosen = FeatureOptions(encoder, text_encoder, fps, reader, features, joint, features_of, bins)
        runtime = (device, cache, offline, workers, precision)
        made = TrainOptions(*runtime, resume, overwrite, strict, tensorboard, push, command_words(context))
        has_seed = is_typed(context, "seed") or any(one[:2] == ("training", "seed") for one in assignments)
        report: TrainReport | SeedsReport
        if seeds is None:
            report = workflow.train(data, out, **settings, features=chosen, options=made, on_event=display.show)
        else:
            with errors_alike():
                report = _train_seeds(data, out, seeds, has_seed, settings, chosen, made, display)
        if as_json and is_first:
            print_json(report.as_dict())
        if report.failures:
            raise typer.Exit(SOME_FAILED)


def _train_seeds(
    data: Path,
    out: Path | None,
    seeds: str,
    has_seed: bool,
    settings: dict[str, dict[str, Any]],
    features: FeatureOptions,
    options: TrainOptions,
    display: EventDisplay,
) -> SeedsReport:
    """Train with several seeds. Raises ConfigError if there is no folder for them, or a seed is given as well."""
    from mttsg_core.workflows.options import SeedsOptions
    from mttsg_core.workflows.train_seeds import train_seeds

    if out is None:
        raise ConfigError("--seeds: name the folder of the runs with --out")
    if has_seed:
        raise ConfigError("--seeds: a seed is given as well; name all of them with --seeds")
    with_seeds = SeedsOptions(**vars(options), seeds=option_values.seed_list(seeds))
    return train_seeds(data, out, **settings, features=features, options=with_seeds, on_event=display.show)
