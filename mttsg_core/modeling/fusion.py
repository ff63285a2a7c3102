"""Cross-modal interaction: how queries attend to the clips and regions of their videos, and what the head reads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.layers import ChannelDropout, QueryGroups, masked_softmax
from mttsg_core.utils.devices import at_once

_LOGITS_AT_ONCE = 1 << 17  # of the attention to regions: more do not fit in the processor's cache


class Fusion(nn.Module):
    """Computes x_t of the head: the clip, gated by the sentence, with the words that attend to it and other evidence.

    What is computed again for every query has the width of the head, which is smaller than that of the encoders.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        wide, width = config.width, config.head_width
        self.clip = nn.Linear(wide, width)
        self.gate = nn.Linear(wide, 2 * width)
        self.word_key = nn.Linear(wide, wide)
        self.word_value = nn.Linear(wide, width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.out_dropout = ChannelDropout(config.dropout)

    def project(self, clips: Tensor) -> Tensor:
        """Compute what `forward` reads of clips F (V, T, D), which depends on no query: (V, T, D_h + D)."""
        return torch.cat([self.clip(clips), word_keys(self.word_key(clips))], dim=-1)

    def forward(
        self, projected: Tensor, mask: Tensor, queries: EncodedQueries, groups: QueryGroups, evidence: Sequence[Tensor]
    ) -> Tensor:
        """Fuse N queries with their videos.

        Args:
            projected: clips of V videos, see `project`.
            mask: (V, T).
            queries: N encoded queries.
            groups: the queries by video.
            evidence: (N, T, D_h) each, added to the clips.

        Returns:
            (N, T, D_h).
        """
        own, keys = projected.split([self.clip.out_features, self.word_key.out_features], dim=-1)
        clips = groups.of_video(own)  # (N, T, D_h)
        gate, shift = self.gate(queries.sentence)[:, None].chunk(2, dim=-1)  # (N, 1, D_h) each
        x = attend_words(keys, self.word_value(queries.words), queries, groups)  # (N, T, D_h)
        x.add_(shift).addcmul_(clips, 1 + gate)
        for term in evidence:
            x.add_(term)
        fused = self.dropout(self.mix(nn.functional.gelu(x))).add_(clips)
        return self.out_dropout(self.norm(fused)) * groups.of_video(mask)[..., None]


class RegionCrossAttention(nn.Module):
    """Multi-head cross-attention of each query to the regions of every clip.

    Keys and values are the regions themselves and each head has a query projection of its own, so that all work on
    regions is done once a video.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.region_heads
        width = config.region_width
        self.query = nn.Linear(config.width, self.heads * width)
        self.value = nn.Linear(self.heads * width, config.head_width)
        self.logsumexp = nn.Linear(self.heads, config.head_width, bias=False)
        self.gate = nn.Linear(config.width, config.head_width)

    def forward(
        self, regions: Tensor | Sequence[Tensor], sentence: Tensor, groups: QueryGroups
    ) -> tuple[Tensor, Tensor]:
        """Attend to the regions of the own video.

        Args:
            regions: (V, T, R, D_o), or of each video by itself (1, T_v, R, D_o).
            sentence: (N, D).
            groups: the queries by video.

        Returns:
            The attended regions (N, T, H * D_o), and the evidence (N, T, D_h) of each clip for the head.
        """
        query = groups.group(self._queries(sentence)).flatten(1, 2)  # (G, Q * H, D_o)
        if isinstance(regions, Tensor):  # of videos one by one: the clips of several would have to be copied
            regions = regions.split(1) if groups.is_by_video else (groups.of_group(regions),)
        clips = at_once(_LOGITS_AT_ONCE // (query.shape[1] * regions[0].shape[2]), query.device)
        found = []
        for of_groups, of_queries in zip(regions, query.split(len(regions[0])), strict=True):
            parts = [self._attend(part, of_queries) for part in of_groups.split(clips, dim=1)]
            found.append([torch.cat(column, dim=2) for column in zip(*parts, strict=True)])
        attended, logsumexp = (groups.ungroup(_join(column)) for column in zip(*found, strict=True))
        evidence = self.value(attended).add_(self.logsumexp(logsumexp))
        return attended, nn.functional.gelu(evidence) * (1 + self.gate(sentence)[:, None])

    def _attend(self, regions: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Attend with queries (G, Q * H, D_o) of G groups to their regions (G, T, R, D_o).

        Returns:
            The attended regions (G, Q, T, H * D_o), and the log-sum-exp of the logits (G, Q, T, H).
        """
        logits = (query @ regions.flatten(1, 2).transpose(1, 2)).unflatten(2, regions.shape[1:3])  # (G, Q * H, T, R)
        weights = logits.softmax(3)
        logsumexp = logits.amax(3) - weights.amax(3).log()  # (G, Q * H, T)
        attended = (weights.transpose(1, 2) @ regions).unflatten(2, (-1, self.heads)).flatten(3)  # (G, T, Q, H * D_o)
        return attended.transpose(1, 2), logsumexp.unflatten(1, (-1, self.heads)).transpose(2, 3)

    def attend_all_videos(self, regions: Tensor, sentence: Tensor) -> Tensor:
        """Attend with each sentence (N, D) to all regions (V, T, R, D_o): (N, V, T, H * D_o)."""
        query = self._queries(sentence).flatten(0, 1)  # (N * H, D_o)
        weights = (query @ regions.transpose(-1, -2)).softmax(-1)  # (V, T, N * H, R)
        attended = (weights @ regions).unflatten(2, (-1, self.heads))  # (V, T, N, H, D_o)
        return attended.movedim(2, 0).flatten(-2)

    def _queries(self, sentence: Tensor) -> Tensor:
        """Project (N, D) to a query for each head, (N, H, D_o), scaled for a softmax of its products."""
        queries: Tensor = self.query(sentence).unflatten(-1, (self.heads, -1))
        return queries / math.sqrt(queries.shape[-1])


def _join(tensors: tuple[Tensor, ...]) -> Tensor:
    """Join tensors (V', Q, T_v, X) along V', with zeros after the last clip of those that have fewer."""
    longest = max(values.shape[2] for values in tensors)
    if any(values.shape[2] < longest for values in tensors):
        tensors = tuple(functional.pad(values, (0, 0, 0, longest - values.shape[2])) for values in tensors)
    return torch.cat(tensors)


def word_keys(projected: Tensor) -> Tensor:
    """Scale the keys (V, T, D) of clips for a softmax of their products with words."""
    return projected / math.sqrt(projected.shape[-1])


def attend_words(keys: Tensor, values: Tensor, queries: EncodedQueries, groups: QueryGroups) -> Tensor:
    """Attend to the words of each query from every clip of its video.

    Args:
        keys: (V, T, D) of clips, see `word_keys`.
        values: (N, L, D_h) of words.
        queries: with words (N, L, D).
        groups: the queries by video.

    Returns:
        (N, T, D_h).
    """
    products = groups.product(queries.words, keys.transpose(1, 2))  # (N, L, T)
    weights = masked_softmax(products, queries.mask[..., None], dim=1)  # (N, L, T)
    return weights.transpose(1, 2) @ values
