"""From frames to clip vectors and from sentences to word vectors.

An encoder is named by its id: `classic` is built in. `build_encoder` and `build_text_encoder` are the only places
that turn an id into an object, so another kind of encoder is added here and nowhere else.
"""

from __future__ import annotations

from mttsg_core.encoders.base import ClipFeatures, Encoder, TextEncoder
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.encoders.text import HashedWords, WordVectors
from mttsg_core.errors import ConfigError

__all__ = ["ClipFeatures", "Encoder", "TextEncoder", "build_encoder", "build_text_encoder"]

DEFAULT_ENCODER = "classic"
DEFAULT_TEXT_ENCODER = "hashed"


def build_encoder(encoder_id: str = DEFAULT_ENCODER) -> Encoder:
    """The video encoder of that id.

    Raises:
        ConfigError: if there is no such encoder.
    """
    if encoder_id == ClassicEncoder.id:
        return ClassicEncoder()
    raise ConfigError(f"unknown encoder {encoder_id!r}: this version has {ClassicEncoder.id!r}")


def build_text_encoder(text_id: str = DEFAULT_TEXT_ENCODER) -> TextEncoder:
    """The text encoder of that id: `hashed`, or `glove:FILE` for a file of word vectors.

    Raises:
        ConfigError: if there is no such encoder.
        DataError: if the file of word vectors cannot be read.
    """
    kind, _, argument = text_id.partition(":")
    if text_id == HashedWords.id:
        return HashedWords()
    if kind == WordVectors.kind and argument:
        return WordVectors.read(argument)
    raise ConfigError(f"unknown text encoder {text_id!r}: use {HashedWords.id!r} or '{WordVectors.kind}:FILE'")
