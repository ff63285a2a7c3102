"""From frames to clip vectors and from sentences to word vectors.

An encoder is named by its id: `classic` is built in, any other is a pretrained model, see `files`. `build_encoder` and
`build_text_encoder` are the only places that turn an id into an object, so another kind of encoder is added here and
nowhere else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mttsg_core.encoders.base import ClipFeatures, Encoder, JointEncoder, TextEncoder
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.encoders.word_vectors import HashedWords, WordVectors
from mttsg_core.errors import ConfigError

if TYPE_CHECKING:
    from mttsg_core.encoders.clip import PretrainedEncoder

__all__ = [
    "ClipFeatures",
    "Encoder",
    "JointEncoder",
    "TextEncoder",
    "build_encoder",
    "build_joint_encoder",
    "build_text_encoder",
]

DEFAULT_ENCODER = "classic"
DEFAULT_TEXT_ENCODER = "hashed"
DEFAULT_PRETRAINED = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"  # 0.6 GB of safetensors, MIT licence
OWN_TEXT_TOWER = "clip"  # the text encoder that is the text tower of the video encoder


def build_encoder(encoder_id: str = DEFAULT_ENCODER, *, device: str = "cpu", offline: bool = False) -> Encoder:
    """The video encoder of that id. A process builds a pretrained one once.

    Args:
        encoder_id: `classic`, or a pretrained model with an image and a text tower: a folder, or its name on the
            Hugging Face Hub, maybe with `@REVISION`.
        device: where a pretrained model runs, see `devices.choose_device`.
        offline: never use the network.

    Raises:
        ConfigError: if there is no such encoder or device.
    """
    if encoder_id == ClassicEncoder.id:
        return ClassicEncoder()
    return _build_pretrained(encoder_id, device, offline)


def build_joint_encoder(encoder_id: str, *, device: str = "cpu", offline: bool = False) -> JointEncoder:
    """A video encoder that embeds sentences too.

    Raises:
        ConfigError: as `build_encoder`, and if it has no text tower.
    """
    encoder = build_encoder(encoder_id, device=device, offline=offline)
    if not isinstance(encoder, JointEncoder):
        raise ConfigError(f"encoder {encoder_id!r} has no text tower")
    return encoder


def build_text_encoder(
    text_id: str = DEFAULT_TEXT_ENCODER,
    *,
    encoder_id: str = DEFAULT_ENCODER,
    device: str = "cpu",
    offline: bool = False,
) -> TextEncoder:
    """The text encoder of that id.

    Args:
        text_id: `hashed`; `glove:FILE` for a file of word vectors; `clip` for the text tower of the video encoder; or a
            pretrained text model, named as in `build_encoder`.
        encoder_id: of the video encoder.
        device: where a pretrained model runs.
        offline: never use the network.

    Raises:
        ConfigError: if there is no such encoder or device.
        DataError: if the file of word vectors cannot be read.
    """
    kind, _, argument = text_id.partition(":")
    if text_id == HashedWords.id:
        return HashedWords()
    if kind == WordVectors.kind and argument:
        return WordVectors.read(argument)
    from mttsg_core.encoders.text_tower import PretrainedText, SentenceTower

    if text_id == OWN_TEXT_TOWER:
        if encoder_id == DEFAULT_ENCODER:
            raise ConfigError(f"text encoder {text_id!r} is that of the video encoder, but {encoder_id!r} has none")
        return PretrainedText(text_id, _build_pretrained(encoder_id, device, offline).text)
    from mttsg_core.encoders.hf_files import find_files
    from mttsg_core.utils.devices import choose_device

    files = find_files(text_id, "text encoder", offline=offline)
    return PretrainedText(files.id, SentenceTower(files, choose_device(device)))


@lru_cache(maxsize=2)
def _build_pretrained(encoder_id: str, device: str, offline: bool) -> PretrainedEncoder:
    from mttsg_core.encoders.clip import PretrainedEncoder
    from mttsg_core.encoders.hf_files import find_files
    from mttsg_core.utils.devices import choose_device

    return PretrainedEncoder(find_files(encoder_id, offline=offline), choose_device(device))
