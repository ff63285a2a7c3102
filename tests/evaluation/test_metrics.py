"""The metrics against an independent, naive implementation and against published figures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core.data.folder import read_pairs
from mttsg_core.data.predictions import read_predictions
from mttsg_core.errors import DataError
from mttsg_core.evaluation import metrics

PUBLISHED = Path(__file__).parents[3] / "shared" / "annotations" / "qvhighlights"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="../shared/annotations/qvhighlights is not at hand")

Span = tuple[float, float]
Scored = tuple[float, float, float]


def naive_iou(a: Sequence[float], b: Sequence[float]) -> float:
    overlap = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - overlap
    return overlap / union if union > 0 else 0.0


def naive_recall(
    truths: list[list[Span]], predictions: list[list[Scored]], n: int, level: float, strict: bool
) -> float:
    found = 0
    for spans, ranked in zip(truths, predictions, strict=True):
        values = [naive_iou(moment, span) for moment in ranked[:n] for span in spans]
        found += any(value > level if strict else value >= level for value in values)
    return 100 * found / len(truths)


def naive_ap(spans: list[Span], ranked: list[Scored], level: float, strict: bool) -> float:
    """One query, step by step: match, then the area under the highest precision at or beyond each recall."""
    taken: set[int] = set()
    points: list[tuple[float, float]] = []
    for count, moment in enumerate(sorted(ranked[:10], key=lambda moment: -moment[2]), start=1):
        best = None
        for index, span in enumerate(spans):
            value = naive_iou(moment, span)
            if index not in taken and (value > level if strict else value >= level):
                best = (value, index) if best is None else max(best, (value, index))
        if best is not None:
            taken.add(best[1])
        points.append((len(taken) / len(spans), len(taken) / count))
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


@settings(max_examples=300, deadline=None)
@given(CASES, st.booleans())
def test_against_the_naive_implementation(cases: list[tuple[list[Span], list[Scored]]], strict: bool) -> None:
    truths, predictions = [case[0] for case in cases], [case[1] for case in cases]
    found = metrics.summarise(truths, predictions, (1, 3, 5), (0.3, 0.5, 0.7), strict=strict)
    for n in (1, 3, 5):
        for level in (0.3, 0.5, 0.7):
            assert found[f"R@{n},IoU={level}"] == pytest.approx(naive_recall(truths, predictions, n, level, strict))
    firsts = [
        max((naive_iou(ranked[0], span) for span in spans), default=0) if ranked else 0 for spans, ranked in cases
    ]
    assert found["mIoU"] == pytest.approx(100 * np.mean(firsts))
    precision = metrics.average_precision(truths, predictions, strict=strict)
    naive = [[naive_ap(*case, level, strict) for level in metrics.AP_IOUS] for case in cases]
    np.testing.assert_allclose(precision, naive, atol=1e-12)
    summary = metrics.summarise_precision(truths, predictions, strict=strict)
    assert summary["mAP"] == pytest.approx(100 * np.mean(naive))
    assert summary["mAP@0.75"] == pytest.approx(100 * np.mean([row[5] for row in naive]))
    for name, (low, high) in {"short": (0, 10), "middle": (10, 30)}.items():
        kept = [([span for span in spans if low < span[1] - span[0] <= high], ranked) for spans, ranked in cases]
        kept = [case for case in kept if case[0]]
        if kept:
            expected = np.mean([[naive_ap(*case, level, strict) for level in metrics.AP_IOUS] for case in kept])
            assert summary[f"mAP-{name}"] == pytest.approx(100 * expected)
        else:
            assert f"mAP-{name}" not in summary


def test_keys_are_those_of_the_report() -> None:
    found = metrics.summarise([[(0, 10)]], [[(0, 10, 1.0)]])
    assert list(found) == [f"R@{n},IoU={m}" for n in (1, 5) for m in (0.3, 0.5, 0.7)] + ["mIoU"]
    assert set(found.values()) == {100.0}


def test_the_two_conventions_differ_at_the_threshold() -> None:
    truths, predictions = [[(0.0, 10.0)]], [[(0.0, 5.0, 1.0)]]
    assert metrics.summarise(truths, predictions)["R@1,IoU=0.5"] == 100
    assert metrics.summarise(truths, predictions, strict=True)["R@1,IoU=0.5"] == 0
    assert metrics.summarise_precision(truths, predictions)["mAP@0.5"] == 100
    assert metrics.summarise_precision(truths, predictions, strict=True)["mAP@0.5"] == 0
    assert metrics.conventions()["hit"] == "IoU >= m"
    assert metrics.conventions(strict=True, nms="IoU 0.5")["hit"] == "IoU > m"
    assert metrics.conventions(strict=True, nms="IoU 0.5")["nms"] == "IoU 0.5"


def test_a_query_without_a_prediction_is_a_miss() -> None:
    found = metrics.summarise([[(0, 10)], [(0, 10)]], [[(0, 10, 1.0)], []])
    assert set(found.values()) == {50.0}
    assert metrics.summarise_precision([[(0, 10)], [(0, 10)]], [[], []])["mAP"] == 0
    assert set(metrics.summarise([[(0, 10)]], [[]]).values()) == {0.0}


def test_the_best_of_several_true_moments_counts() -> None:
    assert metrics.summarise([[(0, 1), (5, 9)]], [[(5, 9, 0.4)]])["mIoU"] == 100


def test_moments_of_no_length_overlap_nothing() -> None:
    assert metrics.best_ious([[(0.0, 4.0)]], [[(2.0, 2.0), (3.0, 1.0), (0.0, 4.0)]], 3).tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize("function", [metrics.summarise, metrics.summarise_precision, metrics.best_ious])
def test_what_cannot_be_scored(function: Callable[..., object]) -> None:
    for truths, predictions, message in (
        ([], [], "no queries"),
        ([[(0, 1)]], [], "0 lists of predictions for 1 queries"),
        ([[(0, 1)], []], [[], []], "query 1 has no true moment"),
    ):
        with pytest.raises(DataError, match=message):
            function(truths, predictions)


def test_speed() -> None:
    rng = np.random.default_rng(0)
    truths = [[(0.0, 5.0)]] * 17_000
    predictions = [[tuple(moment) for moment in ranked] for ranked in rng.random((17_000, 10, 3)).tolist()]
    started = time.perf_counter()
    metrics.summarise(truths, predictions)
    metrics.summarise_precision(truths, predictions)
    assert time.perf_counter() - started < 3


def test_the_interval_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    videos = np.repeat(np.arange(200), 5)
    of_video = rng.random(200)[videos]
    low, high = metrics.bootstrap_interval(100 * of_video, videos)
    assert low < 100 * of_video.mean() < high
    # 200 independent values, not 1000: 1.96 standard errors of 200 on either side.
    assert high - low == pytest.approx(2 * 1.96 * 100 * of_video[::5].std() / 200**0.5, rel=0.15)
    assert metrics.bootstrap_interval(of_video, videos) == metrics.bootstrap_interval(of_video, videos + 7)
    assert metrics.bootstrap_interval([3.0], [0]) == (3.0, 3.0)
    assert metrics.bootstrap_interval(of_video, videos, seed=1) != metrics.bootstrap_interval(of_video, videos)
    with pytest.raises(DataError):
        metrics.bootstrap_interval([], [])


def test_query_values_average_to_the_summary() -> None:
    truths, predictions = [[(0, 10)], [(2, 8)]], [[(0, 9, 1.0)], [(7, 9, 1.0), (2, 8, 0.5)]]
    values = metrics.query_values(truths, predictions)
    assert {name: value.mean() for name, value in values.items()} == metrics.summarise(truths, predictions)


@published
def test_published_figures() -> None:
    """Every figure that QVHighlights' own evaluator gave for Moment-DETR, per range and per threshold."""
    expected = json.loads((PUBLISHED / "moment_detr_val_metrics.json").read_text())
    pairs = read_pairs(PUBLISHED / "highlight_val_release.jsonl", require_moment=True, strict=True).pairs
    predictions = read_predictions(PUBLISHED / "moment_detr_val_predictions.jsonl")
    matched = predictions.match(pairs)
    assert (predictions.problems, matched.missing, matched.unknown) == ([], 0, 0)
    truths = [pair.moments for pair in pairs]
    for name, limits in {**metrics.LENGTH_RANGES, "full": (0.0, float("inf"))}.items():
        kept, moments = metrics.moments_of_length(truths, *limits)
        ranked = [matched.moments[query] for query in kept]
        precision, first = metrics.average_precision(moments, ranked), metrics.best_ious(moments, ranked)
        found = {f"{m:g}": round(100 * precision[:, index].mean(), 2) for index, m in enumerate(metrics.AP_IOUS)}
        assert found | {"average": round(100 * precision.mean(), 2)} == expected[name]["MR-mAP"]
        recall = {f"{m:g}": round(metrics.recall_at(first, 1, m), 2) for m in metrics.AP_IOUS}
        assert recall == expected[name]["MR-R1"]
    summary = metrics.summarise(truths, matched.moments) | metrics.summarise_precision(truths, matched.moments)
    assert {name: round(value, 2) for name, value in summary.items() if name.startswith(("mAP", "R@1"))} == {
        "R@1,IoU=0.3": 67.16, "R@1,IoU=0.5": 53.23, "R@1,IoU=0.7": 34.00, "mAP": 30.58, "mAP@0.5": 54.80,
        "mAP@0.75": 29.02, "mAP-long": 41.27, "mAP-middle": 29.42, "mAP-short": 3.11,
    }  # fmt: skip
