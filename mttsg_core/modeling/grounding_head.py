"""The Bi-GRU grounding head with float boundaries (the paper's module 6; method, section 6).

Beside start, end and inside scores of every clip, as in the paper, it scores candidate spans as wholes: the sum of its
boundary scores and the mean of its inside scores, plus a small network over a state at its start, one at its end, the
mean state between, and its length and place. Learned together, with the overlap as target, this was worth 2 to 4
points of recall over boundary scores alone. Offsets then move both boundaries to real numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.layers import BiMinGRU, ChannelDropout, masked_softmax
from mttsg_core.modeling.proposals import proposal_edges, proposal_sum, select_proposals

_SHORTEST = 0.05  # clip units that an answer lasts at least
_GEOMETRY = 6


class HeadOutput(NamedTuple):
    """What the head says of N queries over T clips and P candidate spans.

    Attributes:
        spans: (N, P) logits of the candidates; very low past the end of a video.
        boundaries: (N, T, 2) logits of a clip being the first, and the last, of the moment.
        inside: (N, T) logits of a clip lying inside the moment.
        offsets: (N, T, 2) from the clip's beginning to the start, and from its end to the end, in clip units; None
            where boundaries are whole clips.
        presence: (N,) logits of the video showing what the query describes at all; infinite where that is not learned.
        mask: (N, T).
    """

    spans: Tensor
    boundaries: Tensor
    inside: Tensor
    offsets: Tensor | None
    presence: Tensor
    mask: Tensor


class GroundingHead(nn.Module):
    """Clips fused with a query to scores of clips and spans."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.head_width
        self.gru = BiMinGRU(width, width)
        self.dropout = ChannelDropout(config.dropout)
        self.norm = nn.LayerNorm(width)
        self.clip_scores = nn.Linear(width, 3)
        self.offsets = nn.Linear(width, 2) if config.offsets else None
        self.span_parts = nn.Linear(width, 3 * config.span_width)
        self.geometry = nn.Linear(_GEOMETRY, config.span_width)
        self.span_score = nn.Linear(config.span_width, 1)
        self.presence = Presence(width) if config.presence else None

    def forward(self, fused: Tensor, mask: Tensor, durations: Tensor) -> HeadOutput:
        """fused (N, T, D_h), mask (N, T), durations (N,) of the videos in seconds."""
        hidden = self._hidden(fused, mask)  # (N, T, D_h)
        scores = self.clip_scores(hidden)  # (N, T, 3)
        first, last = proposal_edges(mask.shape[1], mask.device)
        clips = mask.sum(1)
        parts = proposal_sum(self.span_parts(hidden), mask)  # (N, P, D_s)
        joint = self.span_score(nn.functional.gelu(parts + self.geometry(_geometry(first, last, clips, durations))))
        spans = (joint + proposal_sum(scores, mask)).squeeze(-1).float()
        lowest = torch.finfo(spans.dtype).min / 8
        return HeadOutput(
            spans=spans.masked_fill(last > clips[:, None], lowest),
            boundaries=scores[..., :2],
            inside=scores[..., 2],
            offsets=None if self.offsets is None else self.offsets(hidden),
            presence=self._presence(hidden, scores[..., 2], mask),
            mask=mask,
        )

    def presence_of(self, fused: Tensor, mask: Tensor) -> Tensor:
        """`HeadOutput.presence` alone: fused (N, T, D_h) and mask (N, T) to logits (N,)."""
        hidden = self._hidden(fused, mask)
        return self._presence(hidden, self.clip_scores(hidden)[..., 2], mask)

    def _hidden(self, fused: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self.dropout(self.norm(fused + self.gru(fused, mask)))
        return hidden

    def _presence(self, hidden: Tensor, inside: Tensor, mask: Tensor) -> Tensor:
        if self.presence is None:
            return hidden.new_full(mask.shape[:1], torch.inf, dtype=torch.float32)
        logits: Tensor = self.presence(hidden, inside, mask)
        return logits


class Presence(nn.Module):
    """Does the video show what the query describes? From the clips that seem inside its moment, and the strongest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, hidden: Tensor, inside: Tensor, mask: Tensor) -> Tensor:
        """hidden (N, T, D_h), logits inside (N, T) and mask (N, T) to logits (N,)."""
        weights = masked_softmax(inside, mask)  # (N, T)
        pooled = torch.einsum("nt,ntd->nd", weights, hidden)
        strongest = hidden.masked_fill(~mask[..., None], torch.finfo(hidden.dtype).min).amax(1)  # (N, D_h)
        logits: Tensor = self.score(torch.cat([pooled, strongest], dim=-1)).squeeze(-1)
        return logits.float()


def decode(output: HeadOutput, top: int) -> tuple[Tensor, Tensor]:
    """The best moments of N queries: bounds (N, top, 2) in clip units, 0..T, and scores (N, top), 0 where none is left.

    A score is the chance that the video shows what the query describes, times the chance that, if so, the true moment
    overlaps the answer by half. See `spans.select_proposals` for how answers are chosen.
    """
    bounds = refined_spans(output)
    chosen, scores = select_proposals(output.spans, bounds, top)
    return bounds.gather(1, chosen[..., None].expand(-1, -1, 2)), scores * output.presence.sigmoid()[:, None]


def refined_spans(output: HeadOutput) -> Tensor:
    """Every candidate moved by the offsets of its first and last clip: (N, P, 2) in clip units, inside the video."""
    first, last = proposal_edges(output.mask.shape[1], output.mask.device)
    clips = output.mask.sum(1, keepdim=True).float()
    start, end = first.float().expand(len(clips), -1), last.float().expand(len(clips), -1)  # (N, P)
    if output.offsets is not None:
        start = start + output.offsets[:, first, 0].float()
        end = end + output.offsets[:, last - 1, 1].float()
    start = torch.minimum(start.clamp_min(0), clips - _SHORTEST)
    end = torch.maximum(end, start + _SHORTEST)
    return torch.stack([start, torch.minimum(end, clips)], dim=-1)


def _geometry(first: Tensor, last: Tensor, clips: Tensor, durations: Tensor) -> Tensor:
    """Length and place of candidates (P,) in videos of (N,) clips and seconds: (N, P, 6)."""
    count = clips[:, None].to(durations.dtype)
    length = (last - first).to(durations.dtype)[None]
    seconds = length * (durations[:, None] / count)  # (N, P)
    scale = seconds.log() - 2
    before, after = first / count, 1 - last / count
    return torch.stack([scale, scale**2, (length / count).sqrt(), before, after, 10 / seconds.clamp_min(1)], dim=-1)
