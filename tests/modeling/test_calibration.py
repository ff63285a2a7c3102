"""Calibrated scores: the share of correct answers, in the same order; and sentences that a video does not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.checkpoints.checkpoint import load_model, save_description
from mttsg_core.data.dataset import Dataset
from mttsg_core.errors import ModelError
from mttsg_core.evaluation.evaluator import Evaluation, score
from mttsg_core.evaluation.reliability import ScoreReliability, measure_reliability
from mttsg_core.modeling.calibration import (
    UNCALIBRATED,
    Calibration,
    calibration_error,
    fit_calibration,
    reliability,
    roc_auc,
)
from mttsg_core.moments import Moment
from tests.helpers import tiny


def _outcomes(slope: float, shift: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores, and outcomes that are right as often as the scores say once slope and shift are applied."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.01, 0.99, count)
    chance = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + shift)))
    return scores, generator.random(count) < chance


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (2.5, 1.0), (0.4, -1.5)])
def test_the_fit_recovers_the_slope_and_shift_that_the_outcomes_were_drawn_with(slope: float, shift: float) -> None:
    scores, right = _outcomes(slope, shift)
    calibration = fit_calibration(scores, right)
    assert calibration.slope == pytest.approx(slope, rel=0.08)
    assert calibration.shift == pytest.approx(shift, abs=0.08)
    before = calibration_error(reliability(scores, right))
    after = calibration_error(reliability(calibration.apply(torch.from_numpy(scores)).numpy(), right))
    assert after < 0.02
    assert after <= before + 0.01


@given(slope=st.floats(0.05, 20), shift=st.floats(-10, 10))
def test_the_order_of_scores_never_changes_and_0_stays_0(slope: float, shift: float) -> None:
    scores = torch.cat([torch.linspace(0, 1, 101), torch.tensor([1e-5, 2e-5, 0.9995, 0.9999])]).sort().values
    calibrated = Calibration(slope, shift).apply(scores)
    assert (calibrated.diff() >= 0).all()
    assert (calibrated[1:] > 0).all()
    assert calibrated[0] == 0
    assert ((calibrated >= 0) & (calibrated <= 1)).all()


@pytest.mark.parametrize("right", [np.ones(5, dtype=bool), np.zeros(5, dtype=bool), np.zeros(0, dtype=bool)])
def test_scores_stay_as_they_are_unless_both_outcomes_occur(right: np.ndarray) -> None:
    assert fit_calibration(np.linspace(0.1, 0.9, len(right)), right) == UNCALIBRATED


def test_scores_that_separate_right_from_wrong_perfectly_give_a_finite_increasing_calibration() -> None:
    calibration = fit_calibration(np.array([0.0, 0.1, 0.2, 0.8, 0.9, 1.0]), np.arange(6) >= 3)
    assert 0 < calibration.slope < 100
    assert abs(calibration.shift) < 100
    backwards = fit_calibration(np.array([0.0, 0.1, 0.2, 0.8, 0.9, 1.0]), np.arange(6) < 3)
    assert backwards.slope > 0


def test_reliability_and_calibration_error_by_hand() -> None:
    bins = reliability(np.array([0.05, 0.15, 0.12, 1.0]), np.array([False, True, False, True]))
    assert [tuple(group) for group in bins] == [
        (0.05, 0.0, 1),
        (pytest.approx(0.135), 0.5, 2),
        (1.0, 1.0, 1),
    ]
    assert calibration_error(bins) == pytest.approx((0.05 + 2 * 0.365 + 0) / 4)


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8))
def test_roc_auc_is_the_share_of_pairs_in_order(positive: list[int], negative: list[int]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a in positive for b in negative]
    expected = np.mean(pairs) if pairs else 0.5
    assert roc_auc(np.array(positive), np.array(negative)) == pytest.approx(expected)


def test_a_model_folder_keeps_its_calibration(tmp_path: Path) -> None:
    folder = tiny.model_folder(tmp_path)
    assert load_model(folder).calibration == UNCALIBRATED
    save_description(folder, replace(load_model(folder), calibration=Calibration(2.0, -1.5)), {})
    assert load_model(folder).calibration == Calibration(2.0, -1.5)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"slope": 2.0', '"slope": "steep"'))
    with pytest.raises(ModelError, match="slope"):
        load_model(folder)


def test_every_sentence_is_grounded_in_its_own_video_and_in_another(tmp_path: Path) -> None:
    dataset = tiny.dataset(tmp_path, videos=5)
    matching = {(pair.video, pair.query) for pair in dataset.pairs}
    calls: list[set[tuple[str, str]]] = []

    def predict(split: Dataset) -> Evaluation:
        calls.append({(pair.video, pair.query) for pair in split.pairs})
        moments = [perfect_moments(pair.video, pair.query) for pair in split.pairs]
        return score("val", split.pairs, moments, "independent")

    def perfect_moments(video: str, query: str) -> Sequence[Moment]:
        true = [pair.moments[0] for pair in dataset.pairs if (pair.video, pair.query) == (video, query)]
        return [Moment(*true[0], 0.9)] if true else [Moment(0.0, 1.0, 0.2)]

    measured = measure_reliability(predict, dataset)
    own, others = calls
    assert own == matching
    assert others
    assert not others & matching
    assert measured.correct.all()
    assert measured.as_dict()["auc"] == 100
    assert len(measured.scores) == len(measured.outcomes) == len(dataset.pairs) + len(measured.negative)
    assert set(measured.negative.tolist()) == {0.2}


def test_without_mismatched_queries_the_auc_is_50_and_scores_can_still_be_calibrated() -> None:
    measured = ScoreReliability(np.array([0.7, 0.2]), np.array([True, False]), np.array([]))
    assert measured.as_dict()["auc"] == 50
    calibrated = measured.calibrated(Calibration(2.0, -0.5))
    assert calibrated.correct is measured.correct
    logits = 2 * np.log(measured.positive / (1 - measured.positive)) - 0.5
    assert calibrated.positive == pytest.approx(1 / (1 + np.exp(-logits)))
    assert measured.calibration().slope > 0
