"""`mttsg train`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mttsg_cli import options
from mttsg_cli.commands.extract import run_extraction
from mttsg_cli.console import SOME_FAILED, Reporter, exit_codes
from mttsg_cli.writers import need_folders, print_json, save
from mttsg_core.config import NetworkConfig, TrainingConfig
from mttsg_core.utils.text import count

if TYPE_CHECKING:
    from mttsg_core.data.dataset import Dataset
    from mttsg_core.data.feature_lookup import ResolvedSplits
    from mttsg_core.data.folder import DataFolder
    from mttsg_core.encoders import TextEncoder
    from mttsg_core.encoders.base import Settings
    from mttsg_core.training.trainer import EpochDone, TrainingEvent, TrainingFinished

_DEFAULT = TrainingConfig()
_PAGE = "report.html"


class _Begun(NamedTuple):
    """A run that goes on: its folder, and what it was started with."""

    folder: Path
    described: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> _Begun:
        """Raises ModelError if there is nothing to go on with."""
        from mttsg_core.checkpoints.checkpoint import read_description
        from mttsg_core.training.trainer import find_state

        find_state(folder)
        return cls(folder, read_description(folder))

    @property
    def features(self) -> Settings:
        """How its features were made."""
        made: Settings = self.described["features"]
        return made

    def tables(self) -> dict[str, dict[str, Any]]:
        """Its settings by the tables of a `--config` file."""
        training, network = dict(self.described["training"]), dict(self.described["network"])
        for decided in ("clip_dim", "word_dim", "region_dim", "regions"):  # by the features
            network.pop(decided, None)
        return {"loss": training.pop("loss", {}), "training": training, "network": network}


def train(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data folder: train.jsonl and videos/ or features/.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Model folder. Default: a new numbered run.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the videos. Default: enough for them.")
    ] = None,
    batch_videos: Annotated[
        int | None, typer.Option("--batch-videos", min=1, help=f"Videos a step. Default: {_DEFAULT.batch_videos}.")
    ] = None,
    queries_per_video: Annotated[
        int | None,
        typer.Option(
            "--queries-per-video",
            min=1,
            help=f"Sentences of one video in a step, at most. Default: {_DEFAULT.queries_per_video}.",
        ),
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help=f"Largest learning rate. Default: {_DEFAULT.lr:g}.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="|".join(NetworkConfig.SWITCHES), help="Switch a part off (repeatable)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the stopped run in --out.")] = False,
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="USER/NAME",
            help="Push the finished model to the Hugging Face Hub. Whether you may is asked before the training.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    encoder: options.Encoder = None,
    text_encoder: options.TextEncoder = None,
    fps: options.Fps = None,
    reader: options.Reader = None,
    features: options.Features = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    cache: options.Cache = None,
    seed: Annotated[int | None, typer.Option("--seed", help=f"Of everything random. Default: {_DEFAULT.seed}.")] = None,
    workers: options.Workers = None,
    strict: options.Strict = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events below the model folder (optional extra).")
    ] = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a model on a data folder. The newest finished run is the default model of the other commands.

    Examples:

        mttsg train data/

        mttsg train data/ --out model --epochs 60 --seed 1

        mttsg train data/ --out model --resume

        mttsg train data/ --push ada/kitchen-moments
    """
    with exit_codes():
        from mttsg_core.checkpoints.hub import check_push
        from mttsg_core.checkpoints.model_card import write_card
        from mttsg_core.checkpoints.runs import new_run, unfinished_run
        from mttsg_core.config import LossConfig, from_mapping
        from mttsg_core.data import feature_lookup as data_sources
        from mttsg_core.data.folder import DataFolder
        from mttsg_core.errors import ConfigError
        from mttsg_core.features.store import FeatureCache
        from mttsg_core.report import render_training_page
        from mttsg_core.training import trainer as training
        from mttsg_core.training.tensorboard import need_tensorboard
        from mttsg_core.utils.devices import choose_device, limit_threads
        from mttsg_core.utils.paths import default_cache

        reporter = Reporter(quiet=quiet, verbose=verbose)
        model_folder = out or (unfinished_run() if resume else None)
        need_folders(model_folder, cache)
        if model_folder is not None and not resume and not overwrite:
            _need_room(model_folder)
        tables = options.config_tables(context)
        began = _Begun.read(model_folder) if resume and model_folder is not None else None
        if began is not None:
            tables = {name: {**own, **tables[name]} for name, own in began.tables().items()}
        chosen = options.given(
            epochs=epochs, batch_videos=batch_videos, queries_per_video=queries_per_video, lr=lr, seed=seed
        )
        recipe = from_mapping(TrainingConfig, {**tables["training"], **chosen})
        weights = from_mapping(LossConfig, tables["loss"])
        switches = NetworkConfig.switched_off(without or [])
        run_device = choose_device(device)
        limit_threads(run_device)
        if tensorboard:
            need_tensorboard()
        if push is not None:
            if offline:
                raise ConfigError("--push needs the network, which --offline forbids")
            check_push(push)
        folder = DataFolder.open(data, features)
        splits = _splits(folder)
        if began is not None and features is None and not options.given(encoder=encoder, fps=fps, reader=reader):
            wanted = began.features
        else:
            wanted = data_sources.wanted_features(
                folder,
                splits,
                named=features is not None,
                encoder=encoder,
                fps=fps,
                reader=reader,
                offline=offline,
            )
        sources = data_sources.resolve_splits(
            folder, splits, FeatureCache(cache or default_cache()), wanted, strict=strict
        )
        options.report_problems(reporter, sources.problems)
        text = _text_encoder(data, began, text_encoder, wanted, device=str(run_device), offline=offline)
        settings = (
            data_sources.extraction_settings_for(wanted, device=str(run_device), offline=offline)
            if sources.jobs
            else None
        )
        failures = 0 if settings is None else len(run_extraction(sources.jobs, settings, reporter, workers=workers))
        network = {**tables["network"], **switches}
        max_clips = from_mapping(NetworkConfig, {**network, "clip_dim": 0, "word_dim": 0}).max_clips
        learned = sources.dataset("train", max_clips)
        validation = sources.dataset("val") if "val" in splits else None
        failures += _report_unusable(sources, learned, validation, reporter)
        model_folder = model_folder or new_run()
        events = training.train(
            learned,
            validation,
            model_folder,
            text,
            network=network,
            loss=weights,
            config=recipe,
            device=run_device,
            resume=resume,
        )
        finished = _follow(events, model_folder, str(run_device), reporter, tensorboard=tensorboard)
        stopped = ", stopped early" if finished.stopped_early else ""
        reporter.say(f"kept epoch {finished.best_epoch}{stopped}, {finished.seconds:.0f} s of training: {model_folder}")
        write_card(model_folder, push, overwrite=overwrite)
        page = render_training_page(model_folder)
        save(model_folder / _PAGE, lambda part: part.write_text(page, encoding="utf-8"))
        if as_json:
            print_json({"model": str(model_folder), "best_epoch": finished.best_epoch, **finished.metrics})
        if push is not None:
            failures += not _push(model_folder, push, reporter)
        if failures:
            raise typer.Exit(SOME_FAILED)


def _splits(folder: DataFolder) -> list[str]:
    """The splits that a training takes. Raises DataError if there is none to learn from."""
    from mttsg_core.errors import DataError

    if "train" not in folder.splits:
        raise DataError(f"{folder.path}: no train split; there is {', '.join(sorted(folder.splits))}")
    return [name for name in ("train", "val") if name in folder.splits]


def _report_unusable(sources: ResolvedSplits, learned: Dataset, validation: Dataset | None, reporter: Reporter) -> int:
    """Say which features cannot be used and what that costs each split; returns how many videos that are."""
    for reason in sources.unusable:
        reporter.error(reason)
    for dataset, lost in ((learned, "left out"), (validation, "counted as missed")):
        if dataset is not None and dataset.without_features:
            sentences = f"{dataset.without_features} of {count(len(dataset.pairs), 'sentence')}"
            reporter.warn(f"{dataset.name}: {sentences} without features, {lost}")
    return len(sources.unusable)


def _follow(
    events: Iterable[TrainingEvent], folder: Path, device: str, reporter: Reporter, *, tensorboard: bool
) -> TrainingFinished:
    """Say what happens in a training, until it is over."""
    from mttsg_core.training.tensorboard import TensorBoardLog
    from mttsg_core.training.trainer import EpochDone, TrainingStarted

    with (
        TensorBoardLog(folder / "tensorboard") if tensorboard else nullcontext() as log,
        reporter.progress(None, "Training") as bar,
    ):
        for event in events:
            if isinstance(event, TrainingStarted):
                bar.expect(event.epochs)
                reporter.say(
                    f"training on {count(event.videos, 'video')} with {count(event.pairs, 'sentence')}, "
                    f"{event.parameters / 1e6:.2f} M parameters, {device}, into {folder}"
                )
                if event.clipped:
                    reporter.say(f"{count(event.clipped, 'moment')} clipped to the end of the video")
                if event.outside:
                    reporter.warn(f"{count(event.outside, 'moment')} outside the video, left out (see mttsg check)")
                bar.advance(event.epoch)
            elif isinstance(event, EpochDone):
                bar.advance()
                reporter.say(_epoch_line(event))
                if log is not None:
                    log.write(event)
            else:
                return event
    raise RuntimeError("a training ended without saying so")


def _need_room(folder: Path) -> None:
    """Raise ConfigError if a training would replace files of the folder."""
    from mttsg_core.checkpoints import checkpoint
    from mttsg_core.errors import ConfigError
    from mttsg_core.training import trainer as training

    if (folder / checkpoint.CONFIG).exists():
        raise ConfigError(f"{folder}: holds a model already; use --resume or --overwrite")
    for name in (checkpoint.WEIGHTS, checkpoint.WORDS, checkpoint.REPORT, training.LOG, str(training.STATE), _PAGE):
        if (folder / name).exists():
            raise ConfigError(f"{folder}: holds {name} already; use another folder or --overwrite")


def _push(folder: Path, repo: str, reporter: Reporter) -> bool:
    """Push a finished model, or say why not and how to do it later."""
    from mttsg_core.checkpoints.hub import push_model
    from mttsg_core.errors import ModelError

    try:
        reporter.say(f"pushed: {push_model(folder, repo)}")
    except ModelError as error:
        later = f"hf upload {repo} {quote(str(folder))} . --exclude 'state/*'"
        reporter.error(f"{error}; the model is complete in {folder}: push it later with: {later}")
        return False
    return True


def _text_encoder(
    data: Path, began: _Begun | None, asked: str | None, features: Settings, *, device: str, offline: bool
) -> TextEncoder:
    """What is asked for, or was when the run began; else what goes with the features and the data."""
    from mttsg_core.checkpoints.checkpoint import load_text_encoder
    from mttsg_core.data.feature_lookup import default_text_encoder
    from mttsg_core.encoders import OWN_TEXT_TOWER, build_text_encoder
    from mttsg_core.errors import ConfigError
    from mttsg_core.features.store import EXTERNAL

    if began is not None and asked is None:
        return load_text_encoder(began.folder, began.described, device=device, offline=offline)
    if asked == OWN_TEXT_TOWER and features["encoder"] == EXTERNAL:
        raise ConfigError(f"--text-encoder {asked}: the features do not say whose text tower; name the model itself")
    text_id = default_text_encoder(data, features) if asked is None else asked
    return build_text_encoder(text_id, encoder_id=str(features["encoder"]), device=device, offline=offline)


def _epoch_line(event: EpochDone) -> str:
    """epoch 3: loss 2.10 | R@1,IoU=0.5 61.2 | ... *"""
    parts = [f"epoch {event.epoch}: loss {event.losses['total']:.3f}"]
    shown = ("R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")
    parts += [f"{name} {event.metrics[name]:.1f}" for name in shown if name in event.metrics]
    return " | ".join(parts) + (" *" if event.best else "") + f" ({event.seconds:.1f} s)"
