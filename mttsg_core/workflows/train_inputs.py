"""The features and the text encoder of a training: chosen, and extracted where they are missing."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from mttsg_core.checkpoints.checkpoint import declared_features
from mttsg_core.data import feature_lookup
from mttsg_core.data.dataset import Dataset
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.folder_defaults import FolderDefaults
from mttsg_core.encoders import OWN_TEXT_TOWER, TextEncoder, build_text_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ConfigError, DataError, FeatureError
from mttsg_core.features.declared import DeclaredFeatures, declare_features
from mttsg_core.features.extraction import Extracted, ExtractionFailed, ExtractionPassedOver, ExtractionProgress
from mttsg_core.features.settings import ExtractionSettings
from mttsg_core.features.store import EXTERNAL
from mttsg_core.utils.text import count
from mttsg_core.workflows.events import InputFailed, ProgressStarted, RowsSkipped, Warned
from mttsg_core.workflows.extract import extract_jobs
from mttsg_core.workflows.options import FeatureOptions, TrainOptions
from mttsg_core.workflows.settings import StoppedRun
from mttsg_core.workflows.shared_space import with_shared_space

_InputEvent: TypeAlias = (
    ProgressStarted
    | Extracted
    | ExtractionProgress
    | ExtractionFailed
    | ExtractionPassedOver
    | InputFailed
    | RowsSkipped
    | Warned
)


@dataclass(frozen=True)
class TrainingInputs:
    """The data that a training reads.

    Attributes:
        training: the training split.
        validation: the validation split; None without one.
        text_encoder: of the sentences.
        failures: one line for each input that could not be used.
        declared: what features made elsewhere are; None if nobody said so.
    """

    training: Dataset
    validation: Dataset | None
    text_encoder: TextEncoder
    failures: tuple[str, ...]
    declared: DeclaredFeatures | None = None


def prepare_inputs(
    folder: DataFolder,
    stopped: StoppedRun | None,
    max_clips: int,
    features: FeatureOptions,
    options: TrainOptions,
    device: torch.device,
    defaults: FolderDefaults,
) -> Generator[_InputEvent, None, TrainingInputs]:
    """Choose the features and the text encoder, and extract what is missing.

    Args:
        folder: the data folder.
        stopped: the run to resume, whose features and text encoder are used; None for a new one.
        max_clips: reduce the features of longer training videos to this many clips.
        features: what is asked for.
        options: device, cache and network access.
        device: of a pretrained encoder.
        defaults: of the data folder, for what is not asked for.

    Raises:
        DataError: if there is nothing to train on.
        FeatureError: if there are only features that cannot be used.
        ConfigError: if an encoder cannot be used.
    """
    splits = _training_splits(folder)
    folder.require_media()
    if stopped is not None and features.features is None and not features.extraction and not features.features_of:
        fingerprint = stopped.features
    else:
        fingerprint = feature_lookup.choose_fingerprint(
            folder,
            splits,
            from_folder=features.features is not None or features.features_of is not None,
            encoder=features.encoder,
            fps=None if features.features_of else features.fps,
            reader=features.reader,
            defaults={name: value for name, value in defaults.features.items() if name != "text_encoder"},
            offline=options.offline,
        )
    sources = feature_lookup.resolve_splits(folder, splits, options.feature_cache(), fingerprint, strict=options.strict)
    if sources.problems:
        yield RowsSkipped(sources.problems)
    text_id = features.text_encoder or defaults.features.get("text_encoder")
    training = None if sources.jobs else sources.dataset("train", max_clips)
    declared = _declared(features, stopped, training, max_clips, options, str(device))
    made = fingerprint
    if declared is not None:
        made = declared.extraction(offline=options.offline, precision=options.precision).fingerprint()
    text_encoder = _text_encoder(folder.path, text_id, stopped, made, options, str(device))  # before a long extraction
    failures: list[str] = []
    if training is None:
        settings = feature_lookup.extraction_settings_for(
            fingerprint, device=str(device), offline=options.offline, precision=options.precision
        )
        if settings is not None:
            failures += yield from extract_jobs(sources.jobs, settings, workers=options.workers)
        training = sources.dataset("train", max_clips)
    wanted = features.joint
    if wanted is None and stopped is not None:
        wanted = stopped.description["network"].get("joint") is True
    text_encoder = with_shared_space(text_encoder, training, wanted)
    validation = sources.dataset("val") if "val" in splits else None
    yield from map(InputFailed, sources.unusable)
    for dataset, consequence in ((training, "left out"), (validation, "counted as missed")):
        if dataset is not None and dataset.without_features:
            sentences = f"{dataset.without_features} of {count(len(dataset.pairs), 'sentence')}"
            yield Warned(f"{dataset.name}: {sentences} without features, {consequence}")
    return TrainingInputs(training, validation, text_encoder, (*failures, *sources.unusable), declared)


def _declared(
    features: FeatureOptions,
    stopped: StoppedRun | None,
    training: Dataset | None,
    max_clips: int,
    options: TrainOptions,
    device: str,
) -> DeclaredFeatures | None:
    """Return what the features are declared to be, as given or as in the stopped run. Raises as `declare_features`."""
    if features.features_of is None:
        return None if stopped is None else declared_features(stopped.description)
    settings = ExtractionSettings(
        features.features_of, device=device, offline=options.offline, precision=options.precision
    )
    if training is None:
        raise FeatureError("--features-of: the features record how they were made")
    videos = (training.store.load(video) for video in training.by_video())
    return declare_features(settings, features.bins, features.fps, videos, max_clips)


def _training_splits(folder: DataFolder) -> list[str]:
    """Return the splits that a training uses. Raises DataError if there is none to train on."""
    if "train" not in folder.splits:
        raise DataError(f"{folder.path}: no train split, only {', '.join(sorted(folder.splits))}")
    return [name for name in ("train", "val") if name in folder.splits]


def _text_encoder(
    data: Path,
    text_id: str | None,
    stopped: StoppedRun | None,
    fingerprint: Settings,
    options: TrainOptions,
    device: str,
) -> TextEncoder:
    """Return the text encoder that is given, else that of the stopped run, else the default one for the features."""
    if text_id is None and stopped is not None:
        return stopped.text_encoder(device=device, offline=options.offline)
    if text_id == OWN_TEXT_TOWER and fingerprint["encoder"] == EXTERNAL:
        raise ConfigError(
            f"--text-encoder {text_id}: the features do not record whose text tower that is; name the model itself"
        )
    if text_id is None:
        text_id = feature_lookup.default_text_encoder(data, fingerprint, offline=options.offline)
    return build_text_encoder(text_id, encoder_id=str(fingerprint["encoder"]), device=device, offline=options.offline)
