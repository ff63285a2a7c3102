"""A decoder of moment queries, as Moment-DETR (NeurIPS 2021) and its successors; docs/method.md, section 15.

    c = W_c F * (1 + W_g s) + evidence                             clips, gated by the sentence
    x = Encoder([c ; sentence ; words])                            self-attention over all together
    each slot starts with a learned span (centre, length) and refines it from layer to layer (DAB-DETR, ICLR 2022):
    q = q + SelfAttention(q);  q = q + Attention(q, x of the clips);  span = sigma(sigma^-1(span) + MLP(q + pos(span)))
    p = sigma(w . q)                                               has the slot found a moment?

A *slot* is what these papers call a moment query; here a query is a sentence. Slots are matched with the true moments
of the sentence at the least total cost (Hungarian method). Matched slots learn their span by L1 and generalised IoU,
and all learn p, after every layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.head import Head, Presence, presence_of
from mttsg_core.modeling.layers import QueryGroups
from mttsg_core.modeling.slots import SlotOutput

_HEADS = 4  # of the attention, or as many of them as divide its width
_CYCLES = (32.0, 0.5)  # of the shortest and the longest wave of a position, in a video
_SHARPNESS = 6.0  # of the heads that look near a span: what their logits lose a length away from its centre
_FIRST_LENGTH = 0.3  # of the spans that slots start with, in lengths of the video
_EPSILON = 1e-3  # distance from 0 and 1 that spans keep before their logit is taken


class JointEncoder(nn.Module):
    """A transformer over the clips of a video together with the sentence and its words."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        wide, width = config.width, config.head_width
        self.clip = nn.Linear(wide, width)
        self.gate = nn.Linear(wide, width)
        self.sentence = nn.Linear(wide, width)
        self.word = nn.Linear(wide, width)
        self.layers = nn.ModuleList(_EncoderLayer(width, config.dropout) for _ in range(config.encoder_layers))
        self.norm = nn.LayerNorm(width)

    def project(self, clips: Tensor) -> Tensor:
        """Compute what `forward` reads of clips F (V, T, D), as `Fusion` does: (V, T, D_h)."""
        projected: Tensor = self.clip(clips)
        return projected

    def forward(
        self, projected: Tensor, mask: Tensor, queries: EncodedQueries, groups: QueryGroups, evidence: Sequence[Tensor]
    ) -> Tensor:
        """Fuse N queries with their videos, as `Fusion` does: (N, T, D_h)."""
        mask, count = groups.of_video(mask), mask.shape[1]  # (N, T)
        clips = groups.of_video(projected) * (1 + self.gate(queries.sentence)[:, None])  # (N, T, D_h)
        for term in evidence:
            clips = clips + term
        x = torch.cat([clips, self.sentence(queries.sentence)[:, None], self.word(queries.words)], dim=1)
        valid = torch.cat([mask, torch.ones_like(mask[:, :1]), queries.mask], dim=1)  # (N, T + 1 + L)
        position = functional.pad(clip_positions(mask, x.shape[-1]), (0, 0, 0, x.shape[1] - count))
        for layer in self.layers:
            x = layer(x, valid, position)
        return self.norm(x[:, :count]) * mask[..., None]


class QueryDecoder(Head):
    """Maps clips fused with a query to the spans of a few slots."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, slots = config.head_width, config.moment_slots
        self.heads = attention_heads(width)
        self.content = nn.Parameter(torch.randn(slots, width) * 0.02)
        first = [[_logit((slot + 0.5) / slots), _logit(_FIRST_LENGTH)] for slot in range(slots)]
        self.first_spans = nn.Parameter(torch.tensor(first))  # (S, 2) centre and length, before the sigmoid
        self.position = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(_DecoderLayer(width, config.dropout) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(width)
        self.change = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2))
        self.found = nn.Linear(width, 1)
        self.inside = nn.Linear(width, 1)
        self.presence = Presence(width) if config.presence else None

    def ground(
        self, hidden: Tensor, mask: Tensor, durations: Tensor, presence: Tensor, prior: Tensor | None
    ) -> SlotOutput:
        """Find moments in fused clips (N, T, D_h) with mask (N, T)."""
        width, places = hidden.shape[-1], clip_positions(mask, hidden.shape[-1])
        slots = self.content.expand(len(hidden), -1, -1)  # (N, S, D_h)
        span = self.first_spans.sigmoid().expand(len(hidden), -1, -1)  # (N, S, 2)
        spans, found = [], []
        for layer in self.layers:
            position = self.position(wave_embedding(span, width).flatten(-2))  # (N, S, D_h)
            slots = layer(slots, position, hidden, places, nearness(span, mask, self.heads))
            result = self.norm(slots)
            moved = (inverse_sigmoid(span) + self.change(result + position)).sigmoid()
            spans.append(moved)
            found.append(self.found(result).squeeze(-1))
            span = moved.detach()
        inside = self.inside(hidden).squeeze(-1)
        return SlotOutput(torch.stack(spans), torch.stack(found), inside, presence, mask)

    def presence_logits(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return `SlotOutput.presence` alone: hidden (N, T, D_h) with mask (N, T) to logits (N,)."""
        return presence_of(self.presence, hidden, self.inside(hidden).squeeze(-1), mask)


class _EncoderLayer(nn.Module):
    """Self-attention, to whose queries and keys the positions are added, and a network of two layers."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = _attention(width, dropout)
        self.feed_forward = _FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, position: Tensor) -> Tensor:
        """Map x (N, X, D_h) with mask (N, X) and positions (N, X, D_h) to (N, X, D_h)."""
        values = self.norm(x)
        keys = values + position
        attended, _ = self.attention(keys, keys, values, key_padding_mask=~mask, need_weights=False)
        return self.feed_forward(x + self.dropout(attended))


class _DecoderLayer(nn.Module):
    """Self-attention among slots, attention to the clips, and a network of two layers."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.slot_norm, self.clip_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.among_slots, self.to_clips = _attention(width, dropout), _attention(width, dropout)
        self.feed_forward = _FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, slots: Tensor, position: Tensor, clips: Tensor, places: Tensor, nearness: Tensor) -> Tensor:
        """Map slots and their positions (N, S, D_h) to (N, S, D_h).

        Args:
            slots, position: (N, S, D_h).
            clips, places: (N, T, D_h) clips and their positions.
            nearness: (N * heads, S, T) added to the logits of the attention to the clips.
        """
        values = self.slot_norm(slots)
        keys = values + position
        slots = slots + self.dropout(self.among_slots(keys, keys, values, need_weights=False)[0])
        asked = self.clip_norm(slots) + position
        placed = clips + places  # values too: what a slot moves to is where it looks
        attended, _ = self.to_clips(asked, placed, placed, attn_mask=nearness, need_weights=False)
        return self.feed_forward(slots + self.dropout(attended))


class _FeedForward(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _attention(width: int, dropout: float) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(width, attention_heads(width), dropout, batch_first=True)


def attention_heads(width: int) -> int:
    """Return the number of heads of an attention of even width."""
    return math.gcd(width, _HEADS)


def nearness(span: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Return what is added to the logits of the attention of slots to clips, (N * heads, S, T).

    Half of the heads look near their span first, as in SMCA (ICCV 2021), and the others everywhere.

    Args:
        span: (N, S, 2) centre and length of the slots, as shares of the video.
        mask: (N, T).
        heads: of the attention.
    """
    centre, length = span.detach().unsqueeze(2).unbind(-1)  # (N, S, 1) each
    share = (torch.arange(mask.shape[1], device=mask.device) + 0.5) / mask.sum(1, keepdim=True)  # (N, T)
    near = -_SHARPNESS * ((share[:, None] - centre) / length.clamp_min(_EPSILON)).square()  # (N, S, T)
    far = torch.zeros_like(near)
    logits = torch.stack([near if head < heads // 2 else far for head in range(heads)], dim=1)  # (N, H, S, T)
    return logits.masked_fill(~mask[:, None, None], -torch.inf).flatten(0, 1)


def clip_positions(mask: Tensor, width: int) -> Tensor:
    """Embed the middle of each clip as a share of its video: mask (N, T) to (N, T, width)."""
    share = (torch.arange(mask.shape[1], device=mask.device) + 0.5) / mask.sum(1, keepdim=True)
    return wave_embedding(share, width)


def wave_embedding(shares: Tensor, width: int) -> Tensor:
    """Embed numbers (...) in 0..1 by sines and cosines of growing wavelengths (Vaswani et al., 2017): (..., width)."""
    half = width // 2
    step = torch.arange(half, device=shares.device) / half  # (half,)
    angles = 2 * math.pi * _CYCLES[0] * (_CYCLES[1] / _CYCLES[0]) ** step * shares[..., None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def inverse_sigmoid(share: Tensor) -> Tensor:
    """Return the logit of shares, which are kept off 0 and 1."""
    return share.clamp(_EPSILON, 1 - _EPSILON).logit()


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
