"""Sentences of a joint model: their words, preceded by the embedding of the whole sentence in the space of clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mttsg_core.encoders.base import Array, TextEncoder, sentence_encoder


class JointTextEncoder:
    """A text encoder whose first word vector is the sentence as a whole, in the space that it shares with clips.

    Words and sentence are padded with zeros to the width of the wider of both.

    Args:
        encoder: that embeds words and sentences.

    Raises:
        ConfigError: if it does not embed sentences.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder = sentence_encoder(encoder)
        self.id = encoder.id
        self.embedding_dim = encoder.embedding_dim
        self.dim = max(encoder.dim, encoder.embedding_dim)

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Encode each sentence as (1 + L, dim), the sentence first. See `TextEncoder.encode`."""
        if not queries:
            return []
        sentences = self._encoder.embed(queries)  # (N, D)
        return [
            np.concatenate([_pad(sentence[None], self.dim), _pad(words, self.dim)])
            for sentence, words in zip(sentences, self._encoder.encode(queries), strict=True)
        ]

    def embed(self, queries: Sequence[str]) -> Array:
        """Embed each sentence as a whole, (N, embedding_dim)."""
        return self._encoder.embed(queries)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what the encoder itself stores in a model folder."""
        return self._encoder.tensors()


def _pad(vectors: Array, width: int) -> Array:
    """Append zeros to vectors (L, D) up to `width`."""
    padded: Array = np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))
    return padded
