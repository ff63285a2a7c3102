"""The paired bootstrap against a naive one and against what theory expects, and means over seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from mttsg_core.data.pairs import Pair
from mttsg_core.errors import DataError
from mttsg_core.evaluation.comparison import (
    Difference,
    System,
    average_runs,
    over_seeds,
    paired_differences,
    seed_differences,
)
from mttsg_core.evaluation.evaluator import Evaluation, score
from mttsg_core.moments import FloatArray, Moment


def naive_difference(
    first: FloatArray, other: FloatArray, videos: npt.NDArray[np.int64], samples: int, seed: int
) -> tuple[float, float, float, float]:
    """Return difference, interval and p-value with both systems scored anew on every sample, query by query."""
    queries_of: dict[int, list[int]] = {}
    for query, video in enumerate(videos.tolist()):
        queries_of.setdefault(video, []).append(query)
    names = sorted(queries_of)
    differences = []
    for draw in np.random.default_rng(seed).integers(len(names), size=(samples, len(names))).tolist():
        drawn = [query for number in draw for query in queries_of[names[number]]]
        counted = [query for query in drawn if not np.isnan(first[query])]
        if counted:
            a, b = (sum(values[query] for query in counted) / len(counted) for values in (first, other))
            differences.append(b - a)
    low, high = np.percentile(differences, [2.5, 97.5])
    at_most = sum(value <= 0 for value in differences)
    at_least = sum(value >= 0 for value in differences)
    p = 2 * (min(at_most, at_least) + 1) / (len(differences) + 1)
    return float(np.nanmean(other) - np.nanmean(first)), float(low), float(high), min(p, 1.0)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_against_the_naive_paired_bootstrap(missing: float) -> None:
    rng = np.random.default_rng(5)
    videos = rng.integers(0, 15, 80)
    first, other = rng.integers(0, 101, (2, 80, 3)).astype(np.float64)  # whole numbers: sums are exact in any order
    other[:, 1] += 12
    uncounted = rng.random((80, 3)) < missing
    first[uncounted] = other[uncounted] = np.nan
    ours, theirs = (dict(zip("abc", values.T, strict=True)) for values in (first, other))
    found = paired_differences(ours, theirs, videos, samples=400, seed=3)
    for index, name in enumerate("abc"):
        assert found[name] == pytest.approx(naive_difference(first[:, index], other[:, index], videos, 400, 3))


def test_the_interval_of_two_equal_systems_covers_zero_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    repeats, covered, significant = 300, 0, 0
    videos = np.repeat(np.arange(60), 3)
    for _ in range(repeats):
        difficulty = rng.normal(50, 15, 60)[videos]  # queries of one video are alike
        first, other = difficulty + rng.normal(0, 10, (2, 60))[:, videos] + rng.normal(0, 10, (2, 180))
        found = paired_differences({"m": first}, {"m": other}, videos, samples=300)["m"]
        covered += found.low <= 0 <= found.high
        significant += found.p < 0.05
    assert 0.92 <= covered / repeats <= 0.98
    assert 0.02 <= significant / repeats <= 0.08


def test_a_pairing_by_query_finds_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    videos = np.arange(100)
    first = rng.uniform(0, 100, 100)
    other = first + 2 + rng.normal(0, 4, 100)
    found = paired_differences({"m": first}, {"m": other}, videos)["m"]
    assert 0 < found.low < found.value < found.high < 4
    assert found.p < 0.01
    swapped = paired_differences({"m": other}, {"m": first}, videos)["m"]
    assert swapped == pytest.approx((-found.value, -found.high, -found.low, found.p))


def test_the_same_predictions_have_no_difference() -> None:
    values = {"m": np.array([0.0, 100.0, 100.0])}
    assert paired_differences(values, values, ["a", "b", "b"])["m"] == Difference(0.0, 0.0, 0.0, 1.0)


def test_metrics_in_which_no_query_counts_have_no_difference() -> None:
    columns = {"m": np.array([1.0, 2.0]), "mAP-long": np.full(2, np.nan)}
    assert list(paired_differences(columns, columns, [0, 1])) == ["m"]


def test_sums_that_are_zero_but_for_rounding_count_as_zero() -> None:
    thirds = np.array([100, 200, -100, -200]) / 3
    first = np.array([0.1, 0.2, 0.3, 0.7])
    low, high, p = paired_differences({"m": first}, {"m": first + thirds}, [0, 0, 0, 0])["m"][1:]
    assert (low, high, p) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9), 1.0)


def test_only_the_same_queries_are_compared() -> None:
    with pytest.raises(DataError, match="the same metrics and queries"):
        paired_differences({"m": np.zeros(3)}, {"m": np.zeros(2)}, [0, 1, 2])
    with pytest.raises(DataError, match="the same metrics and queries"):
        paired_differences({"m": np.zeros(3)}, {"n": np.zeros(3)}, [0, 1, 2])
    with pytest.raises(DataError, match="the same queries"):
        average_runs([{"m": np.zeros(3)}, {"m": np.zeros(2)}])
    with pytest.raises(DataError, match="at least one"):
        average_runs([])
    with pytest.raises(DataError, match="at least one"):
        over_seeds([])


def evaluations(shifts: list[float]) -> list[Evaluation]:
    """Return a run for each shift of the predictions: of four queries of two videos, one without a prediction."""
    pairs = [Pair(str(n), f"v{n // 2}", f"s{n}", ((0.0, 10.0),), 30.0) for n in range(4)]
    return [
        score("val", pairs, [[Moment(shift * n, 10.0, 0.5)] for n in range(3)] + [[]], "predictions", missed=1)
        for shift in shifts
    ]


def test_a_system_is_the_mean_of_its_runs() -> None:
    ours, theirs = System("ours", evaluations([1.0, 2.0, 3.0])), System("theirs", evaluations([0.0]))
    ious = [[(100 - 10 * shift * n) for n in range(3)] + [0] for shift in (1, 2, 3)]
    assert ours.query_values["mIoU"] == pytest.approx(np.mean(ious, axis=0))
    assert ours.metrics["mIoU"] == pytest.approx((60, 7.5))
    assert theirs.metrics["mIoU"] == (75.0, None)
    assert (ours.missed, theirs.missed) == ([1, 1, 1], [1])
    difference = theirs.against(ours)["mIoU"]
    assert difference.value == pytest.approx(15)
    assert difference.low <= 15 <= difference.high
    low, high = ours.intervals["mIoU"]
    assert low <= 60 <= high
    assert seed_differences([1.0, 2.0], [2.0, 4.0]) == [1.0, 2.0]


def test_runs_on_other_queries_are_refused() -> None:
    first, second = evaluations([1.0, 2.0])
    with pytest.raises(ValueError, match="needs a run"):
        System("ours", [])
    other = replace(second, pairs=[*second.pairs[:3], replace(second.pairs[3], moments=((1.0, 2.0),))])
    with pytest.raises(ValueError, match="different queries"):
        System("ours", [first, other])
