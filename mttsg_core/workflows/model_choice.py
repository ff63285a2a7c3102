"""Which model answers: a named one, the newest run that fits the videos, or a pretrained encoder without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mttsg_core.checkpoints.registry import LAST, FinishedRun, finished_runs, fitting_run, run_number
from mttsg_core.checkpoints.summary import encoder_name, summarise
from mttsg_core.encoders import DEFAULT_ENCODER, DEFAULT_PRETRAINED
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ConfigError, ModelError
from mttsg_core.features.store import EXTERNAL
from mttsg_core.features.streams import parse_streams
from mttsg_core.workflows.options import AnyPath, FeatureOptions

_TRAIN = "mttsg train DATA"


@dataclass(frozen=True)
class ModelChoice:
    """The model that answers.

    Attributes:
        folder: of the model; None for an answer without training.
        line: says in one line which model it is, with what a user can type to name it.
        about: the same for pages, which others may read: without folders of this computer.
    """

    folder: Path | None
    line: str
    about: str


@dataclass(frozen=True)
class TrainedChoice(ModelChoice):
    """A trained model."""

    folder: Path


def choose_for_videos(
    model: AnyPath | None, videos: Sequence[Path], features: FeatureOptions, *, offline: bool = False
) -> ModelChoice:
    """Choose the model that answers sentences about videos.

    Args:
        model: a model by name, see `hub.find_model`; None chooses.
        videos: video files and folders that are asked about.
        features: an encoder answers without training; external features need a trained model.
        offline: use a model of the hub only if it was downloaded before.

    Raises:
        ModelError: if the named model does not exist, or there is no model for external features.
    """
    if model is not None:
        return _named(model, offline=offline)
    encoder = None if features.encoder == DEFAULT_ENCODER else features.encoder
    if encoder is not None:
        return without_training(encoder)
    external = _external(features)
    run = fitting_run(videos, *external)
    if run is not None:
        return _of_run(run)
    if external:
        raise ModelError(f"{external[0][0]}: external features need a model, and {_no_model()}")
    runs = finished_runs()
    why = f"No model was trained on these videos (--model {_last(runs[0])})" if runs else "No model of your own yet"
    return without_training(features.encoder or DEFAULT_PRETRAINED, why)


def choose_for_data(
    model: AnyPath | None, data: Path, features: FeatureOptions, *, offline: bool = False
) -> TrainedChoice:
    """Choose the model to evaluate on a data folder.

    Args:
        model: a model by name, see `hub.find_model`; None chooses.
        data: the data folder.
        features: external features, which the model may have been trained on.
        offline: use a model of the hub only if it was downloaded before.

    Raises:
        ModelError: if the named model does not exist, or none was trained on this data.
    """
    if model is not None:
        return _named(model, offline=offline)
    external = _external(features)
    videos = data / "videos"
    run = fitting_run([data], *([[videos]] if videos.exists() else []), *external)
    if run is None:
        raise ModelError(f"{data}: {_no_model()}")
    return _of_run(run)


def choose_zero_shot(model: AnyPath | None, features: FeatureOptions, fingerprint: Settings | None) -> ModelChoice:
    """Return what answers without training because the user asked for that.

    Args:
        model: must be None.
        features: a pretrained encoder, or the text encoder whose space external features share.
        fingerprint: of features at hand, or None.

    Raises:
        ConfigError: if a model is named as well.
    """
    if model is not None:
        raise ConfigError(f"--model {model} and --zero-shot: give one of them")
    if fingerprint is not None and fingerprint["encoder"] == EXTERNAL:
        return without_training(features.text_encoder or EXTERNAL)
    own = None if fingerprint is None else str(fingerprint["encoder"])
    return without_training(features.encoder or own or DEFAULT_PRETRAINED)


def without_training(encoder_id: str, why: str = "") -> ModelChoice:
    """Return a pretrained encoder that answers without training.

    Args:
        encoder_id: of the encoder.
        why: no trained model answers; empty if the user asked for it.
    """
    about = f"{encoder_name(encoder_id)}, without training"
    if not why:
        return ModelChoice(None, f"model: {about}", about)
    line = f"{why}: using {encoder_name(encoder_id)} without training; to train one: {_TRAIN}"
    return ModelChoice(None, line, about)


def _named(model: AnyPath, *, offline: bool) -> TrainedChoice:
    from mttsg_core.checkpoints.hub import find_model

    folder = find_model(model, offline=offline)
    if Path(model) != folder:  # a number, `last`, or a name of the hub
        run = next((run for run in finished_runs() if run.folder == folder), None)
        if run is not None or run_number(folder) is not None:
            return _of_run(run or FinishedRun(folder))
        line = summarise(folder).describe(str(model))
        return TrainedChoice(folder, f"model: {line}", line)
    summary = summarise(folder)
    return TrainedChoice(folder, f"model: {summary.describe(str(model))}", summary.describe())


def _of_run(run: FinishedRun) -> TrainedChoice:
    summary = summarise(run.folder)
    name = summary.name if run.number is not None else _shown(run.folder)
    return TrainedChoice(run.folder, f"model: {summary.describe(name)}", summary.describe())


def _external(features: FeatureOptions) -> list[list[Path]]:
    """Return the folders of external features, as places that a model may have been trained on; empty without any."""
    return [] if features.features is None else [[stream.folder for stream in parse_streams(features.features)]]


def _no_model() -> str:
    """Say that no model fits, and what can be done about it."""
    runs = finished_runs()
    if not runs:
        return f"no model yet: train one with '{_TRAIN}', or name one with --model DIR"
    others = f"{_last(runs[0])}; 'mttsg models' lists {len(runs)}" if len(runs) > 1 else _last(runs[0])
    return f"no model was trained on it: name one with --model ({others}), or train one with '{_TRAIN}'"


def _last(newest: FinishedRun) -> str:
    summary = summarise(newest.folder)
    name = summary.name if newest.number is not None else _shown(newest.folder)
    return f"{LAST} is {name}" + (f", trained on {summary.data}" if summary.data else "")


def _shown(folder: Path) -> str:
    """Return a folder as a user would type it here: relative if it is below the working folder."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
