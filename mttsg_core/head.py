"""The Bi-GRU grounding head with float boundaries (the paper's module 6; method, section 6).

A boundary at b clip units lies at position b - 1/2 of a grid whose point i is the middle of clip i. The head gives
each point a probability of being nearest to the start, and to the end, and an offset of up to half a clip, so every
real number from 0 to T can be said, and nothing is lost on the way from seconds to labels and back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mttsg_core.layers import BiGRU, ChannelDropout, masked_log_softmax

_CANDIDATES = 48  # the best starts and the best ends that are tried together
_SHORTEST = 0.25  # clip units that an answer lasts at least
NMS_IOU = 0.5  # two answers to one query overlap at most so much


class HeadOutput(NamedTuple):
    """What the head says of N queries over T clips.

    Attributes:
        start: (N, T) logits of the clip nearest to the start.
        end: (N, T) logits of the clip nearest to the end.
        inside: (N, T) logits of the clip lying inside the moment.
        offsets: (N, T, 2) from the middle of the clip to the start and to the end, in clip units, -0.5..0.5.
        mask: (N, T).
    """

    start: Tensor
    end: Tensor
    inside: Tensor
    offsets: Tensor
    mask: Tensor


class Spans(NamedTuple):
    """Candidate moments of N queries. Attributes: bounds (N, C, 2) in clip units, log_score (N, C)."""

    bounds: Tensor
    log_score: Tensor


class GroundingHead(nn.Module):
    """Clips fused with a query, (N, T, D), to boundaries."""

    def __init__(self, width: int, dropout: float, *, offsets: bool) -> None:
        super().__init__()
        self.gru = BiGRU(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = ChannelDropout(dropout)
        self.classify = nn.Linear(width, 3)
        self.refine = nn.Linear(width, 2) if offsets else None

    def forward(self, fused: Tensor, mask: Tensor) -> HeadOutput:
        """fused (N, T, D) and mask (N, T)."""
        hidden = self.norm(fused + self.dropout(self.gru(fused, mask)))
        start, end, inside = self.classify(hidden).unbind(-1)
        offsets = hidden.new_zeros(*mask.shape, 2) if self.refine is None else 0.5 * self.refine(hidden).tanh()
        return HeadOutput(start, end, inside, offsets, mask)


def candidate_spans(output: HeadOutput) -> Spans:
    """The best starts paired with the best ends that do not come before them.

    The score of a span is log p_s(a) + log p_e(b) plus the mean over a..b of log p(inside). The cost grows with T and
    with the square of a fixed number of candidates, not with the square of T.
    """
    clips = output.mask.shape[1]
    count = min(_CANDIDATES, clips)
    start, a = masked_log_softmax(output.start, output.mask).topk(count, dim=-1)  # (N, C)
    end, b = masked_log_softmax(output.end, output.mask).topk(count, dim=-1)
    inside = torch.nn.functional.logsigmoid(output.inside) * output.mask
    total = torch.nn.functional.pad(inside.cumsum(1), (1, 0))  # (N, T + 1)
    length = (b[:, None, :] - a[:, :, None] + 1).clamp_min(1)  # (N, C, C)
    mean_inside = (total.gather(1, b + 1)[:, None, :] - total.gather(1, a)[:, :, None]) / length
    log_score = start[:, :, None] + end[:, None, :] + mean_inside
    forbidden = (b[:, None, :] < a[:, :, None]) | ~output.mask.gather(1, b)[:, None, :]
    log_score = log_score.masked_fill(forbidden, torch.finfo(log_score.dtype).min / 4)
    first = a + 0.5 + output.offsets[..., 0].gather(1, a)  # (N, C) clip units
    last = b + 0.5 + output.offsets[..., 1].gather(1, b)
    last = torch.maximum(last[:, None, :], first[:, :, None] + _SHORTEST)  # (N, C, C)
    bounds = torch.stack([first[:, :, None].expand_as(last), last], dim=-1)
    ends = output.mask.sum(1).to(bounds.dtype)[:, None]
    bounds = bounds.flatten(1, 2)
    first, last = bounds[..., 0].clamp_min(0), torch.minimum(bounds[..., 1], ends)
    return Spans(torch.stack([torch.minimum(first, last - _SHORTEST), last], dim=-1), log_score.flatten(1))


def boundary_targets(boundary: Tensor, mask: Tensor) -> Tensor:
    """Soft labels of one boundary: shared between the two grid points around it by nearness.

    Args:
        boundary: (N,) in clip units, 0..T.
        mask: (N, T).

    Returns:
        (N, T), each row sums to one.
    """
    grid = torch.arange(mask.shape[1], device=mask.device)  # (T,)
    last = mask.sum(1) - 1
    position = torch.minimum((boundary - 0.5).clamp_min(0), last.to(boundary.dtype))  # (N,)
    return (1 - (grid[None] - position[:, None]).abs()).clamp_min(0)


def offset_targets(bounds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets that lead from grid points to the true boundaries, and where they can.

    Args:
        bounds: (N, 2) in clip units.
        mask: (N, T).

    Returns:
        (N, T, 2) offsets, and (N, T, 2) True for grid points at most half a clip away.
    """
    middle = torch.arange(mask.shape[1], device=mask.device) + 0.5
    offsets = bounds[:, None, :] - middle[None, :, None]  # (N, T, 2)
    return offsets, (offsets.abs() <= 0.5) & mask[..., None]


def select(spans: Spans, top: int) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression over all queries at once.

    The score of a kept span is the probability, under the distribution over all candidates, of those it suppresses.

    Returns:
        bounds (N, top, 2) in clip units and scores (N, top) in 0..1, zero where no candidate is left.
    """
    probability = spans.log_score.softmax(-1)  # (N, C)
    ranking = spans.log_score.clone()
    free = torch.ones_like(ranking, dtype=torch.bool)
    bounds, scores = [], []
    for _ in range(top):
        best = ranking.masked_fill(~free, float("-inf")).argmax(-1, keepdim=True)  # (N, 1)
        chosen = spans.bounds.gather(1, best[..., None].expand(-1, -1, 2))  # (N, 1, 2)
        near = iou(spans.bounds, chosen) > NMS_IOU
        scores.append((probability * (near & free)).sum(-1))
        bounds.append(chosen[:, 0])
        free &= ~near
    return torch.stack(bounds, 1), torch.stack(scores, 1).clamp(0, 1)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of spans (..., 2) and (..., 2), broadcast."""
    overlap = torch.minimum(first[..., 1], second[..., 1]) - torch.maximum(first[..., 0], second[..., 0])
    overlap = overlap.clamp_min(0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - overlap
    return overlap / union.clamp_min(1e-6)
