"""The random numbers of a training step, apart from dropout: drawn with the batch, alike on every rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mttsg_core.config import NetworkConfig


@dataclass(frozen=True)
class Draws:
    """Uniform random numbers in 0..1 for N queries of L words and V videos of T clips, of the whole batch.

    Attributes:
        sees_others: (N,) whether a query may read the other queries.
        clips: (V, T') which clips of each video all queries are compared with; none where there are no regions.
        spans: (N, S, 2) spans of its video that each query is contrasted with.
        word_views: (N, L) which of two views a word is in.
        clip_views: (N, T) which of two views a clip is in.
        mismatched: (N,) whether a query is also asked of a video that does not show it.
        mismatched_video: (N,) of which.
    """

    sees_others: Tensor
    clips: Tensor
    spans: Tensor
    word_views: Tensor
    clip_views: Tensor
    mismatched: Tensor
    mismatched_video: Tensor


def draw(
    config: NetworkConfig,
    queries: int,
    words: int,
    videos: int,
    clips: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Draws:
    """Draw for N queries of L words and V videos of T clips.

    Args:
        config: of the network.
        queries, words: N and L.
        videos, clips: V and T.
        generator: of the numbers; default: that of torch.
        device: of the numbers and the generator.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    return Draws(
        sees_others=uniform(queries),
        clips=uniform(videos, config.contrast_clips if config.regions else 0),
        spans=uniform(queries, config.random_spans, 2),
        word_views=uniform(queries, words),
        clip_views=uniform(queries, clips),
        mismatched=uniform(queries),
        mismatched_video=uniform(queries),
    )
