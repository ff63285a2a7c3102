"""Evaluations and their figures, on answers that can be scored by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.folder import Pair
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.evaluation.evaluator import evaluate, predict, score
from mttsg_core.evaluation.figures import (
    MetricConfig,
    bootstrap_intervals,
    figure_intervals,
    figure_values,
    mean_figures,
)
from mttsg_core.evaluation.metrics import bootstrap_interval, summarise, summarise_precision
from mttsg_core.features.store import FeatureStore
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.moments import Moment
from tests.helpers import tiny


def random_answers(queries: int, seed: int = 0) -> tuple[list[list[tuple[float, float]]], list[list[Moment]]]:
    rng = np.random.default_rng(seed)

    def span(longest: float) -> tuple[float, float]:
        start = rng.uniform(0, 60)
        return start, start + rng.uniform(1, longest)

    truths = [[span(50) for _ in range(rng.integers(1, 4))] for _ in range(queries)]
    predictions = [[Moment(*span(50), float(rng.random())) for _ in range(rng.integers(0, 8))] for _ in range(queries)]
    return truths, predictions


@pytest.mark.parametrize("strict", [False, True])
def test_figures_are_those_of_the_metrics(strict: bool) -> None:
    truths, predictions = random_answers(60)
    measures = MetricConfig((1, 3), (0.1, 0.5), strict, precision=True)
    values = figure_values(truths, predictions, measures)
    expected = summarise(truths, predictions, (1, 3), (0.1, 0.5), strict=strict)
    expected |= summarise_precision(truths, predictions, strict=strict)
    assert mean_figures(values) == pytest.approx(expected)
    assert list(mean_figures(values)) == list(expected)


def test_intervals_are_those_of_the_metrics() -> None:
    truths, predictions = random_answers(80)
    videos = np.arange(80) // 3
    values = figure_values(truths, predictions, MetricConfig(precision=True))
    found = figure_intervals(values, videos, seed=4)
    for name in ("R@1,IoU=0.5", "mIoU", "mAP"):
        assert found[name] == pytest.approx(bootstrap_interval(values[name], videos, seed=4))
    means = mean_figures(values)
    assert set(found) == set(means)
    assert all(low <= means[name] <= high for name, (low, high) in found.items())


def test_an_interval_leaves_out_queries_that_do_not_count() -> None:
    column = np.array([0.0, 100.0, np.nan, np.nan, 50.0])
    videos = np.array(["a", "a", "b", "c", "d"])
    [(low, high)] = bootstrap_intervals(column[:, None], videos)
    assert (low, high) == (50.0, 50.0)
    assert np.isnan(bootstrap_intervals(np.full((3, 1), np.nan), np.arange(3))).all()
    with pytest.raises(DataError):
        bootstrap_intervals(np.zeros((2, 1)), np.arange(3))


def test_measures_refuse_what_cannot_be_measured() -> None:
    for wrong in ({"ns": (0,)}, {"ious": (1.5,)}, {"ns": ()}, {"ious": ()}, {"ious": (float("nan"),)}):
        with pytest.raises(ConfigError):
            MetricConfig(**wrong)  # type: ignore[arg-type]
    assert MetricConfig((3, 5), (0.1, 0.6)).headline == "R@3,IoU=0.6"


def test_score_in_one_flat_object() -> None:
    pairs = [Pair("1", "a", "x", ((0, 10),)), Pair("2", "a", "y", ((5, 10),)), Pair("3", "b", "z", ((0, 1),))]
    found = score("val", pairs, [[Moment(0, 10)], [Moment(0, 10), Moment(5, 10)], []], "predictions", missed=1)
    plain = found.as_dict()
    assert list(plain)[:5] == ["split", "mode", "queries", "videos", "missed"]
    assert (plain["queries"], plain["videos"], plain["missed"]) == (3, 2, 1)
    assert plain["R@1,IoU=0.5"] == pytest.approx(200 / 3)  # IoU 0.5 counts, as >= has it
    assert plain["R@1,IoU=0.7"] == pytest.approx(100 / 3)
    assert plain["R@5,IoU=0.7"] == pytest.approx(200 / 3)
    assert plain["mIoU"] == pytest.approx(50)
    assert found.first_ious.tolist() == [1, 0.5, 0]
    with pytest.raises(DataError):
        score("val", [], [], "predictions")


def test_a_pair_without_features_is_a_miss(tmp_path: Path) -> None:
    whole = tiny.dataset(tmp_path, videos=4)
    store = FeatureStore({name: path for name, path in whole.store.files.items() if name != "train1"}, max_clips=32)
    data = type(whole)(whole.name, whole.pairs, store)
    grounder = Grounder(MKTNPredictor(tiny.model()))
    found = evaluate(grounder, data)
    assert (found.missed, len(found.predictions), found.mode) == (2, 8, "independent")
    assert [not moments for moments in found.predictions] == [pair.video == "train1" for pair in data.pairs]
    assert dict(predict(grounder, data)).keys() == {0, 1, 4, 5, 6, 7}
    assert data.duration(data.pairs[2]) == data.pairs[2].duration
