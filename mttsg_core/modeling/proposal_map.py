"""A two-dimensional map of proposals, as in 2D-TAN (AAAI 2020) and MMN (AAAI 2022); docs/method.md, section 15.

    x_t  = LN( W_c F_t * (W_s s + a_t) + evidence_t )      clips times sentence, a_t the words that the clip attends to
    b_i  = mean of x over the i-th of B equal parts of the video
    M_ij = W max(b_i, ..., b_j)                            0 <= i <= j < B
    M    = relu(Conv(M))                                   a few times; only cells with i <= j count
    score(i, j) = sigma(w . M_ij)

A cell is a moment from the start of part i to the end of part j. Its target is its overlap with the true moment, scaled
so that `map_low_iou` is 0 and `map_high_iou` is 1, and its loss the binary cross-entropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.fusion import attend_words, word_keys
from mttsg_core.modeling.head import Head, Presence, presence_of
from mttsg_core.modeling.layers import ChannelDropout, QueryGroups
from mttsg_core.modeling.proposals import answers_apart, best_of_sentence, span_iou

_MAPS_AT_ONCE = 64  # queries whose maps are computed at a time: their size does not depend on the clips of a video


class MapOutput(NamedTuple):
    """Output for N queries over T clips.

    Attributes:
        cells: (N, B, B) logits by first and last part of the video; those below the diagonal mean nothing.
        presence: (N,) logits of the moment being in the video at all; infinite where that is not learned.
        mask: (N, T).
    """

    cells: Tensor
    presence: Tensor
    mask: Tensor

    def answers(self, top: int, config: NetworkConfig) -> tuple[Tensor, Tensor]:
        """Return the best moments, see `GroundingOutput.answers`."""
        spans, upper = cell_spans(self.cells.shape[1], self.mask), _upper(self.cells)
        logits = self.cells.float()[:, upper]  # (N, P)
        best, index = logits.topk(min(config.considered_proposals, logits.shape[1]), dim=-1)  # (N, C)
        spans, scores = answers_apart(
            spans.gather(1, index[..., None].expand(-1, -1, 2)), best.sigmoid(), top, config.nms_iou
        )
        return spans, scores * self.presence.sigmoid()[:, None]

    def saliency(self, config: NetworkConfig) -> Tensor:
        """Return (N, T): the score of the best cell that a clip is in."""
        scores = self.cells.float().sigmoid() * _upper(self.cells)  # (N, B, B)
        until = scores.flip(2).cummax(2).values.flip(2)  # of the cells from i to k or later
        best = until.cummax(1).values.diagonal(dim1=1, dim2=2)  # (N, B) of the cells that part k is in
        shares = part_shares(best.shape[1], self.mask)  # (N, B, T)
        return torch.einsum("nbt,nb->nt", shares, best) / shares.sum(1).clamp_min(1e-6)

    def losses(self, targets: Targets, config: LossConfig, share: Share = WHOLE) -> dict[str, Tensor]:
        """Compute the share in the term of L_3; the moments of a sentence are all true."""
        logits = self.cells.float()[:, _upper(self.cells)]  # (N, P)
        overlap = span_iou(cell_spans(self.cells.shape[1], self.mask), targets.spans[:, None])  # (N, P)
        width = max(config.map_high_iou - config.map_low_iou, 1e-6)
        labels = ((best_of_sentence(overlap, targets.sentence_ids) - config.map_low_iou) / width).clamp(0, 1)
        each = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")  # (N, P)
        return {"map": share.mean(each.mean(1))}


class SentenceProduct(nn.Module):
    """Multiplies clips with the sentence, and with the words that attend to them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        wide, width = config.width, config.head_width
        self.clip = nn.Linear(wide, width)
        self.sentence = nn.Linear(wide, width)
        self.word_key = nn.Linear(wide, wide)
        self.word_value = nn.Linear(wide, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = ChannelDropout(config.dropout)

    def project(self, clips: Tensor) -> Tensor:
        """Compute what `forward` reads of clips F (V, T, D), as `Fusion` does: (V, T, D_h + D)."""
        return torch.cat([self.clip(clips), word_keys(self.word_key(clips))], dim=-1)

    def forward(
        self, projected: Tensor, mask: Tensor, queries: EncodedQueries, groups: QueryGroups, evidence: Sequence[Tensor]
    ) -> Tensor:
        """Fuse N queries with their videos, as `Fusion` does: (N, T, D_h)."""
        own, keys = projected.split([self.clip.out_features, self.word_key.out_features], dim=-1)
        attended = attend_words(keys, self.word_value(queries.words), queries, groups)
        x = groups.of_video(own) * (self.sentence(queries.sentence)[:, None] + attended)
        for term in evidence:
            x = x + term
        return self.dropout(self.norm(x)) * groups.of_video(mask)[..., None]


class ProposalMap(Head):
    """Maps clips fused with a query to the scores of a map of moments."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, kernel = config.map_width, config.map_kernel
        self.bins, self.kernel = config.map_bins, kernel
        self.project = nn.Linear(config.head_width, width)
        self.layers = nn.ModuleList(
            nn.Conv2d(width, width, kernel, padding=kernel // 2) for _ in range(config.map_layers)
        )
        self.score = nn.Conv2d(width, 1, 1)
        self.presence = Presence(config.head_width) if config.presence else None

    def ground(
        self, hidden: Tensor, mask: Tensor, durations: Tensor, presence: Tensor, prior: Tensor | None
    ) -> MapOutput:
        """Score the moments of fused clips (N, T, D_h) with mask (N, T)."""
        parts = part_shares(self.bins, mask) @ self.project(hidden)  # (N, B, W)
        cells = torch.cat([self._cells(some) for some in parts.split(_MAPS_AT_ONCE)])
        return MapOutput(cells, presence, mask)

    def presence_logits(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return `MapOutput.presence` alone: hidden (N, T, D_h) with mask (N, T) to logits (N,)."""
        return presence_of(self.presence, hidden, torch.zeros_like(hidden[..., 0]), mask)

    def _cells(self, parts: Tensor) -> Tensor:
        """Map parts (N, B, W) to logits (N, B, B)."""
        cells = span_maxima(parts)  # (N, W, B, B)
        upper = _upper(cells).to(cells.dtype)  # (B, B)
        # At the borders of the map a kernel covers fewer cells that are moments; what they add counts for more.
        share = functional.avg_pool2d(upper[None], self.kernel, stride=1, padding=self.kernel // 2)  # (1, B, B)
        for layer in self.layers:
            cells = functional.relu(layer(cells) / share.clamp_min(self.kernel**-2)) * upper
        return self.score(cells).squeeze(1)


def part_shares(bins: int, mask: Tensor) -> Tensor:
    """Return how much of each of `bins` equal parts of a video every clip fills, (N, B, T), from its mask (N, T)."""
    clips = mask.sum(1)[:, None, None]  # (N, 1, 1)
    edge = torch.arange(bins + 1, device=mask.device)[None, :, None] * (clips / bins)  # (N, B + 1, 1)
    clip = torch.arange(mask.shape[1], device=mask.device)
    shared = torch.minimum(edge[:, 1:], clip + 1) - torch.maximum(edge[:, :-1], clip)  # (N, B, T) in clips
    return shared.clamp_min(0) * mask[:, None] * (bins / clips)


def span_maxima(parts: Tensor) -> Tensor:
    """Return the maximum of parts (N, B, W) over each span i..j: (N, W, B, B), zero below the diagonal."""
    bins = parts.shape[1]
    columns, running = [], parts[:, :0]
    for end in range(bins):  # running[:, i] is the maximum over i..end
        part = parts[:, end : end + 1]
        running = torch.cat([torch.maximum(running, part), part], dim=1)  # (N, end + 1, W)
        columns.append(functional.pad(running, (0, 0, 0, bins - end - 1)))
    return torch.stack(columns, dim=2).movedim(-1, 1)


def cell_spans(bins: int, mask: Tensor) -> Tensor:
    """Return the moments of the P cells from the diagonal upwards, row by row: (N, P, 2) in clip units."""
    first, last = torch.triu_indices(bins, bins, device=mask.device)
    scale = mask.sum(1)[:, None, None] / bins  # (N, 1, 1) clips a part
    return torch.stack([first, last + 1], dim=-1) * scale


def _upper(cells: Tensor) -> Tensor:
    """Return the mask (B, B) of the cells of a map (..., B, B) that are moments: they do not end before they start."""
    return torch.ones(cells.shape[-2:], dtype=torch.bool, device=cells.device).triu()
