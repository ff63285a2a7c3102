"""The metrics against an independent, naive implementation and against published figures."""

from __future__ import annotations

import doctest
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core.data.predictions import read_predictions
from mttsg_core.data.splits import read_pairs
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.evaluation import average_precision as average_precision_module
from mttsg_core.evaluation import bootstrap, matching, metrics
from mttsg_core.evaluation.evaluator import score
from mttsg_core.evaluation.matching import exact_iou
from mttsg_core.evaluation.metrics import MetricConfig, compute_metrics

PUBLISHED = Path(__file__).parents[3] / "shared" / "annotations" / "qvhighlights"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="../shared/annotations/qvhighlights is not available")

Span = tuple[float, float]
Scored = tuple[float, float, float]
WITH_AP = MetricConfig(average_precision=True)
STRICT_WITH_AP = MetricConfig(strict=True, average_precision=True)


def naive_iou(a: Sequence[float], b: Sequence[float]) -> float:
    overlap = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - overlap
    return overlap / union if union > 0 else 0.0


def naive_recall(
    true_moments: list[list[Span]], predictions: list[list[Scored]], n: int, threshold: float, strict: bool
) -> float:
    hits = 0
    for spans, ranked in zip(true_moments, predictions, strict=True):
        ious = [naive_iou(moment, span) for moment in ranked[:n] for span in spans]
        hits += any(iou > threshold if strict else iou >= threshold for iou in ious)
    return 100 * hits / len(true_moments)


def naive_ap(spans: list[Span], ranked: list[Scored], threshold: float, strict: bool) -> float:
    """Return the AP of one query, step by step: match, then the area under the best precision at or beyond a recall."""
    matched: set[int] = set()
    points: list[tuple[float, float]] = []
    for count, moment in enumerate(sorted(ranked[:10], key=lambda moment: -moment[2]), start=1):
        best = None
        for index, span in enumerate(spans):
            iou = naive_iou(moment, span)
            if index not in matched and (iou > threshold if strict else iou >= threshold):
                best = (iou, index) if best is None else max(best, (iou, index))
        if best is not None:
            matched.add(best[1])
        points.append((len(matched) / len(spans), len(matched) / count))
    area, recall = 0.0, 0.0
    for reached in sorted({point[0] for point in points}):
        area += (reached - recall) * max(precision for at, precision in points if at >= reached)
        recall = reached
    return area


TIMES = st.integers(0, 20).map(float)
SPANS = st.tuples(TIMES, st.integers(1, 12)).map(lambda span: (span[0], span[0] + span[1]))
SCORED = st.tuples(TIMES, st.integers(0, 12), st.sampled_from([0.1, 0.2, 0.3, 0.9])).map(
    lambda m: (m[0], m[0] + m[1], m[2])
)
CASES = st.lists(
    st.tuples(st.lists(SPANS, min_size=1, max_size=4), st.lists(SCORED, max_size=13)), min_size=1, max_size=6
)


@settings(max_examples=300)
@given(CASES, st.booleans())
def test_against_the_naive_implementation(cases: list[tuple[list[Span], list[Scored]]], strict: bool) -> None:
    true_moments, predictions = [case[0] for case in cases], [case[1] for case in cases]
    computed = compute_metrics(
        true_moments, predictions, MetricConfig((1, 3, 5), (0.3, 0.5, 0.7), strict, average_precision=True)
    )
    for n in (1, 3, 5):
        for iou in (0.3, 0.5, 0.7):
            expected = naive_recall(true_moments, predictions, n, iou, strict)
            assert computed[f"R@{n},IoU={iou}"] == pytest.approx(expected)
            assert metrics.recall_at(true_moments, predictions, n, iou, strict=strict) == computed[f"R@{n},IoU={iou}"]
    firsts = [
        max((naive_iou(ranked[0], span) for span in spans), default=0) if ranked else 0 for spans, ranked in cases
    ]
    assert computed["mIoU"] == pytest.approx(100 * np.mean(firsts))
    assert metrics.mean_iou(true_moments, predictions) == computed["mIoU"]
    precision = metrics.average_precision(true_moments, predictions, strict=strict)
    naive = [[naive_ap(*case, iou, strict) for iou in metrics.AP_IOUS] for case in cases]
    np.testing.assert_allclose(precision, naive, atol=1e-12)
    assert computed["mAP"] == pytest.approx(100 * np.mean(naive))
    assert metrics.mean_average_precision(true_moments, predictions, strict=strict) == computed["mAP"]
    assert computed["mAP@0.75"] == pytest.approx(100 * np.mean([row[5] for row in naive]))
    for name, (low, high) in {"short": (0, 10), "middle": (10, 30)}.items():
        in_range = [([span for span in spans if low < span[1] - span[0] <= high], ranked) for spans, ranked in cases]
        in_range = [case for case in in_range if case[0]]
        if in_range:
            expected = float(np.mean([[naive_ap(*case, iou, strict) for iou in metrics.AP_IOUS] for case in in_range]))
            assert computed[f"mAP-{name}"] == pytest.approx(100 * expected)
        else:
            assert f"mAP-{name}" not in computed


def test_keys_are_those_of_the_report() -> None:
    computed = compute_metrics([[(0, 10)]], [[(0, 10, 1.0)]])
    assert list(computed) == [f"R@{n},IoU={m}" for n in (1, 5) for m in (0.3, 0.5, 0.7)] + ["mIoU"]
    assert set(computed.values()) == {100.0}


def test_the_two_conventions_differ_at_the_threshold() -> None:
    true_moments, predictions = [[(0.0, 10.0)]], [[(0.0, 5.0, 1.0)]]
    usual, strict = (compute_metrics(true_moments, predictions, config) for config in (WITH_AP, STRICT_WITH_AP))
    assert (usual["R@1,IoU=0.5"], strict["R@1,IoU=0.5"]) == (100, 0)
    assert (usual["mAP@0.5"], strict["mAP@0.5"]) == (100, 0)
    assert metrics.conventions()["hit"] == "IoU >= m"
    assert metrics.conventions(strict=True, nms="IoU 0.5")["hit"] == "IoU > m"
    assert metrics.conventions(strict=True, nms="IoU 0.5")["nms"] == "IoU 0.5"


def test_a_query_without_a_prediction_is_a_miss() -> None:
    assert set(compute_metrics([[(0, 10)], [(0, 10)]], [[(0, 10, 1.0)], []]).values()) == {50.0}
    assert compute_metrics([[(0, 10)], [(0, 10)]], [[], []], WITH_AP)["mAP"] == 0
    assert set(compute_metrics([[(0, 10)]], [[]]).values()) == {0.0}


def test_the_best_of_several_true_moments_counts() -> None:
    assert compute_metrics([[(0, 1), (5, 9)]], [[(5, 9, 0.4)]])["mIoU"] == 100


def test_moments_without_length_overlap_nothing() -> None:
    assert metrics.best_ious([[(0.0, 4.0)]], [[(2.0, 2.0), (3.0, 1.0), (0.0, 4.0)]], 3).tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "function",
    [compute_metrics, metrics.recall_at, metrics.mean_iou, metrics.mean_average_precision, metrics.best_ious],
)
def test_input_that_cannot_be_scored_is_refused(function: Callable[..., object]) -> None:
    cases: list[tuple[list[list[tuple[int, int]]], list[list[object]], str]] = [
        ([], [], "no queries"),
        ([[(0, 1)]], [], "0 lists of predictions for 1 queries"),
        ([[(0, 1)], []], [[], []], "query 1 has no true moment"),
    ]
    for true_moments, predictions, message in cases:
        with pytest.raises(DataError, match=message):
            function(true_moments, predictions)


def test_recall_needs_a_prediction() -> None:
    with pytest.raises(DataError, match="at least one prediction per query, not 0"):
        metrics.recall_at([[(0, 1)]], [[]], n=0)


def test_a_configuration_that_cannot_be_computed_is_refused() -> None:
    for wrong in ({"ns": (0,)}, {"ious": (1.5,)}, {"ns": ()}, {"ious": ()}, {"ious": (float("nan"),)}):
        with pytest.raises(ConfigError):
            MetricConfig(**wrong)
    assert MetricConfig((3, 5), (0.1, 0.6)).headline == "R@3,IoU=0.6"


def test_ious_are_computed_for_whole_blocks_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a large split fast: the number of IoU computations does not grow with every query."""
    queries = 2 * average_precision_module._QUERIES_PER_BLOCK + 1
    sizes: list[int] = []

    def counted(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        ious = exact_iou(first, second)
        sizes.append(ious.size)
        return ious

    for module in (matching, average_precision_module):
        monkeypatch.setattr(module, "exact_iou", counted)
    rng = np.random.default_rng(0)
    true_moments = [[(0.0, 5.0)]] * queries
    predictions = [[tuple(moment) for moment in ranked] for ranked in rng.random((queries, 10, 3)).tolist()]
    compute_metrics(true_moments, predictions)
    assert sizes == [queries * 5]
    sizes.clear()
    metrics.average_precision(true_moments, predictions)
    assert len(sizes) == math.ceil(queries / average_precision_module._QUERIES_PER_BLOCK) * metrics.AP_PREDICTIONS
    assert sum(sizes) == queries * 10


def test_query_values_average_to_the_metrics() -> None:
    true_moments, predictions = [[(0, 10)], [(2, 8)]], [[(0, 9, 1.0)], [(7, 9, 1.0), (2, 8, 0.5)]]
    values = metrics.query_values(true_moments, predictions)
    assert {name: value.mean() for name, value in values.items()} == compute_metrics(true_moments, predictions)


@pytest.mark.parametrize("module", [metrics, matching, average_precision_module, bootstrap])
def test_the_examples_in_docstrings(module: ModuleType) -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted
    assert not failed


@given(
    st.sampled_from([Fraction(percent, 100) for percent in range(5, 100, 5)] + [Fraction(1, 10), Fraction(3, 10)]),
    st.integers(1, 60_000),
    st.integers(0, 10**8),
    st.sampled_from([10, 100, 1000]),
    st.floats(0, 1),
)
def test_an_iou_that_equals_a_threshold_in_decimals_counts(
    threshold: Fraction, scale: int, start: int, ticks: int, place: float
) -> None:
    """Spans of whole tenths, hundredths or thousandths of a second whose exact IoU is the threshold, or just beside."""
    union, overlap = scale * threshold.denominator, scale * threshold.numerator
    first = start + round(place * (union - overlap - 1))
    outer = (start / ticks, (start + union) / ticks)
    for change, loose, strict in ((0, 100, 0), (1, 100, 100), (-1, 0, 0)):
        inner = (first / ticks, (first + overlap + change) / ticks)
        if inner[0] >= inner[1]:
            continue
        for true, predicted in ((outer, inner), (inner, outer)):
            moments, ranked, iou = [[true]], [[(*predicted, 0.5)]], float(threshold)
            assert metrics.recall_at(moments, ranked, 1, iou) == loose
            assert metrics.recall_at(moments, ranked, 1, iou, strict=True) == strict
            assert 100 * metrics.average_precision(moments, ranked, [iou])[0, 0] == loose
            assert 100 * metrics.average_precision(moments, ranked, [iou], strict=True)[0, 0] == strict


@pytest.mark.parametrize(
    ("true", "predicted", "iou"),
    [
        ((2.0, 4.0), (2.0, 6.0), 0.5),
        ((0.1, 0.4), (0.1, 0.7), 0.5),
        ((0.1 + 0.2, 0.6), (0.3, 0.9), 0.5),
        ((29.2, 34.4), (29.2, 36.629), 0.7),
        ((1234.1, 1234.8), (1234.1, 1235.1), 0.7),
    ],
)
def test_exact_thresholds(true: tuple[float, float], predicted: tuple[float, float], iou: float) -> None:
    reached = iou <= (min(true[1], predicted[1]) - true[0]) / (predicted[1] - true[0]) + 1e-9
    assert metrics.recall_at([[true]], [[predicted]], iou=iou) == 100 * reached
    assert metrics.recall_at([[true]], [[predicted]], iou=iou, strict=True) == 0


def test_a_length_at_the_end_of_a_range_is_exact() -> None:
    assert 16.1 - 6.1 > 10
    assert metrics.select_by_length([[(6.1, 16.1)]], 0, 10)[0] == [0]
    assert metrics.select_by_length([[(6.1, 16.1)]], 10, 30)[0] == []


def test_every_public_name_exists() -> None:
    assert set(metrics.__all__) <= set(dir(metrics))


@published
def test_published_figures() -> None:
    """Every figure that QVHighlights' own evaluator gave for Moment-DETR, per range and per threshold."""
    expected = json.loads((PUBLISHED / "moment_detr_val_metrics.json").read_text())
    pairs = read_pairs(PUBLISHED / "highlight_val_release.jsonl", require_moment=True, strict=True).pairs
    predictions = read_predictions(PUBLISHED / "moment_detr_val_predictions.jsonl")
    matched = predictions.match(pairs)
    assert (predictions.problems, matched.missing, matched.unknown) == ([], 0, 0)
    true_moments = [pair.moments for pair in pairs]
    for name, limits in {**metrics.LENGTH_RANGES, "full": (0.0, float("inf"))}.items():
        queries, moments = metrics.select_by_length(true_moments, *limits)
        ranked = [matched.moments[query] for query in queries]
        precision = metrics.average_precision(moments, ranked)
        by_iou = {f"{m:g}": round(100 * precision[:, index].mean(), 2) for index, m in enumerate(metrics.AP_IOUS)}
        assert by_iou | {"average": round(100 * precision.mean(), 2)} == expected[name]["MR-mAP"]
        recall = {f"{m:g}": round(metrics.recall_at(moments, ranked, 1, m), 2) for m in metrics.AP_IOUS}
        assert recall == expected[name]["MR-R1"]
    evaluation = replace(score("val", pairs, matched.moments, "predictions"), metric_config=WITH_AP)
    assert evaluation.metrics == compute_metrics(true_moments, matched.moments, WITH_AP)
    rounded = {name: round(value, 2) for name, value in evaluation.metrics.items()}
    assert {name: value for name, value in rounded.items() if name.startswith(("mAP", "R@1"))} == {
        "R@1,IoU=0.3": 67.16, "R@1,IoU=0.5": 53.23, "R@1,IoU=0.7": 34.00, "mAP": 30.58, "mAP@0.5": 54.80,
        "mAP@0.75": 29.02, "mAP-long": 41.27, "mAP-middle": 29.42, "mAP-short": 3.11,
    }  # fmt: skip
