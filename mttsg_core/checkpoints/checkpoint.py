"""The model folder: `config.json`, `model.safetensors`, `words.safetensors` for word vectors, `report.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from mttsg_core import __version__
from mttsg_core.config import NetworkConfig, from_mapping, to_mapping
from mttsg_core.encoders import TextEncoder, build_text_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.encoders.word_vectors import WordVectors
from mttsg_core.errors import ConfigError, ModelError, brief
from mttsg_core.modeling.calibration import UNCALIBRATED, Calibration
from mttsg_core.modeling.mktn import MKTN, build_network
from mttsg_core.utils.atomic import write_atomically

FORMAT = 5
CONFIG, WEIGHTS, WORDS, REPORT = "config.json", "model.safetensors", "words.safetensors", "report.json"


@dataclass(frozen=True)
class Model:
    """A network and what its inputs must be.

    Attributes:
        network: with trained weights.
        text_encoder: that its sentences go through.
        fingerprint: of the features that it expects.
        max_window_seconds: seconds that a video may last to be like those it was trained on; None if that is not known.
        calibration: of its scores.
    """

    network: MKTN
    text_encoder: TextEncoder
    fingerprint: Settings
    max_window_seconds: float | None = None
    calibration: Calibration = UNCALIBRATED


def save_description(folder: Path, model: Model, training: Mapping[str, Any]) -> None:
    """Write all of a model folder but its weights.

    Args:
        folder: made if missing.
        model: to describe.
        training: the settings it is trained with, for the record.
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
    }
    arrays = model.text_encoder.tensors()
    if arrays:
        write_atomically(folder / WORDS, lambda part: save_arrays(arrays, part))
    write_json(folder / CONFIG, described)


def save_weights(folder: Path, network: MKTN) -> None:
    """Write the weights of a network in one step."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(folder / WEIGHTS, lambda part: save_file(weights, part))


def load_model(folder: Path, *, device: str = "cpu", offline: bool = False) -> Model:
    """Read a model folder.

    Args:
        folder: of the model.
        device: where a pretrained text encoder runs. The network is on the CPU.
        offline: whether a pretrained text encoder must be on this computer already.

    Raises:
        ModelError: if it is missing, incomplete, damaged, or of a later format, or its text encoder is not there.
    """
    described = read_description(folder)
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder}: no weights in it: its training has not come to the end of an epoch")
    max_window_seconds = described.get("max_window_seconds")
    if not (
        max_window_seconds is None
        or (isinstance(max_window_seconds, int | float) and 0 < max_window_seconds < math.inf)
    ):
        raise damaged_model(folder, f"'max_window_seconds' in {CONFIG} is not what it should be")
    try:
        network = build_network(from_mapping(NetworkConfig, described["network"]))
        network.load_state_dict(load_file(folder / WEIGHTS))
        calibration = from_mapping(Calibration, described.get("calibration", {}))
    except (KeyError, TypeError, RuntimeError, OSError, SafetensorError, ConfigError) as error:
        raise damaged_model(folder, brief(error)) from error
    text_encoder = load_text_encoder(folder, described, device=device, offline=offline)
    return Model(network.eval(), text_encoder, described["features"], max_window_seconds, calibration)


def read_description(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model folder, with what every model has in it.

    Raises:
        ModelError: if it is missing, damaged, or of another format.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: not a model folder (no {CONFIG} in it)")
    described = read_json(folder / CONFIG)
    if described.get("format") != FORMAT:
        raise ModelError(f"{folder}: format {described.get('format')!r}, but this version reads format {FORMAT}")
    for name, kind in (("network", dict), ("text_encoder", str), ("features", dict), ("training", dict)):
        if not isinstance(described.get(name), kind):
            raise damaged_model(folder, f"{name!r} in {CONFIG} is not what it should be")
    return described


def load_text_encoder(
    folder: Path, described: Mapping[str, Any], *, device: str = "cpu", offline: bool = False
) -> TextEncoder:
    """The text encoder of a model folder.

    Args:
        folder: of the model.
        described: see `read_description`.
        device: where a pretrained one runs.
        offline: whether a pretrained one must be on this computer already.

    Raises:
        ModelError: if it is not there, or its words are damaged.
    """
    text_id, encoder_id = str(described["text_encoder"]), str(described["features"].get("encoder"))
    kind, _, name = text_id.partition(":")
    try:
        if kind == WordVectors.kind:
            return WordVectors.from_tensors(load_arrays(folder / WORDS), name)
        return build_text_encoder(text_id, encoder_id=encoder_id, device=device, offline=offline)
    except ConfigError as error:
        raise ModelError(f"{folder}: {error}") from error
    except (KeyError, ValueError, OSError, SafetensorError) as error:
        raise damaged_model(folder, brief(error)) from error


def damaged_model(folder: Path, reason: str) -> ModelError:
    """The error to raise for a model folder whose files are there, but not what they should be."""
    return ModelError(f"{folder}: damaged model folder ({reason})")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as readable JSON, in one step."""
    write_atomically(path, lambda part: part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """Read an object.

    Raises:
        ModelError: if it cannot be read or is no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: not a JSON object")
    return content
