"""Encoders of clips and regions: what a clip is told of the clips around it."""

from __future__ import annotations

import torch

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.backbone import RegionEncoder, change, held_ends
from tests.helpers.tiny import REGION_DIM, REGIONS, SIZES


def region_encoder() -> RegionEncoder:
    torch.manual_seed(0)
    return RegionEncoder(NetworkConfig(clip_dim=4, word_dim=4, regions=REGIONS, region_dim=REGION_DIM, **SIZES)).eval()


def test_change_is_after_minus_before_and_the_ends_go_on_for_ever() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]])[..., None]
    assert change(values, 1).squeeze().tolist() == [1.0, 3.0, 6.0, 12.0, 8.0]
    assert change(values, 3).squeeze().tolist() == [7.0, 15.0, 15.0, 15.0, 14.0]
    assert change(values[:, :1], 3).squeeze().tolist() == 0.0


def test_the_last_clip_goes_on_after_the_end_of_its_video() -> None:
    values, mask = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([[True, True, True], [True, False, False]])
    held = held_ends(values, mask)
    assert torch.equal(held[0], values[0])
    assert torch.equal(held[1], values[1, :1].expand(3, 2))


def test_a_region_that_grows_is_told_from_one_that_shrinks_by_a_single_clip() -> None:
    encoder = region_encoder()
    growing = torch.linspace(-1, 1, 7)[None, :, None, None].expand(1, 7, REGIONS, REGION_DIM)
    mask = torch.ones(1, 7, dtype=torch.bool)
    up, down = encoder(growing, mask), encoder(growing.flip(1), mask)
    assert (up[:, 3] - down[:, 3]).abs().max() > 0.05  # the middle clip itself is the same in both


def test_a_still_region_is_told_from_the_same_one_that_is_rare() -> None:
    encoder = region_encoder()
    still = torch.ones(1, 31, REGIONS, REGION_DIM)
    rare = still.clone()
    rare[:, 10:] = 0
    mask = torch.ones(1, 31, dtype=torch.bool)
    assert (encoder(still, mask)[:, 5] - encoder(rare, mask)[:, 5]).abs().max() > 0.05  # all as far as it reaches


def test_what_lies_past_the_end_of_a_video_changes_none_of_its_regions() -> None:
    encoder = region_encoder()
    short = torch.randn(1, 5, REGIONS, REGION_DIM)
    longer = torch.cat([short, torch.full((1, 4, REGIONS, REGION_DIM), 1e3)], dim=1)
    mask = torch.arange(9)[None] < 5
    torch.testing.assert_close(encoder(longer, mask)[:, :5], encoder(short, torch.ones(1, 5, dtype=torch.bool)))
