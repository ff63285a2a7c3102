"""Sentences through a pretrained text model, or through the text tower of a model that also has an image tower."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mttsg_core.encoders.base import Array
from mttsg_core.encoders.hf_files import PretrainedFiles
from mttsg_core.encoders.hf_loading import load_tokenizer, load_weights
from mttsg_core.encoders.sentence_pooling import pool_tokens, read_pooling
from mttsg_core.errors import ConfigError
from mttsg_core.utils.devices import all_threads

_BATCH_SIZE = 64  # sentences
_CACHE_SIZE = 50_000  # sentences whose vectors are kept in memory
_MAX_TOKENS = 512  # where neither tokenizer nor model sets a limit
_TOLERANCE = 1e-3  # relative difference beyond which padding counts as changing a vector


class _Encoded(NamedTuple):
    words: Array  # (L, D_w)
    sentence: Array | None  # (D,), if the model has a common space


class TextTower:
    """A text model whose results are cached. The vectors of a sentence do not depend on the other sentences.

    Args:
        files: the model's files.
        device: where it runs.

    Raises:
        ConfigError: if the model cannot be loaded, or does not take text.
    """

    def __init__(self, files: PretrainedFiles, device: torch.device) -> None:
        self._device = device
        self._tokenizer = load_tokenizer(files)
        self._model = load_weights(files, device)
        self._joint = hasattr(self._model, "get_text_features")
        self._pooling = None if self._joint else read_pooling(files.folder)
        if not self._joint and self._model.main_input_name != "input_ids":
            raise ConfigError(f"{files.folder}: {type(self._model).__name__} takes no text")
        config = self._model.config
        positions = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
        limits = (self._tokenizer.model_max_length, positions, _MAX_TOKENS)
        self._max_tokens = int(min(limit for limit in limits if limit))
        self._cache: dict[str, _Encoded] = {}
        if not self._joint and config.is_encoder_decoder:
            self._model = self._model.get_encoder()
        self._pads_fully = False  # while the next line finds out
        self._pads_fully = self._attends_to_padding()

    def embed_words(self, queries: Sequence[str]) -> list[Array]:
        """Return for each sentence the last hidden states (L, D_w) of its tokens, special tokens included.

        They are not projected: the projection to the common space is trained for sentences as a whole.
        """
        return [encoded.words for encoded in self._encode(queries)]

    @property
    def embeds_sentences(self) -> bool:
        """Whether the model has a vector for a whole sentence."""
        return self._joint or self._pooling is not None

    def embed_sentences(self, queries: Sequence[str]) -> Array:
        """Return (N, D) in the model's common space. The model must have one, see `embeds_sentences`."""
        return np.stack([encoded.sentence for encoded in self._encode(queries) if encoded.sentence is not None])

    def _encode(self, queries: Sequence[str]) -> list[_Encoded]:
        new = list(dict.fromkeys(query for query in queries if query not in self._cache))
        if len(self._cache) + len(new) > _CACHE_SIZE:
            self._cache, new = {}, list(dict.fromkeys(queries))
        tokens = self._tokenizer(new, truncation=True, max_length=self._max_tokens)["input_ids"] if new else []
        by_length = sorted(zip(new, tokens, strict=True), key=lambda pair: len(pair[1]))
        for first in range(0, len(by_length), _BATCH_SIZE):
            batch = by_length[first : first + _BATCH_SIZE]
            length = self._max_tokens if self._pads_fully else len(batch[-1][1])
            states, pooled = self._forward([ids for _, ids in batch], length)
            all_words, sentences = states.cpu().numpy(), None if pooled is None else pooled.cpu().numpy()
            for row, (query, ids) in enumerate(batch):
                words = all_words[row, self._token_slice(len(ids), length)].copy()  # not the padding of a whole batch
                self._cache[query] = _Encoded(words, None if sentences is None else sentences[row].copy())
        return [self._cache[query] for query in queries]

    @torch.inference_mode()
    def _forward(self, tokens: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor | None]:
        """Return hidden states (N, length, D_w), and sentence embeddings (N, D) if the model has a common space."""
        ids = torch.full((len(tokens), length), self._tokenizer.pad_token_id or 0)  # (N, length)
        mask = torch.zeros_like(ids)
        for row, row_ids in enumerate(tokens):
            ids[row, self._token_slice(len(row_ids), length)] = torch.tensor(row_ids)
            mask[row, self._token_slice(len(row_ids), length)] = 1
        inputs: dict[str, Tensor] = {"input_ids": ids.to(self._device)}
        if "attention_mask" in self._tokenizer.model_input_names:
            inputs["attention_mask"] = mask.to(self._device)
        with all_threads():
            output = self._model.get_text_features(**inputs) if self._joint else self._model(**inputs)
        if self._pooling is not None:
            states = output.last_hidden_state
            return states, pool_tokens(states, mask.to(self._device).bool(), self._pooling)
        return output.last_hidden_state, output.pooler_output if self._joint else None

    def _token_slice(self, tokens: int, length: int) -> slice:
        """Return where the tokens of a padded sentence are. It matters only to a model that attends to padding."""
        pads_left = self._pads_fully and self._tokenizer.padding_side == "left"
        return slice(length - tokens, length) if pads_left else slice(0, tokens)

    def _attends_to_padding(self) -> bool:
        """Return whether padding changes the vectors: such a model (SigLIP) was trained on full-length input."""
        ids = self._tokenizer("a", truncation=True, max_length=self._max_tokens)["input_ids"]
        alone, padded = (self._forward([ids], length) for length in (len(ids), min(len(ids) + 4, self._max_tokens)))
        pairs = [(alone[0], padded[0][:, : len(ids)])]
        if alone[1] is not None and padded[1] is not None:
            pairs.append((alone[1], padded[1]))
        return any((first - second).abs().max() > _TOLERANCE * first.abs().max() for first, second in pairs)


class PretrainedTextEncoder:
    """A text encoder that takes the word vectors of a pretrained model.

    Args:
        text_id: the id that `build_text_encoder` accepts for it.
        tower: the model.
    """

    def __init__(self, text_id: str, tower: TextTower) -> None:
        self.id = text_id
        self._tower = tower

    @cached_property
    def dim(self) -> int:
        """Length of a word vector."""
        [words] = self._tower.embed_words(["a"])
        return int(words.shape[1])

    @cached_property
    def embedding_dim(self) -> int:
        """Length of the embedding of a sentence; 0 if the model has none."""
        return int(self._tower.embed_sentences(["a"]).shape[1]) if self._tower.embeds_sentences else 0

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Encode each sentence as (L, dim), cut off at the model's longest input. See `TextEncoder.encode`."""
        return self._tower.embed_words(queries)

    def embed(self, queries: Sequence[str]) -> Array:
        """Embed each sentence as a whole, (N, embedding_dim). See `SentenceEncoder.embed`."""
        return self._tower.embed_sentences(queries)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return an empty mapping: a model folder records the model's id instead."""
        return {}
