"""Adaptive negative selection by a threshold phi (the paper's module 5; docs/method.md, section 3).

Similar sentences occur with several videos, so a sentence may fit a pair that it does not belong to. How well sentence
p fits pair q is the mean of its cosines with the moment of q and with the sentence of q, which is encoded a second
time, without dropout: a pair and itself then differ as much as two pairs of the same sentence do. (By the cosine with
the moment alone, phi missed 40 % of the word-for-word duplicates of Charades-STA and dropped 8 % of the others.)

With running Gaussians of the scores of sentences and their own pairs, N(m+, s+), and of the rest, N(m-, s-), phi is
where f+(phi) = alpha f-(phi): above it a pair of the rest is more likely a match than not, and it leaves the
denominators of all contrasts. False negatives are rare: as long as the two Gaussians overlap, phi would remove most of
the rest, and they would never be told apart; so only the highest 5 % of the rest may leave. The constants (alpha = 2,
phi <- 0.7 phi* + 0.3 phi) are NAAF's (CVPR 2022).

A score above phi is not enough: the two sentences must also be the same to the network, as wordings of one thing soon
are. Without that, sentences that differ in one word (a star or a circle that moves left) left too, and were never told
apart: on the easy example corpus 42 % of those that share two of three parts did.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mttsg_core.config import LossConfig
from mttsg_core.modeling.layers import own_video_mask

_MIN_DEVIATION = 1e-4


def solve_threshold(
    positive_mean: float, positive_deviation: float, negative_mean: float, negative_deviation: float, alpha: float
) -> float | None:
    """Solve f+(phi) = alpha f-(phi) for phi, where f+ overtakes alpha f-.

    With A = s+^2 - s-^2, B = 2 (m+ s-^2 - m- s+^2) and C = (m- s+)^2 - (m+ s-)^2 + 2 s+^2 s-^2 ln(s- / (alpha s+)),
    A phi^2 + B phi + C has the sign of f+ - alpha f-, and (-B + sqrt(B^2 - 4AC)) / (2A) is its root of growing sign
    (NAAF, CVPR 2022).

    Returns:
        phi, or None if there is no such value in (-1, 1).

    >>> round(solve_threshold(0.6, 0.1, 0.0, 0.1, alpha=1.0), 6)
    0.3
    """
    values = (positive_mean, positive_deviation, negative_mean, negative_deviation, alpha)
    if not all(math.isfinite(value) for value in values) or alpha <= 0:
        return None
    if min(positive_deviation, negative_deviation) < _MIN_DEVIATION:
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
        return None  # equal deviations with m+ < m-: f+ never overtakes
    else:
        solved = (-b + root) / (2 * a)
    return solved if -1 < solved < 1 else None


class AdaptiveThreshold(nn.Module):
    """phi for one kind of score, estimated from the scores seen in training; its state is part of a training state."""

    phi: Tensor
    running_statistics: Tensor
    updates: Tensor

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("phi", torch.ones(()))  # 1: nothing is dropped
        self.register_buffer("running_statistics", torch.zeros(2, 2))  # mean, mean square; of positives, of the rest
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, scores: Tensor, positives: Tensor, negatives: Tensor) -> None:
        """Take in scores (N, M) with the masks (N, M) of pairs that belong together and of the rest."""
        scores = scores.detach().float()
        parts = []
        for mask in (positives & scores.isfinite(), negatives & scores.isfinite()):
            if not mask.any():
                return
            selected = scores[mask]
            parts.append(torch.stack([selected.mean(), selected.square().mean()]))
        statistics = torch.stack(parts)  # (2, 2)
        momentum = min(self.config.phi_momentum, float(self.updates) / (float(self.updates) + 1))
        self.running_statistics.lerp_(statistics, 1 - momentum)
        self.updates += 1
        mean, square = self.running_statistics.unbind(1)
        deviation = (square - mean**2).clamp_min(0).sqrt()
        [plus, plus_deviation], [minus, minus_deviation] = torch.stack([mean, deviation], 1).tolist()
        solved = solve_threshold(plus, plus_deviation, minus, minus_deviation, self.config.phi_alpha)
        if solved is not None:
            self.phi.copy_(self.config.phi_update * solved + (1 - self.config.phi_update) * self.phi)

    @torch.no_grad()
    def dropped(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the negatives (N, M) that score above phi and are rare, but never the least similar ones of a row."""
        scores = scores.detach().float().nan_to_num(nan=-1.0)
        order = scores.masked_fill(~negatives, math.inf).argsort(dim=1)
        columns = torch.arange(order.shape[1], device=order.device).expand_as(order)
        rank = torch.empty_like(order).scatter_(1, order, columns)
        mean, square = self.running_statistics[1]
        rare = mean + self.config.phi_rarity * (square - mean**2).clamp_min(0).sqrt()
        return negatives & (scores > self.phi) & (scores > rare) & (rank >= self.config.min_negatives)


class FalseNegatives(NamedTuple):
    """What takes no part in the contrasts of a batch.

    Attributes:
        pairs: (N, N) True where a sentence likely fits the pair of another video.
        videos: (N, V) True where a sentence likely fits another video.
    """

    pairs: Tensor
    videos: Tensor


def no_false_negatives(video_index: Tensor, videos: int) -> FalseNegatives:
    """Keep every negative: adaptive selection switched off."""
    mask = own_video_mask(video_index, videos)
    return FalseNegatives(mask.new_zeros(len(mask), len(mask)), torch.zeros_like(mask))


def best_of_videos(values: Tensor, video_index: Tensor, videos: int) -> Tensor:
    """Reduce values (N, N) of pairs to (N, V), the largest one of each video; -1 for a video without any."""
    lowest = values.new_full((len(values), videos), -1)
    return lowest.scatter_reduce(1, video_index.expand_as(values), values, "amax")


def hard_negative_weights(similarity: Tensor, video_index: Tensor, videos: int, same: float, scale: float) -> Tensor:
    """Weigh the videos (N, V) that do not show a sentence, more where this is harder to tell.

    Args:
        similarity: (N, N) cosines of the sentences.
        video_index: (N,).
        videos: V.
        same: cosine from which two sentences count as the same; their videos weigh nothing.
        scale: similarity that makes a video e times as likely.
    """
    best = best_of_videos(similarity, video_index, videos)  # (N, V)
    other = ~own_video_mask(video_index, videos) & (best < same)
    return (best / scale).exp() * other


class FalseNegativeFilter(nn.Module):
    """Finds the false negatives of a batch by how well its sentences match its pairs, and counts them.

    Attributes:
        dropped_share: share of the negatives that the last batch dropped.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.threshold = AdaptiveThreshold(config)
        self.dropped_share = torch.zeros(())

    @torch.no_grad()
    def forward(
        self, scores: Tensor, similarity: Tensor, video_index: Tensor, videos: int, same: float
    ) -> FalseNegatives:
        """Find them; in training phi also learns from the scores.

        Args:
            scores: (N, N) of sentences (rows) with pairs (columns).
            similarity: (N, N) cosines of the sentences, encoded without dropout.
            video_index: (N,) video of each.
            videos: V.
            same: cosine from which two sentences count as the same.
        """
        itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        others = video_index[:, None] != video_index  # (N, N)
        if self.training:
            self.threshold.update(scores, itself, others)
        same_sentence = similarity >= same
        pairs = self.threshold.dropped(scores, others) & same_sentence
        self.dropped_share = pairs.sum() / others.sum().clamp_min(1)
        other_videos = ~own_video_mask(video_index, videos)  # (N, V)
        same_in_video = best_of_videos(same_sentence.to(scores.dtype), video_index, videos) > 0
        best = best_of_videos(scores, video_index, videos)
        return FalseNegatives(pairs, self.threshold.dropped(best, other_videos) & same_in_video)

    def statistics(self) -> dict[str, Tensor]:
        """Return phi, and the share of the negatives that the last batch dropped."""
        return {"phi": self.threshold.phi.clone(), "dropped": self.dropped_share}
