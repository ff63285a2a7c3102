"""Scores of proposals from curves over the video alone: how high they are inside, outside and around both boundaries.

A curve tells how well each clip fits the sentence. What a span needs to be is simple in terms of it: high inside, low
outside, a step up at the start and a step down at the end, at a scale that grows with the span. A few hundred weights
over such statistics cannot learn training sentences by heart, as the recurrent head can (docs/results.md).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mttsg_core.modeling.curves import smooth, standardise, unit_range
from mttsg_core.modeling.proposals import GEOMETRY, proposal_edges, proposal_geometry
from mttsg_core.utils.devices import upload

_EDGE_SHARE = 3  # the windows around a boundary are a third of the span long
_EDGE_CLIPS = 2  # and there are others of two clips
_WINDOWS = 10
_GAIN = 3.0  # of the scores: these few weights learn faster than the rest of a network
_CURVES = 3
_SMOOTHED = 3  # clips that a curve is smoothed over
# About the mean and the deviation of what is read, so that all of it has the same weight at first.
_USUAL_MEAN, _USUAL_DEVIATION = 0.4, 0.25  # of curves from 0 to 1
_FLAG_DEVIATION, _FURTHER_DEVIATION = 1 / 3, 1 / 6


class CurveScores(nn.Module):
    """Maps how well the clips of N videos fit their sentences to logits of P proposals.

    Args:
        width: of the hidden layer.
        dropout: share of hidden units dropped in training.
        further: 1 if `forward` is given one more number of each proposal.
    """

    def __init__(self, width: int, dropout: float, further: int = 0) -> None:
        super().__init__()
        self.read = nn.Linear(_CURVES * _WINDOWS + GEOMETRY + 1 + further, width)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)  # it starts without an opinion
        nn.init.zeros_(self.score.bias)

    def forward(
        self, match: Tensor, curve: Tensor, mask: Tensor, durations: Tensor, further: Tensor | None = None
    ) -> Tensor:
        """Score proposals.

        Args:
            match: (N, T) how well clips fit, on any scale.
            curve: (N, T) the same or another opinion, from 0 to 1 over each video.
            mask: (N, T).
            durations: (N,) seconds of the videos.
            further: (N, P) one more number of each proposal, small.

        Returns:
            (N, P); without a meaning past the end of a video.
        """
        first, last = proposal_edges(mask.shape[1], mask.device)
        relative = torch.stack([unit_range(smooth(curve, mask, _SMOOTHED), mask), curve], dim=1)  # (N, 2, T)
        relative = (relative - _USUAL_MEAN) / _USUAL_DEVIATION * mask[:, None]
        curves = torch.cat([standardise(match, mask)[:, None], relative], dim=1)  # (N, 3, T)
        peak = curve.masked_fill(~mask, -torch.inf).argmax(1, keepdim=True)  # (N, 1)
        has_peak = ((first <= peak) & (peak < last)).to(curve.dtype) / _FLAG_DEVIATION  # (N, P)
        numbers = [has_peak] if further is None else [has_peak, further / _FURTHER_DEVIATION]
        geometry = proposal_geometry(first, last, mask.sum(1), durations)  # (N, P, G)
        features = torch.cat([proposal_statistics(curves, mask), geometry, torch.stack(numbers, dim=-1)], dim=-1)
        scores: Tensor = self.score(self.dropout(functional.gelu(self.read(features))))
        return _GAIN * scores.squeeze(-1)


def proposal_statistics(curves: Tensor, mask: Tensor) -> Tensor:
    """Average curves inside and outside of every proposal, and on both sides of its boundaries.

    What lies past either end of the video counts as 0, the mean of a standardised curve.

    Args:
        curves: (N, K, T), 0 past the end of a video.
        mask: (N, T).

    Returns:
        (N, P, 10 K): inside, outside, then before the start, after it, before the end and after it, over a third of the
        span and over two clips.
    """
    clips = curves.shape[-1]
    layout = _windows(clips, curves.device)
    if curves.device.type == "cpu":
        total = functional.pad(curves.cumsum(-1), (1, 0))  # (N, K, T + 1)
        edges = total.index_select(-1, layout.edges.flatten()).unflatten(-1, layout.edges.shape)  # (N, K, 2, 9, P)
        means = (edges[:, :, 1] - edges[:, :, 0]) / layout.sizes  # (N, K, 9, P)
    else:  # one product, which is deterministic and starts fewer kernels
        clip = torch.arange(clips, device=curves.device)[:, None, None]
        inside = (clip >= layout.edges[0]) & (clip < layout.edges[1])  # (T, 9, P)
        means = (curves @ (inside / layout.sizes).flatten(1)).unflatten(-1, layout.sizes.shape)
    length = layout.sizes[0]  # (P,)
    rest = (mask.sum(1)[:, None, None] - length).clamp_min(1)  # (N, 1, P)
    outside = (curves.sum(-1, keepdim=True) - means[:, :, 0] * length) / rest  # (N, K, P)
    return torch.cat([means, outside[:, :, None]], dim=2).flatten(1, 2).transpose(1, 2)


class _Windows(NamedTuple):
    """Nine windows for each of P proposals: the proposal itself, and those around its boundaries.

    Attributes:
        edges: (2, 9, P) first clip and one past the last, inside 0..T.
        sizes: (9, P) clips, whether or not they are all inside the video.
    """

    edges: Tensor
    sizes: Tensor


@lru_cache(maxsize=64)
def _windows(clips: int, device: torch.device) -> _Windows:
    with torch.inference_mode(False):  # they are used in training too
        first, last = proposal_edges(clips)
        edge = ((last - first) // _EDGE_SHARE).clamp_min(1)
        starts, ends = [first], [last]
        for size in (edge, torch.full_like(edge, _EDGE_CLIPS)):
            starts += [first - size, first, last - size, last]
            ends += [first, first + size, last, last + size]
        edges = torch.stack([torch.stack(starts), torch.stack(ends)])
        return _Windows(upload(edges.clamp(0, clips), device), upload((edges[1] - edges[0]).float(), device))
