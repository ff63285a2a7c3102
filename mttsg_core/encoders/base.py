"""What every encoder offers. Arrays are NumPy here, so that extraction workers need not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mttsg_core.video.resize import Framing

Array = npt.NDArray[np.float32]
Settings = Mapping[str, str | int | float]


@dataclass(frozen=True)
class ClipFeatures:
    """Features of T clips.

    Attributes:
        clips: (T, D) one vector a clip.
        regions: (T, R, D_r) one vector for each region of the picture, or None.
    """

    clips: Array
    regions: Array | None = None


class Encoder(Protocol):
    """Turns the frames of clips into features."""

    @property
    def framing(self) -> Framing:
        """How the frames it wants are made of pictures of any shape."""
        ...

    @property
    def frames_per_clip(self) -> int:
        """How many frames, evenly spaced inside the clip, it wants of each clip."""
        ...

    @property
    def clips_at_once(self) -> int:
        """How many clips it is good to give it at a time."""
        ...

    @property
    def in_every_worker(self) -> bool:
        """Whether it is so light that each worker process has one, instead of one process encoding for all."""
        ...

    @property
    def settings(self) -> Settings:
        """Its id and every choice that shapes a feature; part of the features' fingerprint."""
        ...

    def encode(self, frames: npt.NDArray[np.uint8]) -> ClipFeatures:
        """Frames (B, frames_per_clip, height, width, 3), RGB, to features of B clips, each by itself."""
        ...


@runtime_checkable
class JointEncoder(Encoder, Protocol):
    """An encoder with a text tower: clips and sentences meet in one space."""

    def embed_queries(self, queries: Sequence[str]) -> Array:
        """(N, D) in the space of clip vectors, not normalised; each sentence by itself."""
        ...


class TextEncoder(Protocol):
    """Turns sentences into word vectors."""

    @property
    def id(self) -> str:
        """The name that `build_text_encoder` knows it by."""
        ...

    @property
    def dim(self) -> int:
        """Length of a word vector."""
        ...

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """One array (L, dim) a sentence, L >= 1. A sentence's vectors do not depend on the other sentences."""
        ...

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """What a model folder must keep so that the encoder works without its source file; empty if nothing."""
        ...
