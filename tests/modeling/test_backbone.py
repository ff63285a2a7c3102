"""Encoders of clips and regions: the context of a clip. Lists of encoded queries."""

from __future__ import annotations

import pytest
import torch

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.backbone import EncodedQueries, RegionEncoder, change, repeat_last
from tests.helpers.tiny import REGION_DIM, REGIONS, SIZES


def region_encoder() -> RegionEncoder:
    torch.manual_seed(0)
    return RegionEncoder(NetworkConfig(clip_dim=4, word_dim=4, regions=REGIONS, region_dim=REGION_DIM, **SIZES)).eval()


def test_change_is_the_clip_after_minus_the_clip_before_with_the_ends_repeated() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]])[..., None]
    assert change(values, 1).squeeze().tolist() == [1.0, 3.0, 6.0, 12.0, 8.0]
    assert change(values, 3).squeeze().tolist() == [7.0, 15.0, 15.0, 15.0, 14.0]
    assert change(values[:, :1], 3).flatten().tolist() == [0.0]


def test_the_last_clip_is_repeated_over_the_padding() -> None:
    values, mask = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([[True, True, True], [True, False, False]])
    repeated = repeat_last(values, mask)
    assert torch.equal(repeated[0], values[0])
    assert torch.equal(repeated[1], values[1, :1].expand(3, 2))


def test_a_single_clip_tells_a_growing_region_from_a_shrinking_one() -> None:
    encoder = region_encoder()
    growing = torch.linspace(-1, 1, 7)[None, :, None, None].expand(1, 7, REGIONS, REGION_DIM)
    mask = torch.ones(1, 7, dtype=torch.bool)
    up, down = encoder(growing, mask), encoder(growing.flip(1), mask)
    assert (up[:, 3] - down[:, 3]).abs().max() > 0.05  # the middle clip itself is the same in both


def test_a_clip_tells_a_region_that_never_changes_from_the_same_one_that_is_rare() -> None:
    encoder = region_encoder()
    constant = torch.ones(1, 31, REGIONS, REGION_DIM)
    rare = constant.clone()
    rare[:, 10:] = 0
    mask = torch.ones(1, 31, dtype=torch.bool)
    difference = encoder(constant, mask)[:, 5] - encoder(rare, mask)[:, 5]
    assert difference.abs().max() > 0.05  # no change is within reach of this clip


def test_values_past_the_end_of_a_video_do_not_change_its_regions() -> None:
    encoder = region_encoder()
    short = torch.randn(1, 5, REGIONS, REGION_DIM)
    longer = torch.cat([short, torch.full((1, 4, REGIONS, REGION_DIM), 1e3)], dim=1)
    mask = torch.arange(9)[None] < 5
    torch.testing.assert_close(encoder(longer, mask)[:, :5], encoder(short, torch.ones(1, 5, dtype=torch.bool)))


def test_regions_do_not_depend_on_how_many_videos_are_encoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, regions = region_encoder(), torch.randn(5, 6, REGIONS, REGION_DIM)
    mask = torch.arange(6) < torch.tensor([[6], [2], [1], [5], [6]])
    expected = encoder(regions, mask)
    monkeypatch.setattr("mttsg_core.modeling.backbone._VIDEOS_AT_ONCE", 5)
    torch.testing.assert_close(encoder(regions, mask), expected)


def encoded_queries(lengths: list[int], longest: int, excluded: torch.Tensor | None) -> EncodedQueries:
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return EncodedQueries(torch.randn(len(lengths), longest, 4), torch.randn(len(lengths), 4), mask, excluded)


def test_a_part_of_the_queries_keeps_what_belongs_to_each() -> None:
    queries = encoded_queries([2, 5, 3], 5, torch.tensor([[1, 2], [3, 4], [5, 6]]))
    for rows, numbers in ((torch.tensor([2, 0]), [2, 0]), (slice(1, 3), [1, 2])):
        part = queries.part(rows)
        assert torch.equal(part.words, queries.words[numbers])
        assert torch.equal(part.sentence, queries.sentence[numbers])
        assert torch.equal(part.mask, queries.mask[numbers])
        assert part.excluded_sources is not None
        assert part.excluded_sources.tolist() == [[[1, 2], [3, 4], [5, 6]][number] for number in numbers]
    assert encoded_queries([2], 5, None).part(slice(1)).excluded_sources is None
