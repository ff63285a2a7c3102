"""Encoders: from frames to clip vectors, and from sentences to word vectors.

An encoder is named by its id: `classic` is built in, any other is a pretrained model (see `hf_files`). `build_encoder`
and `build_text_encoder` are the only places that turn an id into an object; a new kind of encoder is added here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mttsg_core.encoders.base import (
    DEFAULT_PRECISION,
    ClipFeatures,
    Encoder,
    JointEncoder,
    SentenceEncoder,
    TextEncoder,
)
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.encoders.word_vectors import HashedWords, WordVectors
from mttsg_core.errors import ConfigError

if TYPE_CHECKING:
    from mttsg_core.encoders.vision import VisionEncoder

__all__ = [
    "ClipFeatures",
    "Encoder",
    "JointEncoder",
    "SentenceEncoder",
    "TextEncoder",
    "build_encoder",
    "build_joint_encoder",
    "build_text_encoder",
]

DEFAULT_ENCODER = "classic"
DEFAULT_TEXT_ENCODER = "hashed"
DEFAULT_PRETRAINED = "clip"  # a short name, see `known`
DEFAULT_SENTENCES = "minilm"
OWN_TEXT_TOWER = "clip"  # the text encoder that is the video encoder's own text tower


def build_encoder(
    encoder_id: str = DEFAULT_ENCODER,
    *,
    device: str = "cpu",
    offline: bool = False,
    precision: str = DEFAULT_PRECISION,
) -> Encoder:
    """Build the video encoder with the given id. A pretrained encoder is built once per process.

    >>> build_encoder("classic").settings
    {'encoder': 'classic', 'version': 2}

    Args:
        encoder_id: `classic`, or a pretrained model of images or videos: a short name (see `known`), a folder, or a
            name on the Hugging Face Hub, optionally followed by `@REVISION`.
        device: where a pretrained model runs, see `choose_device`.
        offline: never use the network.
        precision: of a pretrained model: `float32`, `bfloat16`, or `auto` for the faster one of those that the device
            computes in, see `precision.half_type`.

    Raises:
        ConfigError: if the encoder, the device or the precision does not exist.
    """
    if encoder_id == ClassicEncoder.id:
        return ClassicEncoder()
    return _build_pretrained(encoder_id, device, offline, precision)


def build_joint_encoder(
    encoder_id: str, *, device: str = "cpu", offline: bool = False, precision: str = DEFAULT_PRECISION
) -> JointEncoder:
    """Build a video encoder that also embeds sentences; arguments as of `build_encoder`.

    Raises:
        ConfigError: if the encoder, the device or the precision does not exist, or the encoder has no text tower.
    """
    encoder = build_encoder(encoder_id, device=device, offline=offline, precision=precision)
    if not isinstance(encoder, JointEncoder):
        raise ConfigError(
            f"encoder {encoder_id!r} has no text tower: it answers only after mttsg train DATA --encoder {encoder_id}"
        )
    return encoder


def build_text_encoder(
    text_id: str = DEFAULT_TEXT_ENCODER,
    *,
    encoder_id: str = DEFAULT_ENCODER,
    device: str = "cpu",
    offline: bool = False,
    joint: bool = False,
) -> TextEncoder:
    """Build the text encoder with the given id.

    >>> [vectors] = build_text_encoder("hashed").encode(["person opens door"])
    >>> vectors.shape
    (3, 128)

    Args:
        text_id: `hashed`; `glove:FILE` for a file of word vectors; `clip` for the video encoder's own text tower; or a
            pretrained text model, named as in `build_encoder`.
        encoder_id: the video encoder.
        device: where a pretrained model runs.
        offline: never use the network.
        joint: precede the words of a sentence by its embedding as a whole, see `joint_text`.

    Raises:
        ConfigError: if the encoder or the device does not exist, or it does not embed sentences, which `joint` needs.
        DataError: if the file of word vectors cannot be read.
    """
    encoder = _build_text(text_id, encoder_id, device, offline)
    if not joint:
        return encoder
    from mttsg_core.encoders.joint_text import JointTextEncoder

    return JointTextEncoder(encoder)


def _build_text(text_id: str, encoder_id: str, device: str, offline: bool) -> TextEncoder:
    kind, _, argument = text_id.partition(":")
    if text_id == HashedWords.id:
        return HashedWords()
    if kind == WordVectors.kind and argument:
        return WordVectors.read(argument)
    from mttsg_core.encoders.clip import PretrainedVideoEncoder
    from mttsg_core.encoders.text_tower import PretrainedTextEncoder, TextTower

    if text_id == OWN_TEXT_TOWER:
        if encoder_id == DEFAULT_ENCODER:
            raise ConfigError(
                f"text encoder {text_id!r} is the text tower of the video encoder, but encoder {encoder_id!r} has none"
            )
        encoder = _build_pretrained(encoder_id, device, offline, DEFAULT_PRECISION)  # sentences are always in float32
        if not isinstance(encoder, PretrainedVideoEncoder):
            raise ConfigError(
                f"text encoder {text_id!r} is the text tower of the video encoder, but encoder {encoder_id!r} has none"
            )
        own_id = encoder.files.id  # a model records its text encoder by its content
        return PretrainedTextEncoder(text_id if own_id == encoder_id else own_id, encoder.text_tower)
    from mttsg_core.encoders.hf_files import find_files
    from mttsg_core.utils.devices import choose_device

    files = find_files(text_id, "text encoder", offline=offline)
    return PretrainedTextEncoder(files.id, TextTower(files, choose_device(device)))


@lru_cache(maxsize=2)
def _build_pretrained(encoder_id: str, device: str, offline: bool, precision: str) -> VisionEncoder:
    from mttsg_core.encoders.clip import build_pretrained
    from mttsg_core.encoders.hf_files import find_files
    from mttsg_core.encoders.precision import parse_precision
    from mttsg_core.utils.devices import choose_device

    return build_pretrained(find_files(encoder_id, offline=offline), choose_device(device), parse_precision(precision))
