"""A data folder to a model folder: `train` and `iter_train`."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from shlex import quote
from typing import Any, TypeAlias

import torch

from mttsg_core.checkpoints import checkpoint
from mttsg_core.checkpoints.hub import check_push, push_model
from mttsg_core.checkpoints.model_card import write_card
from mttsg_core.checkpoints.provenance import Computation
from mttsg_core.checkpoints.runs import STATE, has_state, lock_run, lock_unfinished_run, new_run, runs_folder
from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig
from mttsg_core.data.folder import DataFolder, open_data
from mttsg_core.data.folder_defaults import FolderDefaults, read_defaults
from mttsg_core.errors import ConfigError, ModelError
from mttsg_core.report import render_training_page
from mttsg_core.training import trainer
from mttsg_core.training.tensorboard import TensorBoardLog, need_tensorboard
from mttsg_core.training.trainer import EpochDone, TrainingEvent, TrainingFinished, TrainingStarted
from mttsg_core.utils.devices import device_of_rank
from mttsg_core.utils.distributed import ALONE, Ranks, join_ranks
from mttsg_core.utils.launch import errors_alike, find_launch
from mttsg_core.workflows.events import (
    Noted,
    ProgressAdvanced,
    ProgressStarted,
    Pushed,
    PushFailed,
    ReadingEvent,
    RowsSkipped,
    Warned,
)
from mttsg_core.workflows.options import AnyPath, FeatureOptions, TrainOptions
from mttsg_core.workflows.outputs import require_folders, require_writable, save
from mttsg_core.workflows.repeat import repeat_command
from mttsg_core.workflows.settings import StoppedRun, TrainingSettings
from mttsg_core.workflows.steps import OnEvent, iterate, run
from mttsg_core.workflows.threads import limited_threads
from mttsg_core.workflows.train_events import RunStarted
from mttsg_core.workflows.train_inputs import prepare_inputs
from mttsg_core.workflows.train_record import TrainingRecord

PAGE = "report.html"


@dataclass(frozen=True)
class TrainReport:
    """Outcome of `train`.

    Attributes:
        folder: the model folder.
        best_epoch: the epoch whose weights were kept.
        metrics: its figures on the validation split, in percent; empty without one.
        stopped_early: whether training ended before the last epoch because validation did not improve.
        seconds: time spent in training.
        failures: one line for each input that could not be used, and for a push that failed.
        url: address of the pushed model; None if it was not pushed.
    """

    folder: Path
    best_epoch: int
    metrics: Mapping[str, float]
    stopped_early: bool
    seconds: float
    failures: tuple[str, ...] = ()
    url: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"model": str(self.folder), "best_epoch": self.best_epoch, **self.metrics}


TrainEvent: TypeAlias = (
    ReadingEvent | RowsSkipped | Warned | Noted | RunStarted | EpochDone | TrainingFinished | Pushed | PushFailed
)
Configs: TypeAlias = tuple[
    TrainingConfig | Mapping[str, Any] | None,
    NetworkConfig | Mapping[str, Any] | None,
    LossConfig | Mapping[str, Any] | None,
]


def train(
    data: AnyPath | DataFolder,
    out: AnyPath | None = None,
    *,
    config: TrainingConfig | Mapping[str, Any] | None = None,
    network: NetworkConfig | Mapping[str, Any] | None = None,
    loss: LossConfig | Mapping[str, Any] | None = None,
    features: FeatureOptions | None = None,
    options: TrainOptions | None = None,
    on_event: OnEvent[TrainEvent] | None = None,
) -> TrainReport:
    """Train a model on a data folder and write its model folder.

    Started by `torchrun`, all of its processes train one model; rank 0 alone writes it and has events. Features that
    are missing are extracted first. A resumed run goes on with its own settings, features and text
    encoder; a setting that is given must be the same.

    Args:
        data: data folder with a split `train`, and `val` to choose the best epoch by; its path, or opened.
        out: model folder; None for a new numbered run in the user's data folder.
        config: settings of the training. A mapping names some of them; the others keep their defaults.
        network: settings of the network, likewise. The features decide `clip_dim`, `word_dim`, `region_dim` and
            `regions`.
        loss: weights of the loss terms, likewise.
        features: video and text encoder, clip rate, or external features.
        options: device, cache, resuming, overwriting, pushing; see there.
        on_event: called with each event as it happens.

    Raises:
        ConfigError: if an option or a setting cannot be used, or the model folder already has a model.
        BusyError: if another training is at work in the model folder.
        DataError: if there is nothing to train on.
        FeatureError: if there are only features that cannot be used.
        ModelError: if there is nothing to resume, or the model may not be pushed.
        TrainingError: if the loss becomes NaN or infinite, or another process of the training is lost.
        ToldError: if another process of the training has raised the error.
        MttsgError: if a file cannot be written.
    """
    return run(
        train_steps(data, out, (config, network, loss), features, options),
        on_event,
    )


def iter_train(
    data: AnyPath | DataFolder,
    out: AnyPath | None = None,
    *,
    config: TrainingConfig | Mapping[str, Any] | None = None,
    network: NetworkConfig | Mapping[str, Any] | None = None,
    loss: LossConfig | Mapping[str, Any] | None = None,
    features: FeatureOptions | None = None,
    options: TrainOptions | None = None,
) -> Iterator[TrainEvent | TrainReport]:
    """Yield the events of `train` as they happen, then its report. Arguments and errors are those of `train`."""
    return iterate(train_steps(data, out, (config, network, loss), features, options))


def train_steps(
    data: AnyPath | DataFolder,
    out: AnyPath | None,
    configs: Configs,
    features: FeatureOptions | None,
    options: TrainOptions | None,
) -> Generator[TrainEvent, None, TrainReport]:
    """Train as `train` does, step by step, with the settings of training, network and losses in one tuple."""
    features, options = features or FeatureOptions(), options or TrainOptions()
    launch = find_launch()
    with errors_alike():
        device = device_of_rank(options.device, launch)
    with nullcontext(ALONE) if launch is None else join_ranks(launch, device) as ranks:
        steps = _train_steps(data, out, configs, features, options, device, ranks)
        if ranks.is_first:
            return (yield from steps)
        return run(steps)


def _train_steps(
    data: AnyPath | DataFolder,
    out: AnyPath | None,
    configs: Configs,
    features: FeatureOptions,
    options: TrainOptions,
    device: torch.device,
    ranks: Ranks,
) -> Generator[TrainEvent, None, TrainReport]:
    """Train as one of several ranks, or alone."""
    require_folders(out, options.cache)
    with ExitStack() as locks:
        folder = None
        if ranks.is_first:
            require_writable(runs_folder() if out is None else Path(out))
            folder = _lock_folder(locks, out, options)
        folder = _folder_of_first(folder, ranks)
        stopped = StoppedRun.read(folder) if options.resume and folder is not None else None
        if stopped is not None:
            stopped.require_joint(features.joint)
            used = stopped.state.path.name
            if used != STATE.name and (stopped.folder / STATE).exists():
                yield Warned(f"{stopped.folder / STATE}: damaged; resuming from {used}, the state before it")
        path = data.path if isinstance(data, DataFolder) else Path(data)
        defaults = read_defaults(path) if stopped is None else FolderDefaults()
        settings = TrainingSettings.merge(*configs, stopped, defaults.tables)
        if settings.notes:
            yield Noted(f"renamed settings: {'; '.join(settings.notes)}")
        _check_extras(options)
        with limited_threads(device):
            opened = open_data(data, features.features)
            for is_own_turn in ranks.take_turns():
                if is_own_turn:
                    arguments = opened, stopped, settings.max_clips, features, options, device, defaults
                    inputs = yield from prepare_inputs(*arguments)
            if folder is None and ranks.is_first:
                folder = new_run()
                locks.enter_context(lock_run(folder))
            folder = _folder_of_first(folder, ranks)
            if folder is None:
                raise RuntimeError("the first process named no folder")
            training = trainer.train(
                inputs.training,
                inputs.validation,
                folder,
                inputs.text_encoder,
                settings,
                device=device,
                resume=None if stopped is None else stopped.state,
                declared=inputs.declared,
                ranks=ranks,
            )
            if not ranks.is_first:
                return _report_of(folder, _last_of(training), inputs.failures)
            repeat = repeat_command(opened, folder, settings, features, inputs, defaults, str(device))
            record = TrainingRecord.start(
                opened,
                features.features,
                inputs,
                Computation.starting(options.command, device=str(device), threads=torch.get_num_threads()),
                seed=settings.training.seed,
                repeat=repeat if stopped is None else stopped.repeat,
            )
            yield from record.warnings(settings.training.calibration_sentences)
            finished = yield from _follow(training, folder, device, record, tensorboard=options.tensorboard)
            return (yield from _finish(folder, finished, inputs.failures, record, options))


def _lock_folder(locks: ExitStack, out: AnyPath | None, options: TrainOptions) -> Path | None:
    """Return the model folder, locked until `locks` is closed; None if a new numbered run is to be made.

    Raises:
        BusyError: if another training is at work in it.
        ConfigError: if a training would replace its files without being asked to.
        ModelError: if there is no stopped run to resume.
    """
    if out is None:
        return lock_unfinished_run(locks) if options.resume else None
    folder = Path(out)
    locks.enter_context(lock_run(folder))
    if not (options.resume or options.overwrite):
        _require_unused(folder)
    return folder


def _finish(
    folder: Path,
    finished: TrainingFinished,
    failures: tuple[str, ...],
    record: TrainingRecord,
    options: TrainOptions,
) -> Generator[TrainEvent, None, TrainReport]:
    """Write the card and the page of a trained model, record it, push it if `options` say so, and say what is next."""
    record.provenance.save(folder, finished.seconds)
    is_default = options.remember and record.remember(folder)
    write_card(folder, options.push, overwrite=options.overwrite)
    page = render_training_page(folder)
    save(folder / PAGE, lambda part: part.write_text(page, encoding="utf-8"))
    url = None
    if options.push is not None:
        pushed = _push(folder, options.push)
        yield pushed
        if isinstance(pushed, Pushed):
            url = pushed.url
        else:
            failures = (*failures, pushed.reason)
    yield from record.next_steps(folder, is_default=is_default)
    return _report_of(folder, finished, failures, url)


def _report_of(
    folder: Path, finished: TrainingFinished, failures: tuple[str, ...], url: str | None = None
) -> TrainReport:
    metrics, stopped_early = finished.metrics, finished.stopped_early
    return TrainReport(folder, finished.best_epoch, metrics, stopped_early, finished.seconds, failures, url)


def _last_of(training: Iterable[TrainingEvent]) -> TrainingFinished:
    """Train to the end, and return the last event."""
    [last] = deque(training, maxlen=1)
    if not isinstance(last, TrainingFinished):
        raise RuntimeError("the training ended without its last event")
    return last


def _folder_of_first(folder: Path | None, ranks: Ranks) -> Path | None:
    """Return the model folder that rank 0 has, on every rank."""
    text = ranks.text_of_first("" if folder is None else str(folder.absolute()))
    return folder if ranks.is_first else Path(text) if text else None


def _require_unused(folder: Path) -> None:
    """Raise ConfigError if a training would replace files of the folder.

    What a training leaves that was stopped before it saved anything is not worth keeping.
    """
    if not (folder / checkpoint.WEIGHTS).exists() and not has_state(folder) and _is_description(folder):
        return
    if (folder / checkpoint.CONFIG).exists():
        raise ConfigError(f"{folder}: already has a model; use --resume or --overwrite")
    for name in (checkpoint.WEIGHTS, checkpoint.WORDS, checkpoint.REPORT, trainer.LOG, str(STATE), PAGE):
        if (folder / name).exists():
            raise ConfigError(f"{folder}: already has {name}; use another folder or --overwrite")


def _is_description(folder: Path) -> bool:
    """Return whether the `config.json` of a folder was written by a training."""
    try:
        checkpoint.read_description(folder)
    except ModelError:
        return False
    return True


def _check_extras(options: TrainOptions) -> None:
    """Raise, before hours of training, if TensorBoard is missing or the model may not be pushed."""
    if options.tensorboard:
        need_tensorboard()
    if options.push is not None:
        if options.offline:
            raise ConfigError("--push needs the network, which --offline forbids")
        check_push(options.push)


def _follow(
    training: Iterable[TrainingEvent],
    folder: Path,
    device: torch.device,
    record: TrainingRecord,
    *,
    tensorboard: bool,
) -> Generator[TrainEvent, None, TrainingFinished]:
    """Pass on the events of a training, write where it comes from, and its epochs to TensorBoard if `tensorboard`."""
    left = 0  # epochs
    with TensorBoardLog(folder / "tensorboard") if tensorboard else nullcontext() as log:
        for event in training:
            if isinstance(event, TrainingStarted):
                record.provenance.save(folder)
                values = {item.name: getattr(event, item.name) for item in fields(event)}
                yield RunStarted(**values, folder=folder, device=str(device))
                left = event.epochs - event.epoch
                yield ProgressStarted("training", event.epochs, event.epoch)
            elif isinstance(event, EpochDone):
                if log is not None:
                    log.write(event)
                left -= 1
                yield event
                yield ProgressAdvanced("training")
            else:
                if left:
                    yield ProgressAdvanced("training", left)
                yield event
                return event
    raise RuntimeError("the training ended without its last event")


def _push(folder: Path, repo: str) -> Pushed | PushFailed:
    """Push a finished model; a failure costs nothing but the push."""
    try:
        return Pushed(push_model(folder, repo))
    except ModelError as error:
        command = f"hf upload {repo} {quote(str(folder))} . --exclude 'state/*'"
        return PushFailed(folder, f"{error}; the model in {folder} is complete, push it later with: {command}")
