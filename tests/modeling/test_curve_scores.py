"""What curves are inside, outside and around the boundaries of every proposal."""

from __future__ import annotations

import pytest
import torch

from mttsg_core.modeling.curve_scores import CurveScores, proposal_statistics
from mttsg_core.modeling.curves import unit_range
from mttsg_core.modeling.proposals import proposal_edges


def naive(curve: list[float], first: int, last: int) -> list[float]:
    """Compute the statistics of one proposal of one curve, clip by clip."""
    length = last - first
    outside = [value for clip, value in enumerate(curve) if not first <= clip < last]
    windows = [range(first, last)]
    for size in (max(1, length // 3), 2):
        windows += [range(first - size, first), range(first, first + size)]
        windows += [range(last - size, last), range(last, last + size)]
    means = [sum(curve[clip] for clip in window if 0 <= clip < len(curve)) / len(window) for window in windows]
    return [*means, sum(outside) / max(1, len(outside))]


@pytest.mark.parametrize("clips", [1, 2, 9, 40])
def test_statistics_equal_those_counted_clip_by_clip(clips: int) -> None:
    curves = torch.randn(2, 3, clips, generator=torch.Generator().manual_seed(clips))
    found = proposal_statistics(curves, torch.ones(2, clips, dtype=torch.bool)).unflatten(-1, (3, 10))
    edges = torch.stack(proposal_edges(clips), dim=-1).tolist()
    for query in range(2):
        for number in range(3):
            expected = [naive(curves[query, number].tolist(), first, last) for first, last in edges]
            torch.testing.assert_close(found[query, :, number], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing() -> None:
    curves = torch.randn(1, 2, 12, generator=torch.Generator().manual_seed(0))
    short = proposal_statistics(curves, torch.ones(1, 12, dtype=torch.bool))
    mask = torch.arange(30)[None] < 12
    padded = proposal_statistics(torch.nn.functional.pad(curves, (0, 18)), mask)
    inside = proposal_edges(30)[1] <= 12
    torch.testing.assert_close(padded[:, inside], short, atol=1e-5, rtol=1e-5)


def test_scores_start_at_zero_and_ignore_padding() -> None:
    scores = CurveScores(8, 0.1, further=1).eval()
    match, mask = torch.randn(2, 30), torch.arange(30)[None] < torch.tensor([[12], [30]])
    first, last = proposal_edges(30)
    further, seconds = torch.rand(2, len(first)), torch.tensor([12.0, 30.0])
    curve = unit_range(match, mask)
    assert not scores(match, curve, mask, seconds, further).any()
    torch.nn.init.normal_(scores.score.weight)
    both = scores(match, curve, mask, seconds, further)
    inside = last <= 12
    alone = scores(match[:1, :12], curve[:1, :12], mask[:1, :12], seconds[:1], further[:1, inside])
    torch.testing.assert_close(both[:1, inside], alone, atol=1e-5, rtol=1e-5)
