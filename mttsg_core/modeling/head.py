"""What the heads of all networks share: the form of their output, how they are called, and presence."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.layers import masked_softmax


class GroundingOutput(Protocol):
    """What a head returns for N queries over T clips."""

    @property
    def presence(self) -> Tensor:
        """(N,) logits of the moment being in the video at all; infinite where that is not learned."""
        ...

    @property
    def mask(self) -> Tensor:
        """(N, T) True at the clips of the query's video."""
        ...

    def answers(self, top: int, config: NetworkConfig) -> tuple[Tensor, Tensor]:
        """Return the best moments, which overlap each other by at most `config.nms_iou`.

        Args:
            top: K, answers to a query.
            config: how they are chosen.

        Returns:
            Spans (N, K, 2) in clip units, 0..T, and scores (N, K), 0..1, which do not grow; 0 where no moment is left.
        """
        ...

    def saliency(self, config: NetworkConfig) -> Tensor:
        """Return (N, T), 0..1: how likely each clip is inside the moment, if the video shows it."""
        ...

    def losses(self, targets: Targets, config: LossConfig, share: Share = WHOLE) -> dict[str, Tensor]:
        """Return the share in the terms of L_3, scalars by the names of their weights in `config`."""
        ...


class Head(nn.Module):
    """Maps clips fused with a query to an output.

    It has two parts, so that training reads all fused clips once, and scores moments only for the queries of the video
    and presence for the mismatched ones too.
    """

    presence: Presence | None

    def forward(self, fused: Tensor, mask: Tensor, durations: Tensor, prior: Tensor | None = None) -> GroundingOutput:
        """Ground N queries.

        Args:
            fused: (N, T, D_h) clips fused with the query.
            mask: (N, T).
            durations: (N,) seconds of the videos.
            prior: (N, P) logits that proposals start from, or None; a head without such proposals ignores them.
        """
        hidden = self.read(fused, mask)
        return self.ground(hidden, mask, durations, self.presence_logits(hidden, mask), prior)

    def read(self, fused: Tensor, mask: Tensor) -> Tensor:
        """Read fused clips (N, T, D_h) with mask (N, T) in their context: (N, T, D_h), themselves by default."""
        return fused

    @abstractmethod
    def ground(
        self, hidden: Tensor, mask: Tensor, durations: Tensor, presence: Tensor, prior: Tensor | None
    ) -> GroundingOutput:
        """Score the moments of clips that have been read, with their presence logits (N,); the rest as in `forward`."""

    @abstractmethod
    def presence_logits(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return `GroundingOutput.presence` alone, of clips (N, T, D_h) that have been read: logits (N,)."""


class Presence(nn.Module):
    """Scores whether the moment is in the video at all, by the clips that seem inside it and the strongest channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, hidden: Tensor, foreground: Tensor, mask: Tensor) -> Tensor:
        """Map hidden (N, T, D_h), foreground logits (N, T) and mask (N, T) to logits (N,)."""
        weights = masked_softmax(foreground, mask)  # (N, T)
        pooled = (weights[:, None] @ hidden).squeeze(1)  # (N, D_h)
        lowest = torch.finfo(hidden.dtype).min
        strongest = torch.where(mask[..., None], hidden, lowest).amax(1)  # (N, D_h)
        logits: Tensor = self.score(torch.cat([pooled, strongest], dim=-1)).squeeze(-1)
        return logits.float()


def presence_of(presence: Presence | None, hidden: Tensor, foreground: Tensor, mask: Tensor) -> Tensor:
    """Return presence logits (N,), infinite where presence is not learned; see `Presence`."""
    if presence is None:
        return hidden.new_full(mask.shape[:1], torch.inf, dtype=torch.float32)
    logits: Tensor = presence(hidden, foreground, mask)
    return logits
