"""Cross-sentence mining with a cross-modal memory (the paper's module 2; docs/method.md, section 2), in training.

The memory holds every training pair: its sentence y* and the clips of its true moment v*, both in the common space of
the contrast. Each step compares the sentences y and moments v of its batch with all of it:

    S_pq = cos(y_p, y*_q)         whether the sentences p and q say the same
    q is a positive of p          if it is p itself, or S_pq > phi_same: the moment of q teaches p, whatever its video
    q is neutral                  if phi < S_pq <= phi_same, or if q belongs to a video that p is asked of
    q is a negative               otherwise

    L_mine = 1/2 InfoNCE(cos(y_p, v*_q) / tau) + 1/2 InfoNCE(cos(v_p, y*_q) / tau)

Both thresholds follow from the scores themselves, see `false_negatives`. So the moments of equal and equivalent
sentences of the whole training set are pulled together, not only those that happen to share a batch. Transfer is paid
for in training: at test time this memory does not exist.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.layers import contrastive_loss

_EMPTY = -1


class MomentMemory(nn.Module):
    """The sentences and moments of the training pairs in the common space, each at the slot of its pair's number.

    Args:
        slots: M; pairs whose numbers differ by a multiple of it share a slot.
        width: C, of the common space.
        momentum: share of an entry that stays when its pair is seen again.
    """

    text: Tensor
    moment: Tensor
    pairs: Tensor
    videos: Tensor

    def __init__(self, slots: int, width: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("text", torch.zeros(slots, width))
        self.register_buffer("moment", torch.zeros(slots, width))
        self.register_buffer("pairs", torch.full((slots,), _EMPTY))
        self.register_buffer("videos", torch.full((slots,), _EMPTY))

    @torch.no_grad()
    def store(self, pairs: Tensor, videos: Tensor, text: Tensor, moment: Tensor) -> None:
        """Take in the sentences and moments (N, C), of length 1, of pairs (N,) of training videos (N,)."""
        slots = pairs % len(self.pairs)
        kept = torch.where(self.pairs[slots] == pairs, self.momentum, 0.0)[:, None]  # (N, 1)
        for memory, new in ((self.text, text), (self.moment, moment)):
            memory[slots] = normalize(kept * memory[slots] + (1 - kept) * new.to(memory.dtype), dim=-1)
        self.pairs[slots], self.videos[slots] = pairs, videos

    @torch.no_grad()
    def relations(self, text: Tensor, pairs: Tensor, excluded: Tensor) -> MemoryRelations:
        """Tell which entries belong to the same pair, which to other videos, and how well their sentences match.

        Args:
            text: (N, C) sentences of the batch, of length 1.
            pairs: (N,) numbers of the pairs of the batch.
            excluded: (N, K) training videos that each was written for, or that its video is made of.
        """
        own = self.pairs == pairs[:, None]  # (N, M)
        others = (self.pairs != _EMPTY) & (self.videos != excluded[..., None]).all(1)
        return MemoryRelations(text @ self.text.T, own, others & ~own)


class MemoryRelations(NamedTuple):
    """How N pairs of a batch relate to the M entries of the memory.

    Attributes:
        scores: (N, M) cosines of their sentences.
        own: (N, M) True for the entry of the pair itself.
        others: (N, M) True for entries of other videos.
    """

    scores: Tensor
    own: Tensor
    others: Tensor


def mining_loss(
    memory: MomentMemory,
    text: Tensor,
    moment: Tensor,
    positives: Tensor,
    negatives: Tensor,
    temperature: float,
    share: Share = WHOLE,
) -> Tensor:
    """Compute the share in L_mine of sentences and moments (N, C) against those of the memory, given masks (N, M)."""
    stored = torch.stack([memory.moment, memory.text])  # (2, M, C), a copy: they change before the backward pass
    logits = torch.stack([text, moment]) @ stored.transpose(1, 2) / temperature  # (2, N, M)
    return contrastive_loss(logits.flatten(0, 1), positives.repeat(2, 1), negatives.repeat(2, 1), share)
