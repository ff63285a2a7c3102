"""A span predictor with query-guided highlighting, as VSLNet (ACL 2020); docs/method.md, section 15.

    S_tl = w_1 . c_t + w_2 . q_l + (w_3 * c_t) . q_l / sqrt(D_h)      clips c, with the evidence, and words q
    A    = softmax_l(S) q         B = softmax_l(S) softmax_t(S)^T c
    x_t  = LN( W_2 [ W_1 [c ; A ; c * A ; c * B] ; s ] )        context-query attention, then the sentence
    h_t  = sigma(w_h . x_t)                                     is the clip in or near the moment?
    p    = BiMinGRU(h * x)        r = BiMinGRU(p)               ends are conditioned on starts
    start = softmax_t(MLP [p ; h * x])      end = softmax_t(MLP [r ; h * x])

The answer is the span of clips a..b, a <= b, of the largest start_a end_b. The losses are the cross-entropies of start,
end and highlighting; highlighted are the moment and a margin on either side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.head import Head, Presence, presence_of
from mttsg_core.modeling.layers import (
    BiMinGRU,
    ChannelDropout,
    QueryGroups,
    masked_log_softmax,
    masked_mean,
    masked_softmax,
)
from mttsg_core.modeling.proposals import best_apart, shared_occupancy, span_iou

_COMPARED_AT_ONCE = 32  # queries whose T x T spans are in memory at a time


class SpanOutput(NamedTuple):
    """Output for N queries over T clips.

    Attributes:
        boundaries: (N, T, 2) logits of a clip being the first, and the last, of the moment.
        highlight: (N, T) logits of a clip being in the moment, or near.
        presence: (N,) logits of the moment being in the video at all; infinite where that is not learned.
        mask: (N, T).
    """

    boundaries: Tensor
    highlight: Tensor
    presence: Tensor
    mask: Tensor

    def answers(self, top: int, config: NetworkConfig) -> tuple[Tensor, Tensor]:
        """Return the best moments, see `GroundingOutput.answers`.

        They are ordered by the product of both distributions; the score is the probability, under it, that the moment
        is overlapped by half.
        """
        log_edges = masked_log_softmax(self.boundaries.float(), self.mask[..., None], dim=1)  # (N, T, 2)
        parts = [_best_spans(some, top, config) for some in log_edges.split(_COMPARED_AT_ONCE)]
        spans, scores = (torch.cat(column) for column in zip(*parts, strict=True))
        return spans, scores * self.presence.sigmoid()[:, None]

    def saliency(self, config: NetworkConfig) -> Tensor:
        """Return (N, T): how much each clip is highlighted."""
        return self.highlight.float().sigmoid()

    def losses(self, targets: Targets, config: LossConfig, share: Share = WHOLE) -> dict[str, Tensor]:
        """Compute the share in the terms of L_3."""
        spans, clips = targets.spans, self.mask.sum(1, keepdim=True)  # (N, 2), (N, 1)
        clip = torch.cat([spans[:, :1].floor(), spans[:, 1:].ceil() - 1], dim=1)  # (N, 2) the first and the last
        clip = torch.minimum(clip.clamp_min(0).long(), clips - 1)
        log_edges = masked_log_softmax(self.boundaries.float(), self.mask[..., None], dim=1)  # (N, T, 2)
        margin = config.highlight_margin * (spans[:, 1:] - spans[:, :1])  # (N, 1)
        around = torch.cat([spans[:, :1] - margin, spans[:, 1:] + margin], dim=1)  # (N, 2)
        labels = shared_occupancy(around, targets.sentence_ids, self.mask.shape[1])  # (N, T)
        highlight = functional.binary_cross_entropy_with_logits(self.highlight.float(), labels, reduction="none")
        return {
            "start_end": share.mean(-log_edges.gather(1, clip[:, None]).sum((1, 2))),
            "highlight": share.mean(masked_mean(highlight, self.mask, dim=1)),
        }


def _best_spans(log_edges: Tensor, top: int, config: NetworkConfig) -> tuple[Tensor, Tensor]:
    """Choose spans by log-probabilities (N, T, 2) of the first and last clip: spans (N, K, 2) and scores (N, K)."""
    clips = log_edges.shape[1]
    first, last = torch.triu_indices(clips, clips, device=log_edges.device)  # (P,) each
    logits = log_edges[:, first, 0] + log_edges[:, last, 1]  # (N, P)
    best, index = logits.topk(min(config.considered_proposals, logits.shape[1]), dim=-1)  # (N, C)
    spans = torch.stack([first[index], last[index] + 1], dim=-1).to(best.dtype)  # (N, C, 2)
    overlap = span_iou(spans[:, :, None], spans[:, None])  # (N, C, C)
    probability = ((overlap >= 0.5).to(best.dtype) @ best.softmax(-1)[..., None]).squeeze(-1)  # (N, C)
    inside = best > torch.finfo(best.dtype).min / 4
    position, is_left = best_apart(best, spans, inside, top, config.nms_iou)
    scores = (probability.gather(1, position) * is_left).clamp(0, 1).cummin(dim=1).values
    return spans.gather(1, position[..., None].expand(-1, -1, 2)), scores


class ContextQueryAttention(nn.Module):
    """Attention between the clips of a video and the words of a query, in both directions, and then the sentence."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        wide, width = config.width, config.head_width
        self.clip = nn.Linear(wide, width)
        self.word = nn.Linear(wide, width)
        self.sentence = nn.Linear(wide, width)
        self.clip_score = nn.Linear(width, 1, bias=False)
        self.word_score = nn.Linear(width, 1, bias=False)
        self.both_scale = nn.Parameter(torch.ones(width))
        self.mix = nn.Linear(4 * width, width)
        self.join = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = ChannelDropout(config.dropout)

    def project(self, clips: Tensor) -> Tensor:
        """Compute what `forward` reads of clips F (V, T, D), as `Fusion` does: (V, T, D_h)."""
        projected: Tensor = self.clip(clips)
        return projected

    def forward(
        self, projected: Tensor, mask: Tensor, queries: EncodedQueries, groups: QueryGroups, evidence: Sequence[Tensor]
    ) -> Tensor:
        """Fuse N queries with their videos, as `Fusion` does: (N, T, D_h)."""
        mask = groups.of_video(mask)  # (N, T)
        clips = groups.of_video(projected)  # (N, T, D_h)
        for term in evidence:
            clips = clips + term
        words = self.word(queries.words)  # (N, L, D_h)
        scores = self.clip_score(clips) + self.word_score(words).transpose(1, 2)
        scores = scores + (self.both_scale * clips) @ words.transpose(1, 2) / math.sqrt(words.shape[-1])  # (N, T, L)
        to_words = masked_softmax(scores, queries.mask[:, None], dim=2)
        to_clips = masked_softmax(scores, mask[..., None], dim=1)
        attended = to_words @ words  # (N, T, D_h)
        returned = to_words @ (to_clips.transpose(1, 2) @ clips)  # (N, T, D_h)
        x = self.mix(torch.cat([clips, attended, clips * attended, clips * returned], dim=-1))
        sentence = self.sentence(queries.sentence)[:, None].expand_as(x)
        x = self.join(torch.cat([functional.gelu(x), sentence], dim=-1))
        return self.dropout(self.norm(x)) * mask[..., None]


class SpanPredictor(Head):
    """Maps clips fused with a query to distributions of the first and the last clip of the moment."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.head_width
        self.highlight = nn.Linear(width, 1)
        self.starts = BiMinGRU(width, width)
        self.ends = BiMinGRU(width, width)
        self.start = _boundary_scores(width)
        self.end = _boundary_scores(width)
        self.dropout = ChannelDropout(config.dropout)
        self.presence = Presence(width) if config.presence else None

    def ground(
        self, hidden: Tensor, mask: Tensor, durations: Tensor, presence: Tensor, prior: Tensor | None
    ) -> SpanOutput:
        """Score the boundaries in fused clips (N, T, D_h) with mask (N, T)."""
        highlight = self.highlight(hidden)  # (N, T, 1)
        x = hidden * highlight.sigmoid()
        starts = self.dropout(self.starts(x, mask))  # (N, T, D_h)
        ends = self.dropout(self.ends(starts, mask))
        boundaries = [self.start(torch.cat([starts, x], dim=-1)), self.end(torch.cat([ends, x], dim=-1))]
        return SpanOutput(torch.cat(boundaries, dim=-1), highlight.squeeze(-1), presence, mask)

    def presence_logits(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return `SpanOutput.presence` alone: hidden (N, T, D_h) with mask (N, T) to logits (N,)."""
        return presence_of(self.presence, hidden, self.highlight(hidden).squeeze(-1), mask)


def _boundary_scores(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 1, bias=False))
