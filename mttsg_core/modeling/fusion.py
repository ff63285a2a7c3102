"""Queries meet clips and regions: what the head sees of each clip."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.backbone import EncodedQueries, EncodedVideos
from mttsg_core.modeling.layers import ChannelDropout, QueryGroups, masked_softmax


class Fusion(nn.Module):
    """x_t of the head: the clip, gated by the sentence, with the words it attends to and the regions the query sees.

    All that is done again for every query is done in the head's width, which is smaller than that of the encoders.
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

    def forward(
        self, videos: EncodedVideos, queries: EncodedQueries, groups: QueryGroups, evidence: Sequence[Tensor] = ()
    ) -> Tensor:
        """Returns (N, T, D_h). `evidence`: what other modules say of each clip and query, (N, T, D_h) each."""
        clips = groups.of_video(self.clip(videos.clips))  # (N, T, D_h)
        gate, shift = self.gate(queries.sentence)[:, None].chunk(2, dim=-1)  # (N, 1, D_h) each
        keys = self.word_key(videos.clips).transpose(1, 2) / math.sqrt(queries.words.shape[-1])  # (V, D, T)
        weights = masked_softmax(groups.product(queries.words, keys), queries.mask[..., None], dim=1)  # (N, L, T)
        x = clips * (1 + gate) + shift + weights.transpose(1, 2) @ self.word_value(queries.words)  # (N, T, D_h)
        for said in evidence:
            x = x + said
        fused = clips + self.dropout(self.mix(nn.functional.gelu(x)))
        return self.out_dropout(self.norm(fused)) * groups.of_video(videos.mask)[..., None]


class RegionCrossAttention(nn.Module):
    """Each query looks at the regions of every clip, with several heads, and brings back what it sees there.

    Keys and values are the regions themselves: each head has a query of its own, so that all the work on regions
    is done once a video.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.region_heads
        width = config.region_width
        self.query = nn.Linear(config.width, self.heads * width)
        self.seen = nn.Linear(self.heads * width, config.head_width)
        self.strength = nn.Linear(self.heads, config.head_width, bias=False)
        self.gate = nn.Linear(config.width, config.head_width)

    def forward(self, regions: Tensor, sentence: Tensor, groups: QueryGroups) -> tuple[Tensor, Tensor]:
        """regions (V, T, R, D_o) and sentence (N, D) to what is seen (N, T, H * D_o), and what it says (N, T, D_h)."""
        videos, clips = regions.shape[:2]
        query = groups.group(self._queries(sentence))  # (V, Q, H, D_o)
        score = query.flatten(1, 2)[:, None] @ regions.transpose(-1, -2)  # (V, T, Q * H, R)
        weights = score.softmax(-1)
        strength = score.amax(-1) - weights.amax(-1).log()  # (V, T, Q * H) the logarithm of the sum of exp(score)

        def of_query(values: Tensor) -> Tensor:
            """(V, T, Q * H, ...) to (N, T, H * ...)."""
            return groups.ungroup(values.reshape(videos, clips, groups.size, -1).transpose(1, 2))

        seen = of_query(weights @ regions)
        looked = nn.functional.gelu(self.seen(seen) + self.strength(of_query(strength)))
        return seen, looked * (1 + self.gate(sentence)[:, None])

    def everywhere(self, regions: Tensor, sentence: Tensor) -> Tensor:
        """What each sentence (N, D) sees in all of the regions (V, T, R, D_o): (N, V, T, H * D_o)."""
        query = self._queries(sentence).flatten(0, 1)  # (N * H, D_o)
        weights = (query @ regions.transpose(-1, -2)).softmax(-1)  # (V, T, N * H, R)
        seen = (weights @ regions).unflatten(2, (-1, self.heads))  # (V, T, N, H, D_o)
        return seen.movedim(2, 0).flatten(-2)

    def _queries(self, sentence: Tensor) -> Tensor:
        """(N, D) to what each head looks for, (N, H, D_o), scaled for a softmax of its products."""
        queries: Tensor = self.query(sentence).unflatten(-1, (self.heads, -1))
        return queries / math.sqrt(queries.shape[-1])
