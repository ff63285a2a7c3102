"""Scores of proposals from curves over the video alone: how high they are inside, outside and around both boundaries.

A curve tells how well each clip fits the sentence. What a span needs to be is simple in terms of it: high inside, low
outside, a step up at the start and a step down at the end, at a scale that grows with the span. A few hundred weights
over such statistics cannot learn training sentences by heart, as the recurrent head can (docs/results.md).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from mttsg_core.modeling.proposals import proposal_edges
from mttsg_core.utils.devices import upload

_EDGE_SHARE = 3  # the windows around a boundary are a third of the span long
_EDGE_CLIPS = 2  # and there are others of two clips
_WINDOWS = 10
_GAIN = 3.0  # of the scores: these few weights learn faster than the rest of a network
_SMALLEST_DEVIATION = 1e-3  # of a curve that is not flat


class CurveScores(nn.Module):
    """Maps K curves over the T clips of N videos to logits of P proposals.

    Args:
        curves: K.
        geometry: further numbers of each proposal.
        hidden: width of the hidden layer.
        dropout: share of hidden units dropped in training.
    """

    def __init__(self, curves: int, geometry: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.read = nn.Linear(curves * _WINDOWS + geometry, hidden)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(hidden, 1)
        nn.init.zeros_(self.score.weight)  # it starts without an opinion
        nn.init.zeros_(self.score.bias)

    def forward(self, curves: Tensor, mask: Tensor, geometry: Tensor) -> Tensor:
        """Score proposals.

        Args:
            curves: (N, K, T), 0 past the end of a video.
            mask: (N, T).
            geometry: (N, P, G).

        Returns:
            (N, P); without a meaning past the end of a video.
        """
        features = torch.cat([proposal_statistics(curves, mask), geometry], dim=-1)
        scores: Tensor = self.score(self.dropout(functional.gelu(self.read(features))))
        return _GAIN * scores.squeeze(-1)


def standardised(curves: Tensor, mask: Tensor) -> Tensor:
    """Scale curves (N, K, T) with mask (N, T) to mean 0 and deviation 1 over the video, and 0 past its end."""
    valid = mask[:, None].to(curves.dtype)
    count = valid.sum(-1, keepdim=True).clamp_min(1)
    centred = (curves - (curves * valid).sum(-1, keepdim=True) / count) * valid
    deviation = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    return centred / deviation.clamp_min(_SMALLEST_DEVIATION)


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
    first, last, windows = _windows(clips, curves.device)
    total = functional.pad(curves.cumsum(-1), (1, 0))  # (N, K, T + 1)
    edges = total.index_select(-1, windows.flatten()).unflatten(-1, windows.shape)  # (N, K, 2, 9, P)
    sums = edges[:, :, 1] - edges[:, :, 0]  # (N, K, 9, P)
    length = (last - first).to(curves.dtype)  # (P,)
    edge = (length / _EDGE_SHARE).floor().clamp_min(1)
    sizes = torch.stack([length, *[edge] * 4, *[torch.full_like(length, _EDGE_CLIPS)] * 4])  # (9, P)
    rest = (mask.sum(1)[:, None, None] - length).clamp_min(1)  # (N, 1, P)
    outside = (total[..., -1:] - sums[:, :, 0]) / rest  # (N, K, P)
    means = torch.cat([sums / sizes, outside[:, :, None]], dim=2)  # (N, K, 10, P)
    return means.flatten(1, 2).transpose(1, 2)


@lru_cache(maxsize=64)
def _windows(clips: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the edges (P,) of proposals and those of nine windows for each, (2, 9, P), inside 0..T."""
    with torch.inference_mode(False):
        first, last = proposal_edges(clips)
        edge = ((last - first) // _EDGE_SHARE).clamp_min(1)
        starts, ends = [first], [last]
        for size in (edge, torch.full_like(edge, _EDGE_CLIPS)):
            starts += [first - size, first, last - size, last]
            ends += [first, first + size, last, last + size]
        windows = torch.stack([torch.stack(starts), torch.stack(ends)]).clamp(0, clips)
        return upload(first, device), upload(last, device), upload(windows, device)
