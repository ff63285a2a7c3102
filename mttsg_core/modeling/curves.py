"""Curves over the clips of a video, one for each sentence: smoothed, scaled, and how noisy they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

SMALLEST_RANGE = 1e-3  # of a curve that is not flat
_MEDIAN_STEP = 0.954  # median step between neighbouring clips of unit noise


def smooth(curve: Tensor, mask: Tensor, width: int) -> Tensor:
    """Average curves (N, T) with mask (N, T) over `width` neighbouring clips, an odd number; fewer at the ends."""
    both = torch.stack([curve * mask, mask.to(curve.dtype)], dim=1)  # (N, 2, T)
    total, count = avg_pool1d(both, width, stride=1, padding=width // 2).unbind(1)
    return total / count.clamp_min(0.5 / width)


def unit_range(curve: Tensor, mask: Tensor) -> Tensor:
    """Scale curves (N, T) with mask (N, T) from 0 to 1 over each video; near zero where they are all but constant."""
    lowest = curve.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    return ((curve - lowest) / value_range(curve, mask)[:, None].clamp_min(SMALLEST_RANGE)).clamp(0, 1)


def value_range(curve: Tensor, mask: Tensor) -> Tensor:
    """Return the difference of the largest and the smallest value of curves (N, T) with mask (N, T): (N,)."""
    return curve.masked_fill(~mask, -torch.inf).amax(1) - curve.masked_fill(~mask, torch.inf).amin(1)


def step_noise(curve: Tensor, mask: Tensor) -> Tensor:
    """Estimate the deviation of the noise of curves (N, T) with mask (N, T) by their median step: (N,)."""
    if curve.shape[1] < 2:
        return curve.new_zeros(len(curve))
    steps = torch.where(mask[:, 1:], curve.diff(dim=1).abs(), torch.inf)  # (N, T - 1)
    steps = torch.where(steps.isnan(), torch.inf, steps)
    count = steps.isfinite().sum(1, keepdim=True)  # (N, 1)
    # The lower of two medians, by sorting: `nanmedian` is not deterministic on a GPU.
    median = steps.sort(dim=1).values.gather(1, (count - 1).clamp_min(0) // 2)  # (N, 1)
    return torch.where(count > 0, median, 0.0).squeeze(1) / _MEDIAN_STEP


def standardise(curve: Tensor, mask: Tensor) -> Tensor:
    """Scale curves (N, T) with mask (N, T) to mean 0 and deviation 1 over each video, and 0 past its end."""
    valid = mask.to(curve.dtype)
    count = valid.sum(1, keepdim=True).clamp_min(1)
    centred = (curve - (curve * valid).sum(1, keepdim=True) / count) * valid
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    return centred / deviation.clamp_min(SMALLEST_RANGE)
