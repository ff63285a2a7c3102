"""Interfaces of video and text encoders. Arrays are NumPy here, so that extraction workers need not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import ConfigError
from mttsg_core.video.resize import FrameTransform

Array = npt.NDArray[np.float32]
Settings = Mapping[str, str | int | float]
Precision = Literal["auto", "float32", "bfloat16"]  # of a pretrained encoder, see `precision`

DEFAULT_PRECISION: Precision = "float32"

VISION_ONLY = "vision_only"  # in the settings of pretrained encoders without a text tower


@dataclass(frozen=True)
class ClipFeatures:
    """The features of T clips.

    Attributes:
        clips: (T, D) one vector per clip.
        regions: (T, R, D_r) one vector per region of the frame, or None.
    """

    clips: Array
    regions: Array | None = None


class Encoder(Protocol):
    """A video encoder: turns the frames of clips into features."""

    @property
    def frame_transform(self) -> FrameTransform:
        """The resize and crop that frames of any shape need before they are encoded."""
        ...

    @property
    def frames_per_clip(self) -> int:
        """Number of frames per clip, evenly spaced inside it."""
        ...

    @property
    def clip_batch_size(self) -> int:
        """Number of clips that are best encoded in one call."""
        ...

    @property
    def runs_in_workers(self) -> bool:
        """Whether the encoder is light enough for one instance per worker process, not one for all of them."""
        ...

    @property
    def settings(self) -> Settings:
        """The encoder's id and every choice that affects feature values; part of the features' fingerprint."""
        ...

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        """Encode RGB frames (B, frames_per_clip, height, width, 3) into the features of B independent clips."""
        ...


@runtime_checkable
class JointEncoder(Encoder, Protocol):
    """A video encoder with a text tower: clips and sentences share one embedding space."""

    def embed_queries(self, queries: Sequence[str]) -> Array:
        """Embed N sentences, independently, as (N, D) in the space of the clip vectors; not normalised."""
        ...


class TextEncoder(Protocol):
    """A text encoder: turns sentences into word vectors."""

    @property
    def id(self) -> str:
        """The id that `build_text_encoder` accepts for it."""
        ...

    @property
    def dim(self) -> int:
        """Length of a word vector."""
        ...

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Encode each sentence, independently, as an array (L, dim) with L >= 1."""
        ...

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what a model folder must store so that the encoder works without its source file; may be empty."""
        ...


@runtime_checkable
class SentenceEncoder(TextEncoder, Protocol):
    """A text encoder that may also embed whole sentences, such as the text tower of CLIP or a sentence encoder."""

    @property
    def embedding_dim(self) -> int:
        """Length of the embedding of a sentence; 0 if it only has word vectors."""
        ...

    def embed(self, queries: Sequence[str]) -> Array:
        """Embed N sentences, independently, as (N, embedding_dim)."""
        ...


def sentence_encoder(encoder: TextEncoder) -> SentenceEncoder:
    """Return a text encoder that embeds whole sentences.

    Raises:
        ConfigError: if it embeds only words.
    """
    if not isinstance(encoder, SentenceEncoder) or not encoder.embedding_dim:
        raise ConfigError(f"text encoder {encoder.id!r} embeds words, but not whole sentences")
    return encoder
