"""phi against a numeric root, its degenerate cases, and which negatives are dropped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.modeling.false_negatives import (
    AdaptiveThreshold,
    FalseNegativeFilter,
    FalseNegatives,
    best_of_videos,
    hard_negative_weights,
    no_false_negatives,
    solve_threshold,
)

ALPHA = LossConfig.phi_alpha
SAME = NetworkConfig.same_sentence_cosine
SCALE = NetworkConfig.hard_negative_scale


def _log_ratio(x: Any, plus: float, plus_deviation: float, minus: float, minus_deviation: float) -> Any:
    """Return ln f+ - ln (alpha f-)."""
    positive = -math.log(plus_deviation) - 0.5 * ((x - plus) / plus_deviation) ** 2
    return positive + math.log(minus_deviation) + 0.5 * ((x - minus) / minus_deviation) ** 2 - math.log(ALPHA)


def _rising_root(values: tuple[float, float, float, float]) -> float | None:
    """Find by bisection where the log ratio changes from - to + within (-1, 1)."""
    grid = np.linspace(-1, 1, 20001)
    signs = _log_ratio(grid, *values)
    changes = np.flatnonzero((signs[:-1] < 0) & (signs[1:] >= 0))
    if len(changes) == 0:
        return None
    low, high = float(grid[changes[0]]), float(grid[changes[0] + 1])
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
@pytest.mark.parametrize("difference", [0.0, 1e-12, -1e-12, 1e-6])
def test_phi_is_accurate_for_nearly_equal_deviations(deviation: float, difference: float) -> None:
    phi = solve_threshold(0.5, deviation + difference, 0.1, deviation, ALPHA)
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
def test_without_a_crossing_there_is_no_phi(values: tuple[float, float, float, float]) -> None:
    phi = solve_threshold(*values, ALPHA)
    assert phi is None or (-1 < phi < 1 and values[2] > values[0])


def _scores(seed: int) -> tuple[Tensor, Tensor]:
    """Draw scores (40, 40) in which sentences fit their own pair better, and the mask of those."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(40, 40, generator=generator) * 0.1
    positives = torch.eye(40, dtype=torch.bool)
    scores[positives] = 0.6 + 0.1 * torch.randn(40, generator=generator)
    return scores, positives


def _similarity(sentences: Tensor) -> Tensor:
    return sentences @ sentences.T


def _find(filter_: FalseNegativeFilter, scores: Tensor, sentences: Tensor, index: Tensor) -> FalseNegatives:
    """Find the false negatives among sentences with directions (N, C)."""
    false_negatives: FalseNegatives = filter_(scores, _similarity(sentences), index, int(index.max()) + 1, SAME)
    return false_negatives


def test_false_negatives_are_dropped_and_others_are_kept() -> None:
    filter_ = FalseNegativeFilter(LossConfig()).train()
    twins = torch.zeros(40, 40, dtype=torch.bool)
    twins[torch.arange(0, 40, 2), torch.arange(1, 40, 2)] = True
    sentences = torch.eye(40)
    sentences[1::2] = sentences[::2]  # each odd sentence is the same as the one before
    for seed in range(20):
        scores, positives = _scores(seed)
        scores[twins] = 0.6
        false_negatives = _find(filter_, scores, sentences, torch.arange(40))
    assert false_negatives.pairs[twins].all()
    assert false_negatives.pairs[~twins].float().mean() < 0.05
    assert not false_negatives.pairs[positives].any()
    assert torch.equal(false_negatives.pairs, false_negatives.videos)
    statistics = filter_.statistics()
    assert 0.1 < float(statistics["phi"]) < 0.6
    assert float(statistics["dropped"]) == pytest.approx(float(false_negatives.pairs.sum()) / (40 * 39))


def test_pairs_of_the_same_video_are_never_dropped() -> None:
    filter_ = FalseNegativeFilter(LossConfig()).eval()
    filter_.threshold.phi.fill_(0.5)
    index = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])
    scores = torch.full((8, 8), 0.1)
    scores[0, 1] = scores[0, 3] = scores[2, 0] = 0.9
    sentences = torch.eye(8)[[0, 0, 0, 0, 4, 5, 6, 7]]
    false_negatives = _find(filter_, scores, sentences, index)
    assert false_negatives.pairs.nonzero().tolist() == [[0, 3], [2, 0]]
    assert false_negatives.videos.nonzero().tolist() == [[0, 2], [2, 0]]


def test_a_high_score_is_not_enough_where_the_sentences_differ() -> None:
    filter_ = FalseNegativeFilter(LossConfig()).eval()
    filter_.threshold.phi.fill_(0.5)
    scores = torch.full((8, 8), 0.1)
    scores[0, 1] = scores[0, 2] = 0.9
    false_negatives = _find(filter_, scores, _near_sentences(), torch.arange(8))
    assert false_negatives.pairs.nonzero().tolist() == [[0, 1]]


def _near_sentences() -> Tensor:
    """Return directions (8, 8): the second is the same as the first, the third is near it."""
    sentences = torch.eye(8)
    sentences[1] = sentences[0]
    sentences[2] = torch.nn.functional.normalize(sentences[0] + 0.5 * sentences[2], dim=0)
    return sentences


def test_mismatched_queries_are_drawn_from_other_videos_without_the_same_sentence() -> None:
    index = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])
    similarity = _similarity(torch.eye(8)[[0, 0, 0, 0, 4, 5, 6, 7]])
    weights = hard_negative_weights(similarity, index, 7, SAME, SCALE)
    same = torch.tensor([[1, 1, 1, 0, 0, 0, 0]] * 4 + [[0] * 7] * 4, dtype=torch.bool)
    own = torch.nn.functional.one_hot(index, 7).bool()
    assert torch.equal(weights == 0, own | same)


def test_videos_that_are_hard_to_tell_apart_are_more_likely_negatives() -> None:
    weights = hard_negative_weights(_similarity(_near_sentences()), torch.arange(8), 8, SAME, SCALE)
    assert weights[0, 0] == weights[0, 1] == 0
    assert weights[0, 2] == weights[0].max()
    cosine = 2 / math.sqrt(5)
    assert float(weights[0, 2] / weights[0, 3]) == pytest.approx(math.exp(cosine / SCALE), rel=1e-4)


def test_the_best_value_of_each_video_is_taken() -> None:
    values = torch.tensor([[0.1, 0.9, -0.5], [0.3, 0.2, -0.9], [0.0, 0.0, 0.7]])
    best = best_of_videos(values, torch.tensor([0, 0, 2]), 3)
    torch.testing.assert_close(best, torch.tensor([[0.9, -1.0, -0.5], [0.3, -1.0, -0.9], [0.0, -1.0, 0.7]]))


def test_nothing_is_dropped_where_the_selection_is_off() -> None:
    false_negatives = no_false_negatives(torch.tensor([0, 0, 1]), 2)
    assert false_negatives.pairs.shape == (3, 3)
    assert false_negatives.videos.shape == (3, 2)
    assert not false_negatives.pairs.any()
    assert not false_negatives.videos.any()


@pytest.mark.parametrize("count", [0, 4, 7])
def test_the_least_similar_negatives_of_a_row_always_stay(count: int) -> None:
    assert LossConfig().min_negatives == 4
    threshold = AdaptiveThreshold(LossConfig(min_negatives=count))
    threshold.phi.fill_(-1.0)
    threshold.running_statistics[1] = torch.tensor([-1.0, 1.0])
    scores, positives = _scores(0)
    dropped = threshold.dropped(scores, ~positives)
    assert ((~positives & ~dropped).sum(1) == count).all()
    least = scores.masked_fill(positives, 9).topk(count, largest=False).indices
    assert not dropped.gather(1, least).any()


def test_only_rare_scores_are_dropped() -> None:
    scores, positives = _scores(0)
    threshold = AdaptiveThreshold(LossConfig(phi_rarity=1.0, min_negatives=0))
    threshold.update(scores, positives, ~positives)
    threshold.phi.fill_(-1.0)
    rest = scores[~positives]
    expected = ~positives & (scores > rest.mean() + rest.std(unbiased=False))
    assert torch.equal(threshold.dropped(scores, ~positives), expected)


def test_phi_moves_towards_the_solved_value_by_its_share() -> None:
    scores, positives = _scores(0)
    (plus, plus_deviation), (minus, minus_deviation) = (
        (float(part.mean()), float(part.std(unbiased=False))) for part in (scores[positives], scores[~positives])
    )
    solved = solve_threshold(plus, plus_deviation, minus, minus_deviation, ALPHA)
    assert solved is not None
    for share in (0.0, 0.25, 1.0):
        threshold = AdaptiveThreshold(LossConfig(phi_update=share))
        assert float(threshold.phi) == 1
        threshold.update(scores, positives, ~positives)
        assert float(threshold.phi) == pytest.approx(share * solved + (1 - share), abs=1e-4)
        assert int(threshold.updates) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_left_out(value: float) -> None:
    threshold = AdaptiveThreshold(LossConfig())
    scores, positives = _scores(0)
    for _ in range(5):
        threshold.update(scores, positives, ~positives)
    before = {name: state.clone() for name, state in threshold.state_dict().items()}
    broken = scores.clone()
    broken[::2] = value
    threshold.update(broken, positives, ~positives)
    threshold.update(torch.full_like(scores, value), positives, ~positives)
    threshold.update(scores, torch.zeros_like(positives), ~positives)
    assert all(state.isfinite().all() for state in threshold.state_dict().values())
    assert float(threshold.phi) == pytest.approx(float(before["phi"]), abs=0.1)
    assert not threshold.dropped(torch.full_like(scores, math.nan), ~positives).any()


def test_evaluation_leaves_phi_unchanged() -> None:
    filter_ = FalseNegativeFilter(LossConfig()).eval()
    scores, _ = _scores(0)
    before = {name: state.clone() for name, state in filter_.state_dict().items()}
    assert not _find(filter_, scores, torch.ones(40, 1), torch.arange(40)).pairs.any()
    assert float(filter_.threshold.phi) == 1
    assert all(torch.equal(state, before[name]) for name, state in filter_.state_dict().items())
