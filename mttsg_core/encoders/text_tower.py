"""Sentences through a pretrained text model, or the text tower of one with an image tower too."""

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
from mttsg_core.errors import ConfigError
from mttsg_core.utils.devices import all_threads

_AT_ONCE = 64
_HELD = 50_000  # sentences whose vectors are kept
_LONGEST = 512  # tokens, where neither tokenizer nor model has a limit
_TOLERANCE = 1e-3


class _Encoded(NamedTuple):
    words: Array  # (L, D_w)
    sentence: Array | None  # (D,), where the model has a common space


class SentenceTower:
    """The vectors of sentences, kept in memory once they are made. A sentence's do not depend on the others.

    Args:
        files: of the model.
        device: where it runs.

    Raises:
        ConfigError: if the model cannot be loaded, or takes no sentences.
    """

    def __init__(self, files: PretrainedFiles, device: torch.device) -> None:
        self._device = device
        self._tokenizer = load_tokenizer(files)
        self._model = load_weights(files, device)
        self._joint = hasattr(self._model, "get_text_features")
        if not self._joint and self._model.main_input_name != "input_ids":
            raise ConfigError(f"{files.folder}: {type(self._model).__name__} takes no sentences")
        config = self._model.config
        positions = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
        limits = (self._tokenizer.model_max_length, positions, _LONGEST)
        self._most_tokens = int(min(limit for limit in limits if limit))
        self._held: dict[str, _Encoded] = {}
        if not self._joint and config.is_encoder_decoder:
            self._model = self._model.get_encoder()
        self._pads_fully = False  # until it is known
        self._pads_fully = self._looks_at_padding()

    def words(self, queries: Sequence[str]) -> list[Array]:
        """For each sentence (L, D_w): the last hidden states of its tokens, the first and the last, special ones too.

        They are not projected: the projection to the common space is made for the sentence as a whole.
        """
        return [encoded.words for encoded in self._encoded(queries)]

    def sentences(self, queries: Sequence[str]) -> Array:
        """(N, D) in the model's common space, not normalised. The model must have one."""
        return np.stack([encoded.sentence for encoded in self._encoded(queries) if encoded.sentence is not None])

    def _encoded(self, queries: Sequence[str]) -> list[_Encoded]:
        new = list(dict.fromkeys(query for query in queries if query not in self._held))
        if len(self._held) + len(new) > _HELD:
            self._held, new = {}, list(dict.fromkeys(queries))
        tokens = self._tokenizer(new, truncation=True, max_length=self._most_tokens)["input_ids"] if new else []
        by_length = sorted(zip(new, tokens, strict=True), key=lambda pair: len(pair[1]))
        for first in range(0, len(by_length), _AT_ONCE):
            part = by_length[first : first + _AT_ONCE]
            length = self._most_tokens if self._pads_fully else len(part[-1][1])
            states, pooled = self._forward([ids for _, ids in part], length)
            for row, (query, ids) in enumerate(part):
                words = states[row, self._place(len(ids), length)].cpu().numpy()
                self._held[query] = _Encoded(words, None if pooled is None else pooled[row].cpu().numpy())
        return [self._held[query] for query in queries]

    @torch.inference_mode()
    def _forward(self, tokens: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor | None]:
        """Hidden states (N, length, D_w), and sentences (N, D) of a model with a common space."""
        ids = torch.full((len(tokens), length), self._tokenizer.pad_token_id or 0)
        mask = torch.zeros_like(ids)
        for row, numbers in enumerate(tokens):
            ids[row, self._place(len(numbers), length)] = torch.tensor(numbers)
            mask[row, self._place(len(numbers), length)] = 1
        inputs: dict[str, Tensor] = {"input_ids": ids.to(self._device)}
        if "attention_mask" in self._tokenizer.model_input_names:
            inputs["attention_mask"] = mask.to(self._device)
        with all_threads():
            output = self._model.get_text_features(**inputs) if self._joint else self._model(**inputs)
        return output.last_hidden_state, output.pooler_output if self._joint else None

    def _place(self, tokens: int, length: int) -> slice:
        """Where the tokens of a padded sentence are. It matters only to a model that looks at the padding."""
        left = self._pads_fully and self._tokenizer.padding_side == "left"
        return slice(length - tokens, length) if left else slice(0, tokens)

    def _looks_at_padding(self) -> bool:
        """Whether padding changes the vectors: such a model (SigLIP) was trained with sentences of full length."""
        ids = self._tokenizer("a", truncation=True, max_length=self._most_tokens)["input_ids"]
        alone, padded = (self._forward([ids], length) for length in (len(ids), min(len(ids) + 4, self._most_tokens)))
        pairs = [(alone[0], padded[0][:, : len(ids)])]
        if alone[1] is not None and padded[1] is not None:
            pairs.append((alone[1], padded[1]))
        return any((first - second).abs().max() > _TOLERANCE * first.abs().max() for first, second in pairs)


class PretrainedText:
    """The words of sentences, by a pretrained model.

    Args:
        text_id: the name that `build_text_encoder` knows it by.
        tower: of the model.
    """

    def __init__(self, text_id: str, tower: SentenceTower) -> None:
        self.id = text_id
        self._tower = tower

    @cached_property
    def dim(self) -> int:
        """Length of a word vector."""
        [words] = self._tower.words(["a"])
        return int(words.shape[1])

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """See `TextEncoder.encode`. A sentence longer than the model can take loses its end."""
        return self._tower.words(queries)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Nothing to keep: a model folder names the model."""
        return {}
