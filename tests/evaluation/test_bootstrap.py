"""Bootstrap intervals against a naive bootstrap, and against what theory expects of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mttsg_core.errors import DataError
from mttsg_core.evaluation.bootstrap import bootstrap_interval, bootstrap_intervals
from mttsg_core.moments import FloatArray


def naive_interval(values: FloatArray, videos: npt.NDArray[np.int64], samples: int, seed: int) -> tuple[float, float]:
    """Return the percentile interval, with every sample built query by query."""
    groups = [values[videos == video] for video in np.unique(videos)]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(groups), size=(samples, len(groups)))
    resampled = [np.concatenate([groups[group] for group in row]) for row in drawn]
    means = [sample[~np.isnan(sample)].mean() for sample in resampled if not np.isnan(sample).all()]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_against_the_naive_bootstrap(missing: float) -> None:
    rng = np.random.default_rng(1)
    videos = rng.integers(0, 12, 70)
    columns = rng.random((70, 3))
    columns[rng.random((70, 3)) < missing] = np.nan
    intervals = bootstrap_intervals(columns, videos, samples=300, seed=4)
    for column, interval in zip(columns.T, intervals, strict=True):
        assert interval == pytest.approx(naive_interval(column, videos, 300, 4))
        assert bootstrap_interval(column, videos, samples=300, seed=4) == pytest.approx(tuple(interval))


def test_queries_of_one_video_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    videos = np.repeat(np.arange(200), 5)
    values = rng.random(200)[videos]
    low, high = bootstrap_interval(100 * values, videos)
    assert low < 100 * values.mean() < high
    # 200 independent values, not 1000: 1.96 standard errors of 200 on either side.
    assert high - low == pytest.approx(2 * 1.96 * 100 * values[::5].std() / 200**0.5, rel=0.15)
    assert bootstrap_interval(values, videos) == bootstrap_interval(values, videos + 7)
    assert bootstrap_interval([3.0], [0]) == (3.0, 3.0)
    assert bootstrap_interval(values, videos, seed=1) != bootstrap_interval(values, videos)


def test_queries_that_do_not_count_are_left_out() -> None:
    column = np.array([0.0, 100.0, np.nan, np.nan, 50.0])
    videos = np.array(["a", "a", "b", "c", "d"])
    [(low, high)] = bootstrap_intervals(column[:, None], videos)
    assert (low, high) == (50.0, 50.0)
    assert np.isnan(bootstrap_intervals(np.full((3, 1), np.nan), np.arange(3))).all()


def test_values_and_videos_must_match() -> None:
    with pytest.raises(DataError):
        bootstrap_interval([], [])
    with pytest.raises(DataError, match="one video per query"):
        bootstrap_intervals(np.zeros((2, 1)), np.arange(3))
