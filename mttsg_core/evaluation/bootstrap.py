"""Confidence intervals of metrics by a bootstrap over videos.

The queries of one video are not independent, so whole videos are drawn, with replacement, rather than queries (a
cluster bootstrap; Davison and Hinkley, 1997, section 3.8). The intervals are percentile intervals.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mttsg_core.errors import DataError
from mttsg_core.moments import FloatArray

SAMPLES, LEVEL = 1000, 0.95  # bootstrap samples, and the fraction of them inside an interval
_DRAWS_PER_STEP = 1 << 21


def bootstrap_interval(
    values: npt.ArrayLike, videos: npt.ArrayLike, samples: int = SAMPLES, seed: int = 0, level: float = LEVEL
) -> tuple[float, float]:
    """Return the low and high end of the interval of one metric; see `bootstrap_intervals`.

    >>> bootstrap_interval([100.0, 100.0, 0.0], ["a", "a", "b"])
    (0.0, 100.0)

    Args:
        values: (queries,), such as a column of `metrics.query_values`.
        videos: (queries,), equal for queries of one video.
        samples: bootstrap samples.
        seed: of the draws.
        level: fraction of the samples inside the interval.

    Raises:
        DataError: if there are no queries or the lengths differ.
    """
    low, high = bootstrap_intervals(np.asarray(values, dtype=np.float64)[..., None], videos, samples, seed, level)[0]
    return float(low), float(high)


def bootstrap_intervals(
    columns: FloatArray, videos: npt.ArrayLike, samples: int = SAMPLES, seed: int = 0, level: float = LEVEL
) -> FloatArray:
    """Return the intervals of the means of many columns, all from the same draws of videos.

    Args:
        columns: (queries, columns), NaN where a query does not count.
        videos: (queries,), equal for queries of one video.
        samples: bootstrap samples.
        seed: of the draws.
        level: fraction of the samples inside the interval.

    Returns:
        (columns, 2): low and high end; NaN for a column in which no query counts.

    Raises:
        DataError: if there are no queries or the lengths differ.
    """
    means = bootstrap_means(columns, videos, samples, seed)
    edges = [(1 - level) / 2, (1 + level) / 2]
    return np.array([_quantiles(column, edges) for column in means.T])


def bootstrap_means(columns: FloatArray, videos: npt.ArrayLike, samples: int = SAMPLES, seed: int = 0) -> FloatArray:
    """Return the means of many columns in each bootstrap sample, all from the same draws of videos.

    Args:
        columns: (queries, columns), NaN where a query does not count.
        videos: (queries,), equal for queries of one video.
        samples: bootstrap samples.
        seed: of the draws.

    Returns:
        (samples, columns); NaN where no query of a sample counts.

    Raises:
        DataError: if there are no queries or the lengths differ.
    """
    keys = np.asarray(videos)
    if columns.ndim != 2 or not columns.size or columns.shape[:1] != keys.shape:
        raise DataError(f"a bootstrap needs one row and one video per query, not {columns.shape} and {keys.shape}")
    names, video = np.unique(keys, return_inverse=True)
    counted = ~np.isnan(columns)
    filled = np.where(counted, columns, 0.0)
    width = range(columns.shape[1])
    sums = np.stack([np.bincount(video, filled[:, column], len(names)) for column in width], axis=1)
    counts = np.stack([np.bincount(video, counted[:, column], len(names)) for column in width], axis=1)
    rng = np.random.default_rng(seed)
    means = np.full((samples, columns.shape[1]), np.nan)
    step = max(1, _DRAWS_PER_STEP // len(names))
    for first in range(0, samples, step):
        size = min(step, samples - first)
        drawn = rng.integers(len(names), size=(size, len(names))) + len(names) * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * len(names)).reshape(size, -1).astype(np.float64)
        queries = times @ counts  # (size, columns) that count in each sample
        np.divide(times @ sums, queries, out=means[first : first + size], where=queries > 0)
    return means


def _quantiles(means: FloatArray, edges: list[float]) -> FloatArray:
    """Return the quantiles over the samples in which any query counted, NaN if there are none."""
    valid = means[~np.isnan(means)]
    return np.quantile(valid, edges) if valid.size else np.full(len(edges), np.nan)
