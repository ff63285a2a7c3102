"""The map of proposals, cell by cell."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.modeling.proposal_map import MapOutput, ProposalMap, cell_spans, part_shares, span_maxima

CONFIG = NetworkConfig(clip_dim=1, word_dim=1)


def mask_of(*lengths: int) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def output(cells: torch.Tensor, clips: int) -> MapOutput:
    return MapOutput(cells, torch.full((len(cells),), torch.inf), torch.ones(len(cells), clips, dtype=torch.bool))


def test_the_parts_of_a_video_are_equal_and_clips_are_shared_among_them() -> None:
    shares = part_shares(4, mask_of(8, 6, 1))
    torch.testing.assert_close(shares.sum(2), torch.ones(3, 4))
    assert shares[0, 1].tolist() == [0, 0, 0.5, 0.5, 0, 0, 0, 0]
    torch.testing.assert_close(shares[1, 0], torch.tensor([2 / 3, 1 / 3, 0, 0, 0, 0, 0, 0]))
    assert (shares[2, :, 0] == 1).all(), "every part of a video of one clip shows that clip"


def test_a_cell_has_the_maximum_of_its_parts() -> None:
    parts = torch.randn(2, 5, 3)
    cells = span_maxima(parts)
    assert cells.shape == (2, 3, 5, 5)
    for first in range(5):
        for last in range(5):
            expected = parts[:, first : last + 1].amax(1) if first <= last else torch.zeros(2, 3)
            torch.testing.assert_close(cells[:, :, first, last], expected)


def test_the_cells_of_a_map_are_moments() -> None:
    assert cell_spans(2, mask_of(6, 2)).tolist() == [[[0, 3], [0, 6], [3, 6]], [[0, 1], [0, 2], [1, 2]]]


def test_the_best_cell_is_the_answer_and_its_clips_are_salient() -> None:
    cells = torch.full((1, 4, 4), -5.0)
    cells[0, 1, 2] = 2.0
    cells[0, 3, 0] = 9.0  # ends before it starts: no moment
    spans, scores = output(cells, 8).answers(2, CONFIG)
    assert spans[0, 0].tolist() == [2, 6]
    torch.testing.assert_close(scores[0], torch.tensor([2.0, -5.0]).sigmoid())
    curve = output(cells, 8).saliency(CONFIG)[0]
    high, low = torch.tensor([2.0, -5.0]).sigmoid()
    torch.testing.assert_close(curve, torch.stack([low, low, high, high, high, high, low, low]))


def test_the_loss_wants_scaled_overlaps_with_any_moment_of_the_sentence() -> None:
    targets = Targets(torch.tensor([[2.0, 6.0], [6.0, 8.0]]), torch.tensor([0, 0]))
    overlap = torch.zeros(4, 4)  # of the cells with the nearer of both moments
    for first in range(4):
        for last in range(first, 4):
            start, end = 2 * first, 2 * last + 2
            overlap[first, last] = max(
                max(0, min(end, b) - max(start, a)) / (max(end, b) - min(start, a)) for a, b in ((2, 6), (6, 8))
            )
    labels = ((overlap - 0.3) / 0.4).clamp(0, 1)
    cells = torch.logit(labels, 1e-4)[None].expand(2, 4, 4)

    def loss(cells: torch.Tensor) -> float:
        return float(output(cells, 8).losses(targets, LossConfig())["map"])

    assert loss(cells) == pytest.approx(
        float(torch.distributions.Bernoulli(labels[torch.ones(4, 4).triu() > 0]).entropy().mean()), abs=1e-3
    )
    assert loss(cells) < loss(cells + 0.5)
    assert loss(cells) < loss(torch.zeros_like(cells))


def test_the_border_of_the_map_is_as_bright_as_its_middle() -> None:
    head = ProposalMap(NetworkConfig(clip_dim=1, word_dim=1, head_width=4, map_width=4, map_bins=6, presence=False))
    for parameter in head.parameters():
        nn.init.constant_(parameter, 0.1 if parameter.ndim > 1 else 0.0)
    with torch.no_grad():
        cells = head(torch.ones(1, 9, 4), torch.ones(1, 9, dtype=torch.bool), torch.ones(1)).cells
    upper = torch.ones(6, 6, dtype=torch.bool).triu()
    torch.testing.assert_close(cells[0][upper], cells[0, 2, 4].expand(int(upper.sum())))
