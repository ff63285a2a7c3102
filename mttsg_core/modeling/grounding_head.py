"""The Bi-GRU grounding head with float boundaries (the paper's module 6; docs/method.md, section 6).

Beside start, end and foreground scores of every clip, as in the paper, it scores proposals as wholes: the sum of its
boundary scores and the mean of its foreground scores, plus a small network over a state at its start, one at its end,
the mean state between them, and its length and position. Trained together, with the overlap as label, this was worth 2
to 4 points of recall over boundary scores alone. Offsets then move both boundaries to real numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.head import Head, Presence, presence_of
from mttsg_core.modeling.layers import BiMinGRU, ChannelDropout, masked_log_softmax, masked_mean, masked_softmax
from mttsg_core.modeling.proposals import (
    GEOMETRY,
    best_of_sentence,
    coverage_probability,
    proposal_edges,
    proposal_geometry,
    proposal_sum,
    select_proposals,
    shared_occupancy,
    span_iou,
)


class HeadOutput(NamedTuple):
    """The head's output for N queries over T clips and P proposals.

    Attributes:
        proposals: (N, P) logits; very low past the end of a video.
        boundaries: (N, T, 2) logits of a clip being the first, and the last, of the moment.
        foreground: (N, T) logits of a clip being inside the moment.
        offsets: (N, T, 2) from the start of a clip to that of the moment, and from its end to that of the moment, in
            clip units; None where boundaries are whole clips.
        presence: (N,) logits of the moment being in the video at all; infinite where that is not learned.
        mask: (N, T).
        prior: (N, P) what `proposals` started from, or None.
    """

    proposals: Tensor
    boundaries: Tensor
    foreground: Tensor
    offsets: Tensor | None
    presence: Tensor
    mask: Tensor
    prior: Tensor | None = None

    def answers(self, top: int, config: NetworkConfig) -> tuple[Tensor, Tensor]:
        """Return the best moments, see `decode`."""
        return decode(self, top, config)

    def saliency(self, config: NetworkConfig) -> Tensor:
        """Return (N, T): the probability of each clip being inside the moment, over the proposals."""
        return coverage_probability(self.proposals, self.mask.shape[1], config)

    def losses(self, targets: Targets, config: LossConfig, share: Share = WHOLE) -> dict[str, Tensor]:
        """Compute the share in the terms of L_3, see `grounding_losses`."""
        return grounding_losses(self, targets, config, share)


class GroundingHead(Head):
    """Maps clips fused with a query to scores of clips and proposals."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.head_width
        self.gru = BiMinGRU(width, width)
        self.dropout = ChannelDropout(config.dropout)
        self.norm = nn.LayerNorm(width)
        self.clip_scores = nn.Linear(width, 3)
        self.offsets = nn.Linear(width, 2) if config.offsets else None
        self.proposal_parts = nn.Linear(width, 3 * config.proposal_width)
        self.geometry = nn.Linear(GEOMETRY, config.proposal_width)
        self.proposal_score = nn.Linear(config.proposal_width, 1)
        self.presence = Presence(width) if config.presence else None

    def read(self, fused: Tensor, mask: Tensor) -> Tensor:
        """Read fused clips (N, T, D_h) with mask (N, T) in both directions."""
        hidden: Tensor = self.dropout(self.norm(fused + self.gru(fused, mask)))
        return hidden

    def ground(
        self, hidden: Tensor, mask: Tensor, durations: Tensor, presence: Tensor, prior: Tensor | None
    ) -> HeadOutput:
        """Score clips and proposals, see `Head.ground`."""
        scores = self.clip_scores(hidden)  # (N, T, 3)
        clips = mask.sum(1)
        first, last = proposal_edges(mask.shape[1], mask.device)
        parts = self.proposal_parts(hidden).unflatten(-1, (3, -1))  # (N, T, 3, D_p)
        parts = torch.cat([parts, scores[..., None]], dim=-1).flatten(-2)  # (N, T, 3 * (D_p + 1))
        summed = proposal_sum(parts, mask)  # (N, P, D_p + 1)
        whole = summed[..., :-1] + self._geometry(first, last, clips, durations)
        whole = self.proposal_score(functional.gelu(whole))  # (N, P, 1)
        proposals = (whole + summed[..., -1:]).squeeze(-1).float()
        if prior is not None:
            proposals = proposals + prior.detach()
        lowest = torch.finfo(proposals.dtype).min / 8
        return HeadOutput(
            proposals=proposals.masked_fill(last > clips[:, None], lowest),
            boundaries=scores[..., :2],
            foreground=scores[..., 2],
            offsets=None if self.offsets is None else self.offsets(hidden),
            presence=presence,
            mask=mask,
            prior=prior,
        )

    def presence_logits(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return `HeadOutput.presence` alone, see `Head.presence_logits`."""
        return presence_of(self.presence, hidden, self.clip_scores(hidden)[..., 2], mask)

    def _geometry(self, first: Tensor, last: Tensor, clips: Tensor, durations: Tensor) -> Tensor:
        """Project length and position of proposals (P,) in videos of (N,) clips and seconds: (N, P, D_p).

        Neighbours are mostly queries of one video, for which it is computed once.
        """
        if clips.device.type != "cpu":  # a GPU computes more faster than it tells how many videos there are
            return self.geometry(proposal_geometry(first, last, clips, durations))
        sizes = torch.stack([clips.to(durations.dtype), durations], dim=1)  # (N, 2)
        sizes, number = sizes.unique_consecutive(dim=0, return_inverse=True)
        geometry: Tensor = self.geometry(proposal_geometry(first, last, *sizes.unbind(1)))
        return geometry.expand(len(clips), -1, -1) if len(sizes) == 1 else geometry.index_select(0, number)


def decode(output: HeadOutput, top: int, config: NetworkConfig) -> tuple[Tensor, Tensor]:
    """Return the best moments of N queries.

    Args:
        output: of the head.
        top: K, answers to a query.
        config: how proposals are selected, see `proposals.select_proposals`.

    Returns:
        Spans (N, K, 2) in clip units, 0..T, and scores (N, K), 0 where no proposal is left. A score is the probability
        that the moment is in the video, times the probability that, if so, the answer overlaps it by half.
    """
    spans = refined_spans(output, config)
    selected, scores = select_proposals(output.proposals, spans, top, config)
    return spans.gather(1, selected[..., None].expand(-1, -1, 2)), scores * output.presence.sigmoid()[:, None]


def refined_spans(output: HeadOutput, config: NetworkConfig) -> Tensor:
    """Move every proposal by the offsets of its first and last clip: (N, P, 2) in clip units, inside the video."""
    first, last = proposal_edges(output.mask.shape[1], output.mask.device)
    clips = output.mask.sum(1, keepdim=True).float()
    start, end = first.float().expand(len(clips), -1), last.float().expand(len(clips), -1)  # (N, P)
    if output.offsets is not None:
        before, after = output.offsets.float().unbind(-1)  # (N, T) each
        start, end = start + before.index_select(1, first), end + after.index_select(1, last - 1)
    start = torch.minimum(start.clamp_min(0), clips - config.min_moment_clips)
    end = torch.maximum(end, start + config.min_moment_clips)
    return torch.stack([start, torch.minimum(end, clips)]).movedim(0, -1)  # starts beside starts in memory


def grounding_losses(head: HeadOutput, targets: Targets, config: LossConfig, share: Share = WHOLE) -> dict[str, Tensor]:
    """Compute L_3: divergences from soft labels of proposals, boundaries and foreground, and the error of the offsets.

    Args:
        head: output for N queries.
        targets: true moments; the foreground of a sentence with several is that of all of them.
        config: shapes of the labels.
        share: which queries of a batch these are.
    """
    mask, spans = head.mask, targets.spans
    first, last = proposal_edges(mask.shape[1], mask.device)
    valid = last <= mask.sum(1, keepdim=True)  # (N, P)
    overlap = span_iou(torch.stack([first, last], -1).float(), spans[:, None])  # (N, P)
    overlap = best_of_sentence(overlap, targets.sentence_ids)
    labels = masked_softmax(overlap * config.proposal_sharpness, valid)
    log_proposals = masked_log_softmax(head.proposals.float(), valid)

    clip = torch.arange(mask.shape[1], device=mask.device)
    edges = torch.stack([clip, clip + 1], dim=-1)  # (T, 2) where each clip starts and ends
    distance = spans[:, None] - edges  # (N, T, 2)
    length = (spans[:, 1] - spans[:, 0])[:, None, None]
    valid_edges = mask[..., None]
    spread = config.boundary_spread * length.clamp_min(2)
    edge_labels = masked_softmax(-0.5 * (distance / spread) ** 2, valid_edges, dim=1)
    log_edges = masked_log_softmax(head.boundaries.float(), valid_edges, dim=1)
    occupancy = shared_occupancy(spans, targets.sentence_ids, mask.shape[1])  # (N, T)
    foreground = functional.binary_cross_entropy_with_logits(head.foreground.float(), occupancy, reduction="none")
    terms = {
        "proposal": share.mean(-(labels * log_proposals).sum(-1)),
        "boundary": share.mean(-(edge_labels * log_edges).sum((1, 2))),
        "foreground": share.mean(masked_mean(foreground, mask, dim=1)),
    }
    if head.prior is not None:
        terms["prior"] = share.mean(-(labels * masked_log_softmax(head.prior.float(), valid)).sum(-1))
    if head.offsets is not None:
        near = (distance.abs() <= 1 + config.offset_reach * length) & valid_edges
        error = functional.smooth_l1_loss(head.offsets.float(), distance, reduction="none")
        terms["offset"] = share.mean(masked_mean(error, near, dim=1).sum(-1))
    return terms
