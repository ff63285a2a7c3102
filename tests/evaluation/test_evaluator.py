"""Evaluations and their metrics, on predictions that can be scored by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.pairs import Pair
from mttsg_core.errors import DataError
from mttsg_core.evaluation import metrics
from mttsg_core.evaluation.evaluator import evaluate, predict, score
from mttsg_core.evaluation.metrics import MetricConfig
from mttsg_core.features.store import FeatureStore
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.moments import Moment
from tests.helpers import tiny


def random_predictions(queries: int, seed: int = 0) -> tuple[list[list[tuple[float, float]]], list[list[Moment]]]:
    rng = np.random.default_rng(seed)

    def span(longest: float) -> tuple[float, float]:
        start = rng.uniform(0, 60)
        return start, start + rng.uniform(1, longest)

    true_moments = [[span(50) for _ in range(rng.integers(1, 4))] for _ in range(queries)]
    predictions = [[Moment(*span(50), float(rng.random())) for _ in range(rng.integers(0, 8))] for _ in range(queries)]
    return true_moments, predictions


@pytest.mark.parametrize("strict", [False, True])
def test_metrics_are_those_of_the_public_functions(strict: bool) -> None:
    true_moments, predictions = random_predictions(60)
    pairs = [Pair(str(n), f"v{n // 3}", "x", tuple(moments)) for n, moments in enumerate(true_moments)]
    config = MetricConfig((1, 3), (0.1, 0.5), strict, average_precision=True)
    evaluation = replace(score("val", pairs, predictions, "predictions"), metric_config=config)
    expected = {
        f"R@{n},IoU={iou}": metrics.recall_at(true_moments, predictions, n, iou, strict=strict)
        for n in (1, 3)
        for iou in (0.1, 0.5)
    }
    expected["mIoU"] = metrics.mean_iou(true_moments, predictions)
    expected["mAP"] = metrics.mean_average_precision(true_moments, predictions, strict=strict)
    for iou in (0.5, 0.75):
        expected[f"mAP@{iou}"] = metrics.mean_average_precision(true_moments, predictions, (iou,), strict=strict)
    for name, limits in metrics.LENGTH_RANGES.items():
        queries, moments = metrics.select_by_length(true_moments, *limits)
        ranked = [predictions[query] for query in queries]
        expected[f"mAP-{name}"] = metrics.mean_average_precision(moments, ranked, strict=strict)
    assert evaluation.metrics == expected
    assert list(evaluation.metrics) == list(expected)


def test_intervals_are_those_of_the_public_functions() -> None:
    true_moments, predictions = random_predictions(80)
    pairs = [Pair(str(n), f"v{n // 3}", "x", tuple(moments)) for n, moments in enumerate(true_moments)]
    config = MetricConfig(average_precision=True)
    evaluation = replace(score("val", pairs, predictions, "predictions"), metric_config=config)
    assert set(evaluation.intervals) == set(evaluation.metrics)
    for name, (low, high) in evaluation.intervals.items():
        assert low <= evaluation.metrics[name] <= high
        column = evaluation.query_values[name]
        assert (low, high) == pytest.approx(metrics.bootstrap_interval(column, np.arange(80) // 3))
    seeded = metrics.metric_intervals(evaluation.query_values, np.arange(80) // 3, seed=4)
    expected = metrics.bootstrap_interval(evaluation.query_values["mAP"], np.arange(80) // 3, seed=4)
    assert seeded["mAP"] == pytest.approx(expected)
    assert seeded["mAP"] != evaluation.intervals["mAP"]


def test_score_in_one_flat_object() -> None:
    pairs = [Pair("1", "a", "x", ((0, 10),)), Pair("2", "a", "y", ((5, 10),)), Pair("3", "b", "z", ((0, 1),))]
    evaluation = score("val", pairs, [[Moment(0, 10)], [Moment(0, 10), Moment(5, 10)], []], "predictions", missed=1)
    plain = evaluation.as_dict()
    assert list(plain)[:5] == ["split", "mode", "queries", "videos", "missed"]
    assert (plain["queries"], plain["videos"], plain["missed"]) == (3, 2, 1)
    assert plain["R@1,IoU=0.5"] == pytest.approx(200 / 3)  # IoU 0.5 counts: a hit is >=
    assert plain["R@1,IoU=0.7"] == pytest.approx(100 / 3)
    assert plain["R@5,IoU=0.7"] == pytest.approx(200 / 3)
    assert plain["mIoU"] == pytest.approx(50)
    assert evaluation.first_ious.tolist() == [1, 0.5, 0]
    with pytest.raises(DataError):
        score("val", [], [], "predictions")


def test_a_pair_without_features_is_a_miss(tmp_path: Path) -> None:
    complete = tiny.dataset(tmp_path, videos=4)
    store = FeatureStore({name: path for name, path in complete.store.files.items() if name != "train1"}, max_clips=32)
    data = replace(complete, store=store)
    grounder = Grounder(MKTNPredictor(tiny.model()))
    evaluation = evaluate(grounder, data)
    assert (evaluation.missed, len(evaluation.predictions), evaluation.mode) == (2, 8, "independent")
    assert [not moments for moments in evaluation.predictions] == [pair.video == "train1" for pair in data.pairs]
    assert dict(predict(grounder, data)).keys() == {0, 1, 4, 5, 6, 7}
    assert data.duration(data.pairs[2]) == data.pairs[2].duration
