"""The command that trains a model again: complete, whatever file or folder its settings came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mttsg_core.checkpoints.provenance import command_text
from mttsg_core.config import all_settings, to_mapping
from mttsg_core.config.catalogue import toml_value
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.folder_defaults import FolderDefaults
from mttsg_core.encoders import OWN_TEXT_TOWER
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.encoders.word_vectors import HashedWords
from mttsg_core.features.streams import feature_words
from mttsg_core.workflows.options import FeatureOptions
from mttsg_core.workflows.settings import TrainingSettings
from mttsg_core.workflows.train_inputs import TrainingInputs

_SEED = "training.seed"


def repeat_command(
    data: DataFolder,
    folder: Path,
    settings: TrainingSettings,
    features: FeatureOptions,
    inputs: TrainingInputs,
    defaults: FolderDefaults,
    device: str,
) -> str | None:
    """Return a command that trains the same model on the same data; on a CPU to the bit, with as many threads.

    Paths are written as `command_text` does. None if the videos were divided anew, as no command divides them.

    Args:
        data: the data folder.
        folder: of the model.
        settings: of the training.
        features: options as they were given.
        inputs: what it reads.
        defaults: of the data folder.
        device: that it is trained on.
    """
    if data.division is not None:
        return None
    words = ["mttsg", "train", str(data.path), "--out", str(folder), *_feature_words(data, features, inputs, defaults)]
    return command_text([*words, "--device", device, *_setting_words(settings, defaults)])


def _feature_words(
    data: DataFolder, features: FeatureOptions, inputs: TrainingInputs, defaults: FolderDefaults
) -> Iterator[str]:
    """Yield the options of the features. What was chosen by default is named where it could be another elsewhere."""
    chosen = {name: getattr(features, name) for name in ("encoder", "fps", "reader")}
    declared = inputs.declared
    if declared is not None:
        yield from ("--features-of", declared.encoder)
        yield from ("--bins", str(declared.bins)) if declared.bins else ("--fps", str(declared.fps))
    if features.features is not None:
        yield from feature_words(features.features)
    elif not any(path.is_relative_to(data.features) for path in inputs.training.store.files.values()):
        fingerprint = inputs.training.fingerprint  # of extracted features
        known = {name: fingerprint[name] for name in chosen if name != "encoder" or _is_fixed(fingerprint[name])}
        chosen = {name: chosen[name] or defaults.features.get(name) or known.get(name) for name in chosen}
    text_id = inputs.text_encoder.id
    chosen["text-encoder"] = (
        features.text_encoder or defaults.features.get("text_encoder") or (text_id if _is_fixed(text_id) else None)
    )
    for name, value in chosen.items():
        if value is not None:
            yield from (f"--{name}", str(value))
    if features.joint is not None:
        yield "--joint" if features.joint else "--no-joint"


def _is_fixed(encoder_id: object) -> bool:
    """Return whether an encoder's id names it on every computer, rather than a folder or a file of one."""
    return encoder_id in (ClassicEncoder.id, HashedWords.id, OWN_TEXT_TOWER) or "@" in str(encoder_id)


def _setting_words(settings: TrainingSettings, defaults: FolderDefaults) -> Iterator[str]:
    """Yield the settings that are not defaults, and those that the data folder names."""
    tables = {
        "training": to_mapping(settings.training),
        "loss": to_mapping(settings.loss),
        "network": dict(settings.network),
    }
    for setting in all_settings():
        value = tables[setting.table].get(setting.name, setting.default)
        if setting.key == _SEED:
            yield from ("--seed", str(value))
        elif value is not None and (value != setting.default or setting.name in defaults.tables[setting.table]):
            yield from ("--set", f"{setting.key}={toml_value(value)}")
