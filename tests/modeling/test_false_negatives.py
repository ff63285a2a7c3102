"""phi against a numeric root, its degenerate cases, and which negatives it drops."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from mttsg_core.modeling.false_negatives import (
    ALPHA,
    AdaptiveThreshold,
    FalseNegativeFilter,
    no_false_negatives,
    solve_threshold,
)


def _log_ratio(x: Any, plus: float, plus_deviation: float, minus: float, minus_deviation: float) -> Any:
    """ln f+ - ln (alpha f-)."""
    above = -math.log(plus_deviation) - 0.5 * ((x - plus) / plus_deviation) ** 2
    return above + math.log(minus_deviation) + 0.5 * ((x - minus) / minus_deviation) ** 2 - math.log(ALPHA)


def _rising_root(values: tuple[float, float, float, float]) -> float | None:
    """Where the sign of the log ratio goes from - to + within (-1, 1), by bisection."""
    grid = np.linspace(-1, 1, 20001)
    signs = _log_ratio(grid, *values)
    found = np.flatnonzero((signs[:-1] < 0) & (signs[1:] >= 0))
    if len(found) == 0:
        return None
    low, high = float(grid[found[0]]), float(grid[found[0] + 1])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _log_ratio(middle, *values) < 0 else (low, middle)
    return high


def test_phi_is_where_the_weighted_densities_cross() -> None:
    random = np.random.default_rng(0)
    solved = 0
    for _ in range(400):
        plus, minus = sorted(random.uniform(-0.9, 0.9, 2), reverse=True)
        values = (float(plus), float(random.uniform(0.03, 0.5)), float(minus), float(random.uniform(0.03, 0.5)))
        expected, phi = _rising_root(values), solve_threshold(*values, ALPHA)
        if expected is None:
            assert phi is None or abs(phi) > 0.9999
        else:
            assert phi == pytest.approx(expected, abs=1e-6)
            solved += 1
    assert solved > 200


@pytest.mark.parametrize("deviation", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("more", [0.0, 1e-12, -1e-12, 1e-6])
def test_equal_spreads(deviation: float, more: float) -> None:
    phi = solve_threshold(0.5, deviation + more, 0.1, deviation, ALPHA)
    assert phi == pytest.approx(0.3 + deviation**2 * math.log(ALPHA) / 0.4, abs=1e-4)


@pytest.mark.parametrize(
    "values",
    [
        (0.5, 0.0, 0.1, 0.1),
        (0.5, 0.1, 0.1, 0.0),
        (0.3, 0.1, 0.3, 0.1),
        (math.nan, 0.1, 0.1, 0.1),
        (0.5, math.inf, 0.1, 0.1),
        (0.1, 0.1, 0.5, 0.1),
        (0.0, 0.5, 0.0, 0.5),
    ],
)
def test_no_crossing_no_phi(values: tuple[float, float, float, float]) -> None:
    phi = solve_threshold(*values, ALPHA)
    assert phi is None or (-1 < phi < 1 and values[2] > values[0])


def _scores(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(40, 40, generator=generator) * 0.1
    positives = torch.eye(40, dtype=torch.bool)
    scores[positives] = 0.6 + 0.1 * torch.randn(40, generator=generator)
    return scores, positives


def _sentences(same: torch.Tensor) -> torch.Tensor:
    """(N, N) directions at right angles, but the same where `same` (N, N) says so."""
    return torch.eye(len(same))[torch.where(same.any(0), same.int().argmax(0), torch.arange(len(same)))]


def test_false_negatives_leave_and_others_stay() -> None:
    negatives = FalseNegativeFilter().train()
    twins = torch.zeros(40, 40, dtype=torch.bool)
    twins[torch.arange(0, 40, 2), torch.arange(1, 40, 2)] = True
    video_index = torch.arange(40)
    for seed in range(20):
        scores, positives = _scores(seed)
        scores[twins] = 0.6
        sentences = _sentences(twins)
        found = negatives(scores, sentences, video_index, 40)
    assert found.pairs[twins].all()
    assert found.pairs[~twins].float().mean() < 0.05
    assert not found.pairs[positives].any()
    assert torch.equal(found.pairs, found.videos)
    report = negatives.statistics()
    assert 0.1 < float(report["phi"]) < 0.6
    assert float(report["dropped"]) == pytest.approx(float(found.pairs.sum()) / (40 * 39))


def test_pairs_of_the_same_video_are_left_to_the_annotation() -> None:
    negatives = FalseNegativeFilter().eval()
    negatives.threshold.phi.fill_(0.5)
    video_index = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])
    scores = torch.full((8, 8), 0.1)
    scores[0, 1] = scores[0, 3] = scores[2, 0] = 0.9
    said = torch.eye(8)[[0, 0, 0, 0, 4, 5, 6, 7]]
    found = negatives(scores, said, video_index, 7)
    assert found.pairs.nonzero().tolist() == [[0, 3], [2, 0]]
    assert found.videos.nonzero().tolist() == [[0, 2], [2, 0]]
    alike = torch.tensor([[1, 1, 1, 0, 0, 0, 0]] * 4 + [[0] * 7] * 4, dtype=torch.bool)
    own = torch.nn.functional.one_hot(video_index, 7).bool()
    assert torch.equal(found.strangers == 0, own | alike)


def test_a_high_score_is_not_enough_where_the_sentences_differ() -> None:
    negatives = FalseNegativeFilter().eval()
    negatives.threshold.phi.fill_(0.5)
    scores = torch.full((8, 8), 0.1)
    scores[0, 1] = scores[0, 2] = 0.9
    near = torch.eye(8)
    near[1] = near[0]
    near[2] = torch.nn.functional.normalize(near[0] + 0.5 * near[2], dim=0)
    found = negatives(scores, near, torch.arange(8), 8)
    assert found.pairs.nonzero().tolist() == [[0, 1]]
    weights = found.strangers[0]
    assert weights[0] == weights[1] == 0
    assert weights[2] == weights.max(), "what is hard to tell from it is asked more often"


def test_nothing_is_dropped_where_selection_is_off() -> None:
    found = no_false_negatives(torch.tensor([0, 0, 1]), 2)
    assert found.pairs.shape == (3, 3)
    assert found.videos.shape == (3, 2)
    assert not found.pairs.any()
    assert not found.videos.any()
    assert found.strangers.tolist() == [[0, 1], [0, 1], [1, 0]]


def test_the_four_least_similar_always_stay() -> None:
    threshold = AdaptiveThreshold()
    threshold.phi.fill_(-1.0)
    threshold.moments[1] = torch.tensor([-1.0, 1.0])
    scores, positives = _scores(0)
    dropped = threshold.dropped(scores, ~positives)
    assert ((~positives & ~dropped).sum(1) == 4).all()
    least = scores.masked_fill(positives, 9).topk(4, largest=False).indices
    assert not dropped.gather(1, least).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_never_enters(bad: float) -> None:
    threshold = AdaptiveThreshold()
    scores, positives = _scores(0)
    for _ in range(5):
        threshold.update(scores, positives, ~positives)
    before = {name: value.clone() for name, value in threshold.state_dict().items()}
    broken = scores.clone()
    broken[::2] = bad
    threshold.update(broken, positives, ~positives)
    threshold.update(torch.full_like(scores, bad), positives, ~positives)
    threshold.update(scores, torch.zeros_like(positives), ~positives)
    assert all(value.isfinite().all() for value in threshold.state_dict().values())
    assert float(threshold.phi) == pytest.approx(float(before["phi"]), abs=0.1)
    assert not threshold.dropped(torch.full_like(scores, math.nan), ~positives).any()


def test_evaluation_leaves_phi_alone() -> None:
    negatives = FalseNegativeFilter().eval()
    scores, _ = _scores(0)
    said = torch.ones(40, 1)
    assert not negatives(scores, said, torch.arange(40), 40).pairs.any()
    assert float(negatives.threshold.phi) == 1
