"""The network: encoders, the meeting of sentences and videos, and the head. `build_network` is its only maker."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mttsg_core.backbone import EncodedQueries, EncodedVideos, QueryEncoder, VideoEncoder
from mttsg_core.batch import Batch
from mttsg_core.config import NetworkConfig
from mttsg_core.head import GroundingHead, HeadOutput
from mttsg_core.layers import ChannelDropout, QueryGroups, masked_softmax


class NetworkOutput(NamedTuple):
    """The head's answer for N queries, and the encodings that it was made of."""

    head: HeadOutput
    videos: EncodedVideos
    queries: EncodedQueries


class Network(nn.Module):
    """Multi-pair batch in, boundaries out. A prediction depends on its own video and its own sentence only."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.video_encoder = VideoEncoder(config)
        self.query_encoder = QueryEncoder(config)
        self.fusion = Fusion(config)
        self.head = GroundingHead(config)

    def forward(self, batch: Batch) -> NetworkOutput:
        """See `Batch` for the shapes."""
        videos = self.encode_videos(batch)
        queries = self.query_encoder(batch.words, batch.word_mask)
        return NetworkOutput(self.ground(videos, queries, batch.video_index), videos, queries)

    def encode_videos(self, batch: Batch) -> EncodedVideos:
        """What of the work does not depend on any query."""
        encoded: EncodedVideos = self.video_encoder(batch.clips, batch.clip_mask, batch.durations, batch.regions)
        return encoded

    def ground(self, videos: EncodedVideos, queries: EncodedQueries, video_index: Tensor) -> HeadOutput:
        """Boundaries of N queries, each in the video that `video_index` (N,) names."""
        fused = self.fusion(videos, queries, QueryGroups(video_index, len(videos.clips)))  # (N, T, D_h)
        output: HeadOutput = self.head(fused, videos.mask[video_index], videos.durations[video_index])
        return output


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
        self.look = RegionLook(config) if config.regions else None
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.out_dropout = ChannelDropout(config.dropout)

    def forward(self, videos: EncodedVideos, queries: EncodedQueries, groups: QueryGroups) -> Tensor:
        """Returns (N, T, D_h)."""
        clips = self.clip(videos.clips)[:, None]  # (V, 1, T, D_h)
        gate, shift = self.gate(groups.group(queries.sentence))[:, :, None].chunk(2, dim=-1)  # (V, Q, 1, D_h) each
        words, word_mask = groups.group(queries.words), groups.group(queries.mask)  # (V, Q, L, D), (V, Q, L)
        score = torch.einsum("vtd,vqld->vqtl", self.word_key(videos.clips), words) / math.sqrt(words.shape[-1])
        weights = masked_softmax(score, word_mask[:, :, None])
        x = clips * (1 + gate) + shift + weights @ self.word_value(words)  # (V, Q, T, D_h)
        if self.look is not None and videos.regions is not None:
            x = x + self.look(videos.regions, groups.group(queries.sentence))
        fused = groups.ungroup(clips + self.dropout(self.mix(nn.functional.gelu(x))))  # (N, T, D_h)
        return self.out_dropout(self.norm(fused)) * videos.mask[groups.video_index][..., None]


class RegionLook(nn.Module):
    """Each query looks at the regions of every clip, with several heads, and brings back what it sees there.

    Keys and values are the regions themselves: each head has a query of its own, so that all the work on regions
    is done once a video.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.region_heads
        width = config.region_width
        self.query = nn.Linear(config.width, self.heads * width)
        self.out = nn.Sequential(nn.Linear(self.heads * (width + 1), config.head_width), nn.GELU())
        self.gate = nn.Linear(config.width, config.head_width)

    def forward(self, regions: Tensor, sentence: Tensor) -> Tensor:
        """regions (V, T, R, D_o) and sentence (V, Q, D) to (V, Q, T, D_h)."""
        videos, clips, _, width = regions.shape
        query = self.query(sentence).reshape(videos, 1, -1, width)  # (V, 1, Q * H, D_o)
        score = query @ regions.transpose(-1, -2) / math.sqrt(width)  # (V, T, Q * H, R)
        seen = score.softmax(-1) @ regions  # (V, T, Q * H, D_o)
        strength = score.logsumexp(-1, keepdim=True)  # (V, T, Q * H, 1)
        looks = torch.cat([seen, strength], dim=-1).reshape(videos, clips, sentence.shape[1], -1)
        out: Tensor = self.out(looks.transpose(1, 2))  # (V, Q, T, D_h)
        return out * (1 + self.gate(sentence)[:, :, None])


def build_network(config: NetworkConfig) -> Network:
    """The network of a config, with fresh weights."""
    return Network(config)
