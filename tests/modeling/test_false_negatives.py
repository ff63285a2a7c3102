"""phi and phi_same against a numeric root, their degenerate cases, and which negatives are dropped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.modeling.false_negatives import (
    AdaptiveThresholds,
    FalseNegativeFilter,
    FalseNegatives,
    best_of_videos,
    hard_negative_weights,
    no_false_negatives,
    solve_threshold,
)

ALPHA = 2.0
SCALE = NetworkConfig.hard_negative_scale


def _solve(plus: float, plus_deviation: float, minus: float, minus_deviation: float, alpha: float) -> float | None:
    """Return phi, or None where there is none."""
    numbers = torch.tensor([plus, plus_deviation, minus, minus_deviation, alpha], dtype=torch.double)
    phi = float(solve_threshold(*numbers.unbind()))
    return None if math.isnan(phi) else phi


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
        expected, phi = _rising_root(values), _solve(*values, ALPHA)
        if expected is None:
            assert phi is None or abs(phi) > 0.9999
        else:
            assert phi == pytest.approx(expected, abs=1e-6)
            solved += 1
    assert solved > 200


@pytest.mark.parametrize("deviation", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("difference", [0.0, 1e-12, -1e-12, 1e-6])
def test_phi_is_accurate_for_nearly_equal_deviations(deviation: float, difference: float) -> None:
    phi = _solve(0.5, deviation + difference, 0.1, deviation, ALPHA)
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
    phi = _solve(*values, ALPHA)
    assert phi is None or (-1 < phi < 1 and values[2] > values[0])


def _scores(seed: int) -> tuple[Tensor, Tensor]:
    """Draw scores (40, 40) in which sentences fit their own pair better, and the mask of those."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(40, 40, generator=generator) * 0.1
    positives = torch.eye(40, dtype=torch.bool)
    scores[positives] = 0.6 + 0.1 * torch.randn(40, generator=generator)
    return scores, positives


def _gaussians(scores: Tensor, own: Tensor) -> tuple[float, float, float, float]:
    """Return mean and deviation of the scores of own pairs, and of the rest."""
    plus, minus = scores[own], scores[~own]
    return tuple(float(value) for part in (plus, minus) for value in (part.mean(), part.std(unbiased=False)))  # type: ignore[return-value]


def _learned(config: LossConfig, *, steps: int = 20) -> AdaptiveThresholds:
    """Return thresholds that have seen well separated scores."""
    thresholds = AdaptiveThresholds(config)
    for seed in range(steps):
        scores, own = _scores(seed)
        thresholds.update(scores, own, ~own)
    return thresholds


def _similarity(sentences: Tensor) -> Tensor:
    return sentences @ sentences.T


def _find(filter_: FalseNegativeFilter, scores: Tensor, index: Tensor) -> FalseNegatives:
    false_negatives: FalseNegatives = filter_(scores, index, int(index.max()) + 1)
    return false_negatives


def test_false_negatives_are_dropped_and_others_are_kept() -> None:
    filter_ = FalseNegativeFilter(LossConfig()).train()
    twins = torch.zeros(40, 40, dtype=torch.bool)
    twins[torch.arange(0, 40, 2), torch.arange(1, 40, 2)] = True
    for seed in range(20):
        scores, positives = _scores(seed)
        scores[twins] = 0.6
        filter_.thresholds.update(scores, positives, ~positives)
        false_negatives = _find(filter_, scores, torch.arange(40))
    assert false_negatives.pairs[twins].all()
    assert false_negatives.pairs[~twins].float().mean() < 0.05
    assert not false_negatives.pairs[positives].any()
    assert torch.equal(false_negatives.pairs, false_negatives.videos)
    statistics = filter_.statistics()
    assert 0.1 < float(statistics["phi"]) <= float(statistics["phi_same"]) < 0.6
    assert float(statistics["dropped"]) == pytest.approx(float(false_negatives.pairs.sum()) / (40 * 39))


def test_pairs_of_the_same_video_are_never_dropped() -> None:
    filter_ = FalseNegativeFilter(LossConfig()).eval()
    filter_.thresholds.phi.copy_(torch.tensor([0.5, 0.95]))  # the first one decides
    index = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])
    scores = torch.full((8, 8), 0.1)
    scores[0, 1] = scores[0, 3] = scores[2, 0] = 0.9
    false_negatives = _find(filter_, scores, index)
    assert false_negatives.pairs.nonzero().tolist() == [[0, 3], [2, 0]]
    assert false_negatives.videos.nonzero().tolist() == [[0, 2], [2, 0]]


def _near_sentences() -> Tensor:
    """Return directions (8, 8): the second is the same as the first, the third is near it."""
    sentences = torch.eye(8)
    sentences[1] = sentences[0]
    sentences[2] = torch.nn.functional.normalize(sentences[0] + 0.5 * sentences[2], dim=0)
    return sentences


def test_mismatched_queries_are_drawn_from_other_videos_without_the_same_sentence() -> None:
    index = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])
    similarity = _similarity(torch.eye(8)[[0, 0, 0, 0, 4, 5, 6, 7]])
    weights = hard_negative_weights(similarity, torch.ones(8), index, 7, SCALE)
    same = torch.tensor([[1, 1, 1, 0, 0, 0, 0]] * 4 + [[0] * 7] * 4, dtype=torch.bool)
    own = torch.nn.functional.one_hot(index, 7).bool()
    assert torch.equal(weights == 0, own | same)


def test_videos_that_are_hard_to_tell_apart_are_more_likely_negatives() -> None:
    similarity, cosine = _similarity(_near_sentences()), 2 / math.sqrt(5)
    weights = hard_negative_weights(similarity, torch.full((8,), 0.95), torch.arange(8), 8, SCALE)
    assert weights[0, 0] == weights[0, 1] == 0
    assert weights[0, 2] == weights[0].max()
    assert float(weights[0, 2] / weights[0, 3]) == pytest.approx(math.exp(cosine / SCALE), rel=1e-4)
    unsure = hard_negative_weights(similarity, torch.full((8,), cosine - 0.01), torch.arange(8), 8, SCALE)
    assert unsure[0, 2] == 0, "two views of one sentence are not nearer than that"


def test_equal_sentences_weigh_nothing_without_dropout_either() -> None:
    """Two views of a sentence are the same then, but for rounding."""
    sentences = torch.nn.functional.normalize(torch.randn(24, 128, generator=torch.Generator().manual_seed(0)), dim=-1)
    sentences = sentences.repeat(2, 1)
    own = (sentences * sentences).sum(1)
    weights = hard_negative_weights(_similarity(sentences), own, torch.arange(48), 48, SCALE)
    equal = torch.eye(24, dtype=torch.bool).repeat(2, 2)
    assert torch.equal(weights == 0, equal)


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
    filter_ = FalseNegativeFilter(LossConfig(min_negatives=count))
    filter_.thresholds.phi.fill_(-1.0)
    scores, positives = _scores(0)
    dropped = _find(filter_, scores, torch.arange(40)).pairs
    assert ((~positives & ~dropped).sum(1) == count).all()
    least = scores.masked_fill(positives, 9).topk(count, largest=False).indices
    assert not dropped.gather(1, least).any()


def test_before_the_first_update_nothing_is_dropped_and_nothing_is_the_same() -> None:
    filter_ = FalseNegativeFilter(LossConfig(min_negatives=0))
    scores = torch.ones(6, 6)
    assert not any(mask.any() for mask in _find(filter_, scores, torch.arange(6)))
    assert not filter_.thresholds.may_match(scores).any()
    assert not filter_.thresholds.match(scores).any()
    assert {name: float(value) for name, value in filter_.statistics().items()} == {
        "phi": 1.0,
        "phi_same": 1.0,
        "dropped": 0.0,
    }


def test_both_thresholds_are_solved_with_odds_from_the_counts() -> None:
    """Each of 40 sentences has one own pair and 39 others: a score is one of an own pair at odds of 1 to 39."""
    scores, own = _scores(0)
    gaussians = _gaussians(scores, own)
    config = LossConfig(phi_update=1.0)
    thresholds = _learned(config, steps=1)
    for index, share in enumerate((config.phi_neutral_odds, config.phi_same_odds)):
        expected = _solve(*gaussians, share * 39)
        assert expected is not None
        assert float(thresholds.phi[index]) == pytest.approx(expected, abs=1e-4)
    some = AdaptiveThresholds(config)
    some.update(scores, own, ~own & (torch.arange(40) < 20))  # half the others, of the same kind
    assert (some.phi < thresholds.phi - 1e-3).all(), "fewer others need less of a difference"


def test_phi_same_is_not_below_phi_and_a_score_between_them_is_neither() -> None:
    thresholds = _learned(LossConfig())
    phi, phi_same = thresholds.phi.tolist()
    assert 0 < phi < phi_same < 0.6
    scores = torch.tensor([[phi - 0.01, (phi + phi_same) / 2, phi_same + 0.01]])
    assert thresholds.may_match(scores).tolist() == [[False, True, True]]
    assert thresholds.match(scores).tolist() == [[False, False, True]]
    thresholds.phi.copy_(torch.tensor([0.5, 0.3]))  # whatever the order, a positive is never a negative too
    scores = torch.linspace(-1, 1, 50)[None]
    assert not (thresholds.match(scores) & ~thresholds.may_match(scores)).any()


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0, 10.0])
def test_larger_odds_of_a_match_need_larger_scores(share: float) -> None:
    thresholds = _learned(LossConfig(phi_neutral_odds=share, phi_same_odds=1.5 * share))
    usual = _learned(LossConfig(phi_neutral_odds=1.0, phi_same_odds=1.5))
    assert float(thresholds.phi[0]) < float(thresholds.phi[1])
    assert (float(thresholds.phi[0]) < float(usual.phi[0])) == (share < 1)


def test_equal_sentences_pass_and_different_ones_do_not() -> None:
    """Sentences with a little dropout noise: 20 that occur twice. Only the own pairs are named as such."""
    generator = torch.Generator().manual_seed(0)
    sentences = torch.randn(20, 64, generator=generator).repeat(2, 1)
    thresholds = AdaptiveThresholds(LossConfig())
    own = torch.eye(40, dtype=torch.bool)
    for _ in range(30):
        noisy = torch.nn.functional.normalize(sentences + 0.3 * torch.randn(40, 64, generator=generator), dim=-1)
        scores = noisy @ torch.nn.functional.normalize(sentences, dim=-1).T
        thresholds.update(scores, own, ~own)
    equal = torch.eye(20, dtype=torch.bool).repeat(2, 2)
    assert thresholds.match(scores)[equal].float().mean() > 0.95
    assert not thresholds.may_match(scores)[~equal].any()


def test_phi_moves_towards_the_solved_value_by_its_share() -> None:
    scores, positives = _scores(0)
    gaussians = _gaussians(scores, positives)
    for share in (0.0, 0.25, 1.0):
        config = LossConfig(phi_update=share)
        thresholds = AdaptiveThresholds(config)
        assert thresholds.phi.tolist() == [1, 1]
        thresholds.update(scores, positives, ~positives)
        for index, odds in enumerate((config.phi_neutral_odds, config.phi_same_odds)):
            solved = _solve(*gaussians, odds * 39)
            assert solved is not None
            assert float(thresholds.phi[index]) == pytest.approx(share * solved + (1 - share), abs=1e-4)
        assert int(thresholds.updates) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_left_out(value: float) -> None:
    filter_ = FalseNegativeFilter(LossConfig())
    thresholds = filter_.thresholds
    scores, positives = _scores(0)
    for _ in range(5):
        thresholds.update(scores, positives, ~positives)
    before = {name: state.clone() for name, state in thresholds.state_dict().items()}
    broken = scores.clone()
    broken[::2] = value
    thresholds.update(broken, positives, ~positives)
    assert int(thresholds.updates) == 6
    thresholds.update(torch.full_like(scores, value), positives, ~positives)
    thresholds.update(scores, torch.zeros_like(positives), ~positives)
    thresholds.update(scores, positives, torch.zeros_like(positives))
    assert int(thresholds.updates) == 6, "there was nothing to learn from"
    assert all(state.isfinite().all() for state in thresholds.state_dict().values())
    assert thresholds.phi.tolist() == pytest.approx(before["phi"].tolist(), abs=0.1)
    assert not thresholds.match(torch.full_like(scores, math.nan)).any()
    assert not _find(filter_, torch.full_like(scores, math.nan), torch.arange(40)).pairs.any()


def test_the_filter_alone_leaves_its_thresholds_unchanged() -> None:
    for filter_ in (FalseNegativeFilter(LossConfig()).eval(), FalseNegativeFilter(LossConfig()).train()):
        scores, _ = _scores(0)
        before = {name: state.clone() for name, state in filter_.state_dict().items()}
        assert not _find(filter_, scores, torch.arange(40)).pairs.any()
        assert filter_.thresholds.phi.tolist() == [1, 1]
        assert all(torch.equal(state, before[name]) for name, state in filter_.state_dict().items())
