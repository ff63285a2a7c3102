"""`mttsg train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mttsg_cli import option_values, options
from mttsg_cli.command_line import command_words
from mttsg_cli.config_files import say_recipe
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.display import EventDisplay, show_large_files
from mttsg_cli.inputs import require_data
from mttsg_cli.settings_file import is_typed, merge_settings, parse_settings
from mttsg_cli.writers import print_json
from mttsg_core.errors import ConfigError

if TYPE_CHECKING:
    from mttsg_core.workflows.options import FeatureOptions, TrainOptions
    from mttsg_core.workflows.train import TrainReport
    from mttsg_core.workflows.train_seeds import SeedsReport


def train(
    context: typer.Context,
    data: options.TrainingData,
    out: options.ModelOut = None,
    epochs: options.Epochs = None,
    batch_videos: options.BatchVideos = None,
    queries_per_video: options.QueriesPerVideo = None,
    lr: options.LearningRate = None,
    network: options.Network = None,
    without: options.Without = None,
    assigned: options.Set = None,
    resume: options.Resume = False,
    push: options.Push = None,
    overwrite: options.Overwrite = False,
    encoder: options.Encoder = None,
    text_encoder: options.TextEncoder = None,
    fps: options.Fps = None,
    reader: options.Reader = None,
    joint: options.Joint = None,
    features: options.Features = None,
    features_of: options.FeaturesOf = None,
    bins: options.Bins = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    seed: options.TrainingSeed = None,
    seeds: options.Seeds = None,
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

        mttsg train data/ --out runs --seeds 3 --set loss.contrast=0.5
    """
    with exit_codes(), EventDisplay(Reporter(quiet=quiet, verbose=verbose)) as display:
        features = option_values.feature_places(features, data)
        require_data(data, features=features)
        say_recipe(context, display.reporter)
        show_large_files(display.reporter, data)
        from mttsg_core.workflows import train as workflow
        from mttsg_core.workflows.options import FeatureOptions, TrainOptions

        training = option_values.given(
            epochs=epochs, batch_videos=batch_videos, queries_per_video=queries_per_video, lr=lr, seed=seed
        )
        assignments = parse_settings(assigned or [])
        settings = merge_settings(
            context, training, without or [], assignments, display.reporter, option_values.given(network=network)
        )
        chosen = FeatureOptions(encoder, text_encoder, fps, reader, features, joint, features_of, bins)
        runtime = (device, cache, offline, workers, precision)
        made = TrainOptions(*runtime, resume, overwrite, strict, tensorboard, push, command_words(context))
        has_seed = is_typed(context, "seed") or any(one[:2] == ("training", "seed") for one in assignments)
        report: TrainReport | SeedsReport
        if seeds is None:
            report = workflow.train(data, out, **settings, features=chosen, options=made, on_event=display.show)
        else:
            report = _train_seeds(data, out, seeds, has_seed, settings, chosen, made, display)
        if as_json:
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
