"""The random numbers of a training step, apart from dropout: drawn for the whole batch, alike on every rank."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mttsg_core.config import NetworkConfig
from mttsg_core.utils.devices import upload


class Draws(NamedTuple):
    """Random numbers for N queries of L words and V videos of T clips, uniform in 0..1 but for the last two.

    Attributes:
        sees_others: (N,) whether a query may read the other queries.
        clips: (V, T') which clips of each video all queries are compared with; none where there are no regions.
        spans: (N, S, 2) spans of its video that each query is contrasted with.
        word_views: (N, L) which of two views a word is in.
        clip_views: (N, T) which of two views a clip is in.
        mismatched: (A,) numbers of the queries that are also asked of a video that does not show them.
        patience: (A, V) exponential: of videos with weights w the one of the largest w / patience is asked, as
            `multinomial` does.
    """

    sees_others: Tensor
    clips: Tensor
    spans: Tensor
    word_views: Tensor
    clip_views: Tensor
    mismatched: Tensor
    patience: Tensor


def draw(
    config: NetworkConfig, queries: int, words: int, videos: int, clips: int, device: torch.device | None = None
) -> Draws:
    """Draw for N queries of L words and V videos of T clips, from the generators of torch.

    Args:
        config: of the network.
        queries, words: N and L.
        videos, clips: V and T.
        device: of the numbers.
    """
    device = device or torch.device("cpu")
    uniform = (
        torch.rand(queries, device=device),
        torch.rand(videos, config.contrast_clips if config.regions else 0, device=device),
        torch.rand(queries, config.random_spans, 2, device=device),
        torch.rand(queries, words, device=device),
        torch.rand(queries, clips, device=device),
    )
    mismatched = torch.rand(queries) < config.negative_share  # on the CPU, which must know how many there are
    rows = mismatched.nonzero().squeeze(1) if videos > 1 and config.presence else torch.zeros(0, dtype=torch.long)
    patience = torch.empty(len(rows), videos, device=device).exponential_()
    return Draws(*uniform, mismatched=upload(rows, device), patience=patience)
