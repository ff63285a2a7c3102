"""The model folder: `config.json`, `model.safetensors`, `words.safetensors`, `familiarity.json`, `report.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from mttsg_core import __version__
from mttsg_core.checkpoints.files import (
    CONFIG,
    FAMILIARITY,
    REPORT,
    WEIGHTS,
    WORDS,
    read_json,
    read_json_if_any,
    write_json,
)
from mttsg_core.checkpoints.migration import FORMAT, OLD_FORMAT, upgrade_description
from mttsg_core.checkpoints.trial_run import useless_reason
from mttsg_core.checkpoints.weights import load_network
from mttsg_core.config import NetworkConfig, TrainingConfig, from_mapping, to_mapping, with_earlier_values
from mttsg_core.data.familiarity import Familiarity
from mttsg_core.encoders import OWN_TEXT_TOWER, TextEncoder, build_text_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.encoders.word_vectors import HashedWords, WordVectors
from mttsg_core.errors import ConfigError, ModelError, error_summary
from mttsg_core.features.declared import DeclaredFeatures
from mttsg_core.features.fingerprint import fingerprint_fault, is_extracted
from mttsg_core.modeling.calibration import UNCALIBRATED, Calibration
from mttsg_core.modeling.mktn import MKTN
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.text import shorten

# What reading a model folder raises if a file in it is damaged.
_DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, OSError, SafetensorError, ConfigError)
_MAX_SECONDS = 1e9
DECLARED = "declared"  # the entry of `config.json` on features made elsewhere
_SHOWN = 60  # characters of a value in a message

__all__ = ["CONFIG", "REPORT", "WEIGHTS", "WORDS", "Model", "load_model", "read_json", "write_json"]


@dataclass(frozen=True)
class Model:
    """A network and what its inputs must be.

    Attributes:
        network: with trained weights.
        text_encoder: of its sentences.
        fingerprint: of the features that it expects.
        max_window_seconds: longest video that is like those it was trained on; None if that is unknown.
        calibration: of its scores.
        familiarity: what it was trained on, for lower scores elsewhere; None for models of earlier versions.
        declared: what features made elsewhere are, so that videos can be asked about; None if nobody said so.
    """

    network: MKTN
    text_encoder: TextEncoder
    fingerprint: Settings
    max_window_seconds: float | None = None
    calibration: Calibration = UNCALIBRATED
    familiarity: Familiarity | None = None
    declared: DeclaredFeatures | None = None

    @property
    def encoder_id(self) -> str:
        """The id of the video encoder, that of declared features included."""
        return str(self.fingerprint.get("encoder") if self.declared is None else self.declared.encoder)

    @property
    def is_calibrated(self) -> bool:
        """Whether its scores are probabilities that can be compared across videos."""
        return self.calibration != UNCALIBRATED


def save_description(folder: Path, model: Model, training: Mapping[str, Any]) -> None:
    """Write all of a model folder but its weights.

    Args:
        folder: created if missing.
        model: to describe.
        training: the settings it is trained with, for the record.

    Raises:
        OSError: if it cannot be written.
    """
    described = {
        "format": FORMAT,
        "mttsg": __version__,
        "features": dict(model.fingerprint),
        "max_window_seconds": model.max_window_seconds,
        "calibration": to_mapping(model.calibration),
        "text_encoder": model.text_encoder.id,
        "network": to_mapping(model.network.config),
        "training": dict(training),
        **({} if model.declared is None else {DECLARED: to_mapping(model.declared)}),
    }
    arrays = model.text_encoder.tensors()
    if arrays:
        write_atomically(folder / WORDS, lambda part: save_arrays(arrays, part), durable=True)
    if model.familiarity is not None:
        write_json(folder / FAMILIARITY, model.familiarity.as_dict())
    write_json(folder / CONFIG, described)


def save_weights(folder: Path, network: MKTN) -> None:
    """Write the weights of a network in one step."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(folder / WEIGHTS, lambda part: save_file(weights, part), durable=True)


def load_model(folder: Path, *, device: str = "cpu", offline: bool = False) -> Model:
    """Read a model folder, of the present format or the one before.

    Args:
        folder: of the model.
        device: where a pretrained text encoder runs. The network is on the CPU.
        offline: whether a pretrained text encoder must be on this computer already.

    Raises:
        ModelError: if it is missing, incomplete, damaged, or of another format, or its text encoder is not available.
    """
    described, is_old = _read_description(folder)
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder}: it has no weights: its training has not finished an epoch")
    window = described.get("max_window_seconds")
    if not (window is None or _is_duration(window)):
        raise damaged_model(folder, f"'max_window_seconds' in {CONFIG} is not a positive number of seconds")
    try:
        calibration = _calibration(folder, described)
        config = from_mapping(NetworkConfig, with_earlier_values("network", described["network"]))
        network = load_network(folder / WEIGHTS, config, upgrade=is_old).eval()
        useless = useless_reason(network)
        familiarity = _familiarity(folder, config)
        declared = declared_features(described)
    except _DAMAGE as error:
        raise damaged_model(folder, error_summary(error)) from error
    if useless is not None:
        raise damaged_model(folder, f"{WEIGHTS}: {useless}")
    text_encoder = load_text_encoder(folder, described, device=device, offline=offline)
    if text_encoder.dim != config.word_dim:
        raise damaged_model(
            folder,
            f"its text encoder has vectors of {text_encoder.dim} numbers, but its network reads {config.word_dim}",
        )
    return Model(network, text_encoder, described["features"], window, calibration, familiarity, declared)


def _familiarity(folder: Path, config: NetworkConfig) -> Familiarity | None:
    """Return what a model was trained on, or None if it does not record that.

    Raises:
        KeyError, TypeError, ValueError: if the record is damaged, or of other features.
        ModelError: if it cannot be read.
    """
    if not (folder / FAMILIARITY).is_file():
        return None
    familiarity = Familiarity.from_dict(read_json(folder / FAMILIARITY))
    if len(familiarity.center) != config.clip_dim:
        raise ValueError(f"{FAMILIARITY} has {len(familiarity.center)} numbers a clip, the network {config.clip_dim}")
    return familiarity


def _calibration(folder: Path, described: Mapping[str, Any]) -> Calibration:
    """Return the calibration of a model. That of an earlier version does not count if it was fitted on too little.

    Raises:
        ConfigError: if it is damaged.
    """
    calibration = from_mapping(Calibration, described.get("calibration", {}))
    if "calibration_sentences" not in described["training"]:
        sentences = read_json_if_any(folder / REPORT).get("validation_pairs")
        if isinstance(sentences, int) and sentences < TrainingConfig.calibration_sentences:
            return UNCALIBRATED
    return calibration


def declared_features(described: Mapping[str, Any]) -> DeclaredFeatures | None:
    """Return what the features of a model were declared to be, or None.

    Args:
        described: see `read_description`.

    Raises:
        ConfigError: if that is damaged.
    """
    return from_mapping(DeclaredFeatures, described[DECLARED]) if DECLARED in described else None


def read_description(folder: Path) -> dict[str, Any]:
    """Read the `config.json` of a model folder, with the entries that every model has.

    Raises:
        ModelError: if it is missing, damaged, of another format, or names an encoder whose content is not fixed.
    """
    return _read_description(folder)[0]


def _read_description(folder: Path) -> tuple[dict[str, Any], bool]:
    """Return `config.json` in the present format, and whether it was in the one before."""
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: not a model folder (no {CONFIG} in it)")
    described = read_json(folder / CONFIG)
    version = described.get("format")
    is_old = version == OLD_FORMAT
    if is_old:
        described = upgrade_description(described)
    elif version != FORMAT:
        raise ModelError(
            f"{folder}: format {repr(version)[:_SHOWN]}, but this version reads formats {OLD_FORMAT} and {FORMAT}"
        )
    for name, kind in (("network", dict), ("text_encoder", str), ("features", dict), ("training", dict)):
        if not isinstance(described.get(name), kind):
            raise damaged_model(folder, f"{name!r} in {CONFIG} is missing or of the wrong type")
    try:
        declared_features(described)
    except ConfigError as error:
        raise damaged_model(folder, f"{DECLARED!r} in {CONFIG}: {error}") from error
    fault = fingerprint_fault(described["features"])
    if fault is not None:
        raise damaged_model(folder, f"'features' in {CONFIG}: {fault}")
    _check_encoders(folder, described)
    return described, is_old


def encoder_id(described: Mapping[str, Any]) -> str:
    """Return the id of the video encoder of a model, that of declared features included."""
    return str(described.get(DECLARED, described["features"]).get("encoder"))


def _check_encoders(folder: Path, described: Mapping[str, Any]) -> None:
    """Raise ModelError if loading the model could load, or download, an encoder that its author can still exchange."""
    features, text_id = described["features"], described["text_encoder"]
    names = {}
    if is_extracted(features) or text_id == OWN_TEXT_TOWER or DECLARED in described:
        names["encoder"] = encoder_id(described)
    if text_id not in (HashedWords.id, OWN_TEXT_TOWER) and not text_id.startswith(f"{WordVectors.kind}:"):
        names["text encoder"] = text_id
    for what, name in names.items():
        if name == ClassicEncoder.id:
            continue
        from mttsg_core.encoders.hf_files import is_pinned  # brings the hub's library, which built-in encoders spare

        if not is_pinned(name):
            raise ModelError(
                f"{folder}: names the {what} {shorten(name)}, whose content is not fixed: a model's encoders are built "
                "in, NAME@COMMIT or KIND#HASH"
            )


def load_text_encoder(
    folder: Path, described: Mapping[str, Any], *, device: str = "cpu", offline: bool = False
) -> TextEncoder:
    """Build the text encoder of a model folder.

    Args:
        folder: of the model.
        described: see `read_description`.
        device: where a pretrained one runs.
        offline: whether a pretrained one must be on this computer already.

    Raises:
        ModelError: if it is not available, or its words are damaged.
    """
    text_id = str(described["text_encoder"])
    kind, _, name = text_id.partition(":")
    try:
        if kind == WordVectors.kind:
            if not (folder / WORDS).is_file():
                raise damaged_model(folder, f"no {WORDS} in it")
            return WordVectors.from_tensors(load_arrays(folder / WORDS), name)
        joint = described["network"].get("joint") is True
        return build_text_encoder(
            text_id, encoder_id=encoder_id(described), device=device, offline=offline, joint=joint
        )
    except ConfigError as error:
        raise ModelError(f"{folder}: {error}") from error
    except (KeyError, ValueError, OSError, SafetensorError) as error:
        raise damaged_model(folder, error_summary(error)) from error


def damaged_model(folder: Path, reason: str) -> ModelError:
    """Return the error to raise for a model folder whose files exist but are damaged."""
    return ModelError(f"{folder}: damaged model folder ({reason})")


def _is_duration(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value < _MAX_SECONDS  # type: ignore[operator]
