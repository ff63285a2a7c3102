"""Adaptive negative selection: the threshold phi that tells false negatives (the paper's module 5; method, section 3).

Similar sentences occur with several videos, so a pair that does not belong together may still match. With running
Gaussians of the scores of pairs that belong together, N(m+, s+), and of the rest, N(m-, s-), phi is where
f+(phi) = alpha f-(phi): above it a pair of the rest is more likely a match than not, and it leaves the denominator of
the contrast. The constants (alpha = 2, phi <- 0.7 phi* + 0.3 phi) are NAAF's (CVPR 2022).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

ALPHA = 2.0
_NEW_SHARE = 0.7  # of the newly solved threshold
_MOMENTUM = 0.9  # of the running statistics
_KEPT = 4  # the least similar negatives of a row always stay
_LEAST_DEVIATION = 1e-4


def solve_threshold(
    positive_mean: float, positive_deviation: float, negative_mean: float, negative_deviation: float, alpha: float
) -> float | None:
    """phi with f+(phi) = alpha f-(phi), where f+ overtakes alpha f-; None if there is no such place in (-1, 1).

    With A = s+^2 - s-^2, B = 2 (m+ s-^2 - m- s+^2) and C = (m- s+)^2 - (m+ s-)^2 + 2 s+^2 s-^2 ln(s- / (alpha s+)),
    A phi^2 + B phi + C has the sign of f+ - alpha f-, and (-B + sqrt(B^2 - 4AC)) / (2A) is its root of growing sign.
    """
    values = (positive_mean, positive_deviation, negative_mean, negative_deviation, alpha)
    if not all(math.isfinite(value) for value in values) or alpha <= 0:
        return None
    if min(positive_deviation, negative_deviation) < _LEAST_DEVIATION:
        return None
    plus, minus = positive_deviation**2, negative_deviation**2
    a = plus - minus
    b = 2 * (positive_mean * minus - negative_mean * plus)
    c = negative_mean**2 * plus - positive_mean**2 * minus
    c += 2 * plus * minus * math.log(negative_deviation / (alpha * positive_deviation))
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return None
    root = math.sqrt(discriminant)
    if b >= 0:  # the same root as below without the difference of near equals, so that A may be 0: then -C / B
        if b + root == 0:
            return None
        solved = -2 * c / (b + root)
    elif abs(a) <= 1e-9 * max(plus, minus):
        return None  # equal spreads with m+ < m-: f+ overtakes nowhere
    else:
        solved = (-b + root) / (2 * a)
    return solved if -1 < solved < 1 else None


class AdaptiveThreshold(nn.Module):
    """phi of one kind of score. It is learned from the scores seen in training; its state is part of a checkpoint."""

    phi: Tensor
    moments: Tensor
    seen: Tensor

    def __init__(self, alpha: float = ALPHA) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("phi", torch.ones(()))  # 1: nothing is dropped
        self.register_buffer("moments", torch.zeros(2, 2))  # mean and mean square, of positives and of the rest
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, scores: Tensor, positives: Tensor, negatives: Tensor) -> None:
        """Take in scores (N, M) with the masks (N, M) of pairs that belong together and of the rest."""
        scores = scores.detach().float()
        parts = []
        for mask in (positives & scores.isfinite(), negatives & scores.isfinite()):
            if not mask.any():
                return
            chosen = scores[mask]
            parts.append(torch.stack([chosen.mean(), chosen.square().mean()]))
        new = torch.stack(parts)  # (2, 2)
        momentum = min(_MOMENTUM, float(self.seen) / (float(self.seen) + 1))
        self.moments.lerp_(new, 1 - momentum)
        self.seen += 1
        deviation = (self.moments[:, 1] - self.moments[:, 0] ** 2).clamp_min(0).sqrt()
        [plus, plus_deviation], [minus, minus_deviation] = torch.stack([self.moments[:, 0], deviation], 1).tolist()
        solved = solve_threshold(plus, plus_deviation, minus, minus_deviation, self.alpha)
        if solved is not None:
            self.phi.copy_(_NEW_SHARE * solved + (1 - _NEW_SHARE) * self.phi)

    @torch.no_grad()
    def dropped(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """The negatives (N, M) that score above phi; never a row's four least similar ones."""
        scores = scores.detach().float().nan_to_num(nan=-1.0)
        order = scores.masked_fill(~negatives, math.inf).argsort(dim=1)
        rank = torch.empty_like(order).scatter_(
            1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
        )
        return negatives & (scores > self.phi) & (rank >= _KEPT)


class Negatives(nn.Module):
    """Thresholds of several kinds of score, and how many negatives they took out at the last step."""

    def __init__(self, kinds: Iterable[str]) -> None:
        super().__init__()
        self.thresholds = nn.ModuleDict({kind: AdaptiveThreshold() for kind in kinds})
        self.shares: dict[str, Tensor] = {}

    def forward(self, kind: str, scores: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Scores (N, M) and masks (N, M): learn from them in training; returns the mask of the negatives that stay."""
        threshold = self.thresholds[kind]
        if not isinstance(threshold, AdaptiveThreshold):
            raise TypeError(f"{kind}: not a threshold")
        if self.training:
            threshold.update(scores, positives, negatives)
        dropped = threshold.dropped(scores, negatives)
        self.shares[kind] = dropped.sum() / negatives.sum().clamp_min(1)
        return negatives & ~dropped

    def statistics(self) -> dict[str, Tensor]:
        """phi of every kind that was used, and the share of its negatives dropped at the last step."""
        found: dict[str, Tensor] = {}
        for kind, share in self.shares.items():
            threshold = self.thresholds[kind]
            found[f"phi {kind}"] = threshold.get_buffer("phi").clone()
            found[f"dropped {kind}"] = share
        return found
