"""Cross-sentence mining with a cross-modal memory (the paper's module 2; docs/method.md, section 2).

The memory holds every training pair: its sentence, and the clips of its true moment, both in the common space of the
contrast. Each step compares the sentences and moments of its batch with all of it:

    S_pq = cos(y_p, y*_q)             whether the sentences p and q say the same, y* from the memory
    q is a positive of p              if S_pq > phi_same: the moment of q teaches p, whichever video it is in
    q is neutral                      if phi < S_pq <= phi_same, or q belongs to a video of the batch that p is asked of
    q is a negative                   otherwise

    L_mine = InfoNCE(cos(y_p, v*_q)) + InfoNCE(cos(v_p, y*_q))

Both thresholds follow from the scores themselves, see `false_negatives`. So the moments of equal and equivalent
sentences in all videos of the training set are pulled together, not only those that happen to share a batch. Transfer
is paid for in training: at test time no memory is read, and a prediction depends on its own video and sentence alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

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
        """Take in the sentences and moments (N, C), at length 1, of pairs (N,) of training videos (N,)."""
        slots = pairs % len(self.pairs)
        kept = torch.where(self.pairs[slots] == pairs, self.momentum, 0.0)[:, None]  # (N, 1)
        for memory, new in ((self.text, text), (self.moment, moment)):
            memory[slots] = normalize(kept * memory[slots] + (1 - kept) * new.to(memory.dtype), dim=-1)
        self.pairs[slots], self.videos[slots] = pairs, videos


class MemoryMatches(NamedTuple):
    """How N sentences of a batch relate to the M entries of the memory. Attributes: masks (N, M)."""

    own: Tensor
    others: Tensor


def match_memory(memory: MomentMemory, pairs: Tensor, excluded: Tensor) -> MemoryMatches:
    """Tell which entries belong to the same pair, and which to other videos.

    Args:
        memory: of M entries.
        pairs: (N,) numbers of the pairs of the batch.
        excluded: (N, K) training videos that the video of each is made of.
    """
    own = memory.pairs == pairs[:, None]  # (N, M)
    others = (memory.pairs != _EMPTY) & (memory.videos != excluded[..., None]).all(1)
    return MemoryMatches(own, others & ~own)


def mining_loss(
    memory: MomentMemory, text: Tensor, moment: Tensor, positives: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Contrast the sentences and moments (N, C) of a batch with those of the memory, given masks (N, M)."""
    of_text = contrastive_loss(text @ memory.moment.clone().T / temperature, positives, negatives)
    of_moment = contrastive_loss(moment @ memory.text.clone().T / temperature, positives, negatives)
    return 0.5 * (of_text + of_moment)
