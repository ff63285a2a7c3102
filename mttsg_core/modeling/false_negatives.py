"""Adaptive negative selection: the threshold phi that tells false negatives (the paper's module 5; method, section 3).

Similar sentences occur with several videos, so a sentence may fit a pair that it does not belong to. How well sentence
p fits pair q is the mean of its cosines with the moment of q and with the sentence of q, which is encoded a second
time, without dropout: a pair and itself then differ as much as two pairs of the same sentence do. (By the cosine with
the moment alone, phi missed 40 % of the word-for-word duplicates of Charades-STA and dropped 8 % of the others.)

With running Gaussians of the scores of sentences and their own pairs, N(m+, s+), and of the rest, N(m-, s-), phi is
where f+(phi) = alpha f-(phi): above it a pair of the rest is more likely a match than not, and it leaves the
denominators of all contrasts. False negatives are rare: while the two Gaussians still lie on each other, so that phi
would take out most of the rest and they would never be learned apart, only the highest 5 % of the rest may leave. The
constants (alpha = 2, phi <- 0.7 phi* + 0.3 phi) are NAAF's (CVPR 2022).

A score above phi is not enough: the two sentences must also be one to the network, which wordings of the same thing
soon are. Without that, sentences that differ in one word (a star or a circle that moves left) left too, and were never
told apart: on the easy example corpus 42 % of those that share two of three parts did.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mttsg_core.modeling.layers import own_video_mask

ALPHA = 2.0
_NEW_SHARE = 0.7  # of the newly solved threshold
_MOMENTUM = 0.9  # of the running statistics
_KEPT = 4  # the least similar negatives of a row always stay
_LEAST_DEVIATION = 1e-4
_SAME = 0.98  # cosine from which two sentences are one
_HARDNESS = 0.15  # in this unit of likeness, a video is e times as likely to be asked for what it does not show
_RARE = 1.645  # deviations above the mean of the rest: 5 % of a Gaussian


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
        """The negatives (N, M) that score above phi and are rare; never a row's four least similar ones."""
        scores = scores.detach().float().nan_to_num(nan=-1.0)
        order = scores.masked_fill(~negatives, math.inf).argsort(dim=1)
        rank = torch.empty_like(order).scatter_(
            1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
        )
        mean, square = self.moments[1]
        rare = mean + _RARE * (square - mean**2).clamp_min(0).sqrt()
        return negatives & (scores > self.phi) & (scores > rare) & (rank >= _KEPT)


class FalseNegatives(NamedTuple):
    """What takes no part in the contrasts of a batch.

    Attributes:
        pairs: (N, N) True where a sentence likely fits the pair of another video.
        videos: (N, V) True where a sentence likely fits another video.
        strangers: (N, V) weights of the videos that do not show a sentence, larger where it is harder to tell.
    """

    pairs: Tensor
    videos: Tensor
    strangers: Tensor


def no_false_negatives(video_index: Tensor, videos: int) -> FalseNegatives:
    """Every negative stays: adaptive selection switched off."""
    count, own = len(video_index), own_video_mask(video_index, videos)
    return FalseNegatives(own.new_zeros(count, count), torch.zeros_like(own), (~own).float())


class FalseNegativeFilter(nn.Module):
    """Finds false negatives of a batch by how well its sentences match its pairs, and says how many it found."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = AdaptiveThreshold()
        self.share = torch.zeros(())

    @torch.no_grad()
    def forward(self, scores: Tensor, sentences: Tensor, video_index: Tensor, videos: int) -> FalseNegatives:
        """Find them; in training phi learns from the scores too.

        Args:
            scores: (N, N) of sentences (rows) with pairs (columns).
            sentences: (N, C) directions of the sentences, encoded without dropout.
            video_index: (N,) the video of each.
            videos: V.
        """
        itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        others = video_index[:, None] != video_index  # (N, N)
        if self.training:
            self.threshold.update(scores, itself, others)
        likeness = sentences @ sentences.T  # (N, N)
        same = likeness >= _SAME
        pairs = self.threshold.dropped(scores, others) & same
        self.share = pairs.sum() / others.sum().clamp_min(1)

        def best(values: Tensor) -> Tensor:
            """(N, N) of pairs to (N, V), the largest of each video."""
            lowest = scores.new_full((len(scores), videos), -1)
            return lowest.scatter_reduce(1, video_index.expand_as(scores), values.to(scores.dtype), "amax")

        elsewhere, alike = ~own_video_mask(video_index, videos), best(same) > 0  # (N, V)
        return FalseNegatives(
            pairs,
            self.threshold.dropped(best(scores), elsewhere) & alike,
            (best(likeness) / _HARDNESS).exp() * (elsewhere & ~alike),
        )

    def statistics(self) -> dict[str, Tensor]:
        """phi, and the share of the negatives that left at the last step."""
        return {"phi": self.threshold.phi.clone(), "dropped": self.share}
