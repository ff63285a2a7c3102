"""Calibrated scores: the share of right answers, in the same order; and sentences that a video does not show."""

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


def _answers(slope: float, shift: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and outcomes that are right as often as those scores, moved so, say."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.01, 0.99, count)
    chance = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + shift)))
    return scores, generator.random(count) < chance


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (2.5, 1.0), (0.4, -1.5)])
def test_the_fit_finds_what_made_the_outcomes(slope: float, shift: float) -> None:
    scores, right = _answers(slope, shift)
    found = fit_calibration(scores, right)
    assert found.slope == pytest.approx(slope, rel=0.08)
    assert found.shift == pytest.approx(shift, abs=0.08)
    before = calibration_error(reliability(scores, right))
    after = calibration_error(reliability(found.apply(torch.from_numpy(scores)).numpy(), right))
    assert after < 0.02
    assert after <= before + 0.01


@given(slope=st.floats(0.05, 20), shift=st.floats(-10, 10))
def test_an_order_never_changes_and_nothing_stays_nothing(slope: float, shift: float) -> None:
    scores = torch.cat([torch.linspace(0, 1, 101), torch.tensor([1e-5, 2e-5, 0.9995, 0.9999])]).sort().values
    moved = Calibration(slope, shift).apply(scores)
    assert (moved.diff() >= 0).all()
    assert (moved[1:] > 0).all()
    assert moved[0] == 0
    assert ((moved >= 0) & (moved <= 1)).all()


@pytest.mark.parametrize("right", [np.ones(5, dtype=bool), np.zeros(5, dtype=bool), np.zeros(0, dtype=bool)])
def test_without_both_outcomes_scores_stay_as_they_are(right: np.ndarray) -> None:
    assert fit_calibration(np.linspace(0.1, 0.9, len(right)), right) == UNCALIBRATED


def test_scores_that_tell_right_from_wrong_without_fault_give_a_finite_rising_calibration() -> None:
    found = fit_calibration(np.array([0.0, 0.1, 0.2, 0.8, 0.9, 1.0]), np.arange(6) >= 3)
    assert 0 < found.slope < 100
    assert abs(found.shift) < 100
    backwards = fit_calibration(np.array([0.0, 0.1, 0.2, 0.8, 0.9, 1.0]), np.arange(6) < 3)
    assert backwards.slope > 0


def test_reliability_by_hand() -> None:
    bins = reliability(np.array([0.05, 0.15, 0.12, 1.0]), np.array([False, True, False, True]))
    assert [(one.score, one.right, one.answers) for one in bins] == [
        (0.05, 0.0, 1),
        (pytest.approx(0.135), 0.5, 2),
        (1.0, 1.0, 1),
    ]
    assert calibration_error(bins) == pytest.approx((0.05 + 2 * 0.365 + 0) / 4)


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8))
def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(positive: list[int], negative: list[int]) -> None:
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


def test_every_sentence_is_asked_of_its_video_and_of_another(tmp_path: Path) -> None:
    dataset = tiny.dataset(tmp_path, videos=5)
    written = {(pair.video, pair.query) for pair in dataset.pairs}
    asked: list[set[tuple[str, str]]] = []

    def answer(these: Dataset) -> Evaluation:
        asked.append({(pair.video, pair.query) for pair in these.pairs})
        return score("val", these.pairs, [_knowing(pair.video, pair.query) for pair in these.pairs], "independent")

    def _knowing(video: str, query: str) -> Sequence[Moment]:
        true = [pair.moments[0] for pair in dataset.pairs if (pair.video, pair.query) == (video, query)]
        return [Moment(*true[0], 0.9)] if true else [Moment(0.0, 1.0, 0.2)]

    found = measure_reliability(answer, dataset)
    own, others = asked
    assert own == written
    assert others
    assert not others & written
    assert found.correct.all()
    assert found.as_dict()["auc"] == 100
    assert len(found.scores) == len(found.outcomes) == len(dataset.pairs) + len(found.negative)
    assert set(found.negative.tolist()) == {0.2}


def test_one_video_alone_cannot_be_told_from_others(tmp_path: Path) -> None:
    found = ScoreReliability(np.array([0.7, 0.2]), np.array([True, False]), np.array([]))
    assert found.as_dict()["auc"] == 50
    moved = found.calibrated(Calibration(2.0, -0.5))
    assert moved.correct is found.correct
    logits = 2 * np.log(found.positive / (1 - found.positive)) - 0.5
    assert moved.positive == pytest.approx(1 / (1 + np.exp(-logits)))
    assert found.calibration().slope > 0
