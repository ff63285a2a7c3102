"""Adaptive negative selection by generated thresholds phi (the paper's module 5; docs/method.md, section 3).

Similar sentences occur with several videos, so a sentence may fit a pair that it does not belong to. How well sentence
p fits pair q is the cosine S_pq of p and the sentence of q, which is encoded another time, without dropout: a pair and
itself then differ as much as two pairs of the same sentence do.

With running Gaussians of the scores of sentences and their own pairs, N(m+, s+), and of the rest, N(m-, s-), phi is
where f+(phi) = alpha f-(phi) (NAAF, CVPR 2022). Of the rest, one in `odds` could be as likely as an own pair is, where
`odds` is the number of the rest for each own pair; so with alpha = odds a pair that scores above phi is more likely a
match than not. Two thresholds follow, and nothing is set by hand but the odds at which a pair changes sides:

    above phi_same, alpha = odds                q says the same as p: its moment is a positive of p
    above phi, alpha = odds / 10                it may say the same: no negative of p
    else                                        a negative of p
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mttsg_core.config import LossConfig
from mttsg_core.modeling.layers import own_video_mask

# Below it, the root of a difference of squares near 1 is rounding in single precision, and differs between processors.
_MIN_DEVIATION = 1e-3
_ROUNDING = 1e-5  # by which two views of one sentence without dropout may differ


def solve_threshold(
    positive_mean: Tensor, positive_deviation: Tensor, negative_mean: Tensor, negative_deviation: Tensor, alpha: Tensor
) -> Tensor:
    """Solve f+(phi) = alpha f-(phi) for phi, where f+ overtakes alpha f-.

    With A = s+^2 - s-^2, B = 2 (m+ s-^2 - m- s+^2) and C = (m- s+)^2 - (m+ s-)^2 + 2 s+^2 s-^2 ln(s- / (alpha s+)),
    A phi^2 + B phi + C has the sign of f+ - alpha f-, and (-B + sqrt(B^2 - 4AC)) / (2A) is its root of growing sign
    (NAAF, CVPR 2022).

    Returns:
        phi, in the shape that the arguments have together; NaN where there is no such value in (-1, 1).

    >>> numbers = torch.tensor([0.6, 0.1, 0.0, 0.1, 1.0], dtype=torch.double)
    >>> round(float(solve_threshold(*numbers.unbind())), 6)
    0.3
    """
    plus, minus = positive_deviation**2, negative_deviation**2
    a = plus - minus
    b = 2 * (positive_mean * minus - negative_mean * plus)
    c = negative_mean**2 * plus - positive_mean**2 * minus
    c = c + 2 * plus * minus * (negative_deviation / (alpha * positive_deviation)).log()
    root = (b * b - 4 * a * c).sqrt()  # NaN where the densities do not cross
    # Where B >= 0 the same root is found without the difference of near equals, so that A may be 0: then it is -C / B.
    solved = torch.where(b >= 0, -2 * c / (b + root), (root - b) / (2 * a))
    never = (b < 0) & (a.abs() <= 1e-9 * torch.maximum(plus, minus))  # equal deviations with m+ < m-
    exists = (torch.minimum(positive_deviation, negative_deviation) >= _MIN_DEVIATION) & ~never & (solved.abs() < 1)
    return torch.where(exists, solved, torch.nan)


class AdaptiveThresholds(nn.Module):
    """phi and phi_same, estimated from the scores seen in training; their state is part of a training state."""

    phi: Tensor
    running_statistics: Tensor
    updates: Tensor

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("phi", torch.ones(2))  # phi and phi_same; 1: nothing is dropped, nothing is the same
        self.register_buffer("running_statistics", torch.zeros(2, 2))  # mean, mean square; of own pairs, of the rest
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, scores: Tensor, own: Tensor, others: Tensor) -> None:
        """Take in scores (N, M) with the masks (N, M) of the sentences' own pairs and of the rest.

        Nothing changes where there are no scores of one of both. No number is read back from a GPU.
        """
        scores, config = scores.detach().float(), self.config
        masks = torch.stack([own, others]) & scores.isfinite()  # (2, N, M)
        selected = torch.where(masks, scores, 0.0)  # (2, N, M)
        counts = masks.sum((1, 2))  # (2,)
        sums = torch.stack([selected.sum((1, 2)), selected.square().sum((1, 2))], dim=1)  # (2, 2)
        has_both = (counts > 0).all()
        weight = (1 / (self.updates + 1)).clamp_min(1 - config.phi_momentum) * has_both
        self.running_statistics.lerp_(sums / counts.clamp_min(1)[:, None], weight)
        self.updates += has_both
        solved = self._solve(counts[1] / counts[0].clamp_min(1))  # (2,)
        moved = config.phi_update * solved + (1 - config.phi_update) * self.phi
        self.phi.copy_(torch.where(solved.isfinite() & has_both, moved, self.phi))

    def _solve(self, odds: Tensor) -> Tensor:
        """Return the solutions (2,) for phi and phi_same by the running statistics, NaN where there is none."""
        mean, square = self.running_statistics.unbind(1)
        deviation = (square - mean**2).clamp_min(0).sqrt()
        numbers = torch.cat([torch.stack([mean, deviation], dim=1).flatten(), odds[None]])  # (5,)
        exact = (numbers.cpu() if numbers.device.type == "mps" else numbers).double()  # MPS has no double precision
        alpha = torch.stack([exact[4] * self.config.phi_neutral_odds, exact[4] * self.config.phi_same_odds])
        plus, plus_deviation, minus, minus_deviation = exact[:4].unbind()
        return solve_threshold(plus, plus_deviation, minus, minus_deviation, alpha).to(self.phi)

    def may_match(self, scores: Tensor) -> Tensor:
        """Return which scores (N, M) are above phi: such a pair is not a negative."""
        return scores.clamp_max(1) > self.phi[0]  # cosines of equal sentences can be above 1 by rounding

    def match(self, scores: Tensor) -> Tensor:
        """Return which scores (N, M) are above phi_same, and not below phi: such a pair is a positive."""
        return scores.clamp_max(1) > self.phi.amax()


class FalseNegatives(NamedTuple):
    """What takes no part in the contrasts of a batch.

    Attributes:
        pairs: (N, N) True where a sentence may fit the pair of another video.
        videos: (N, V) True where a sentence may fit another video.
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


def hard_negative_weights(
    similarity: Tensor, own_similarity: Tensor, video_index: Tensor, videos: int, scale: float
) -> Tensor:
    """Weigh the videos (N, V) that do not show a sentence, more where this is harder to tell.

    Args:
        similarity: (N, N) cosines of the sentences.
        own_similarity: (N,) cosines of two views of each sentence: videos with a sentence as similar weigh nothing.
        video_index: (N,).
        videos: V.
        scale: similarity that makes a video e times as likely.
    """
    best = best_of_videos(similarity, video_index, videos)  # (N, V)
    other = ~own_video_mask(video_index, videos) & (best < own_similarity[:, None] - _ROUNDING)
    return (best / scale).exp() * other


class FalseNegativeFilter(nn.Module):
    """Finds the false negatives of a batch by how well its sentences match each other, and counts them.

    Attributes:
        thresholds: phi and phi_same.
        dropped_share: share of the negatives that the last batch dropped.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.min_negatives = config.min_negatives
        self.thresholds = AdaptiveThresholds(config)
        self.dropped_share = torch.zeros(())

    @torch.no_grad()
    def forward(self, scores: Tensor, video_index: Tensor, videos: int) -> FalseNegatives:
        """Find them.

        Args:
            scores: (N, N) of sentences (rows) with the sentences of the pairs (columns).
            video_index: (N,) video of each.
            videos: V.
        """
        others = video_index[:, None] != video_index  # (N, N)
        pairs = self._dropped(scores, others)
        self.dropped_share = pairs.sum() / others.sum().clamp_min(1)
        best = best_of_videos(scores, video_index, videos)
        return FalseNegatives(pairs, self._dropped(best, ~own_video_mask(video_index, videos)))

    def statistics(self) -> dict[str, Tensor]:
        """Return both thresholds, and the share of the negatives that the last batch dropped."""
        phi, phi_same = self.thresholds.phi.clone()
        return {"phi": phi, "phi_same": phi_same, "dropped": self.dropped_share}

    def _dropped(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the negatives (N, M) that score above phi, but never the least similar ones of a row.

        Equal sentences differ by rounding; none of them is dropped where one is kept.
        """
        scores = scores.detach().float().nan_to_num(nan=-1.0)
        least = min(self.min_negatives, scores.shape[1])
        if not least:
            return negatives & self.thresholds.may_match(scores)
        kept = torch.where(negatives, scores, torch.inf).topk(least, dim=1, largest=False).values[:, -1:]  # (N, 1)
        return negatives & self.thresholds.may_match(scores) & (scores > kept + _ROUNDING)
