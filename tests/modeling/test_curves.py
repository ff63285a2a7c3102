"""Curves over the clips of a video: smoothed, scaled, and how noisy they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mttsg_core.modeling.curves import smooth, standardise, step_noise, unit_range


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_curves_are_averaged_over_their_valid_neighbours() -> None:
    curve = torch.tensor([[1.0, 4.0, 1.0, 1.0], [3.0, 1.0, 9.0, 9.0]])
    expected = [[2.5, 2.0, 2.0, 1.0], [2.0, 2.0]]
    smoothed = smooth(curve, mask_of(4, 2), 3)
    torch.testing.assert_close(smoothed[0], torch.tensor(expected[0]))
    torch.testing.assert_close(smoothed[1, :2], torch.tensor(expected[1]))


def test_curves_are_scaled_over_their_video_alone() -> None:
    scaled = unit_range(torch.tensor([[2.0, 4.0, 3.0], [5.0, 6.0, 99.0]]), mask_of(3, 2))
    torch.testing.assert_close(scaled[0], torch.tensor([0.0, 1.0, 0.5]))
    torch.testing.assert_close(scaled[1, :2], torch.tensor([0.0, 1.0]))


def test_noise_is_the_median_step_and_one_clip_has_none() -> None:
    curve = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)) * 0.3
    assert float(step_noise(curve, mask_of(4000))) == pytest.approx(0.3, rel=0.06)
    assert float(step_noise(torch.ones(1, 1), mask_of(1))) == 0


def test_curves_are_standardised_over_their_video_alone() -> None:
    scaled = standardise(torch.tensor([[1.0, 3.0, 99.0], [2.0, 2.0, 2.0]]), mask_of(2, 3)[:, :3])
    torch.testing.assert_close(scaled, torch.tensor([[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
