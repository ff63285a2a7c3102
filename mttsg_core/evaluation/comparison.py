"""Systems on the same queries: mean and spread over seeds, and a paired bootstrap over videos.

A system is a model or the predictions of one, with several runs if it was trained with several seeds. Its figures are
the means over its runs. Two systems are compared query by query: the values of each are averaged over its runs first,
and the differences are bootstrapped over videos, with the same draws for both (a paired bootstrap; Koehn, "Statistical
significance tests for machine translation evaluation", EMNLP 2004; Davison and Hinkley, 1997, section 3.8 on clusters).

The interval of a difference says how far it depends on the videos that were drawn, not on the seeds: the spread over
seeds stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mttsg_core.data.pairs import Pair
from mttsg_core.errors import DataError
from mttsg_core.evaluation.bootstrap import LEVEL, SAMPLES, bootstrap_means
from mttsg_core.evaluation.evaluator import Evaluation
from mttsg_core.evaluation.metrics import metric_intervals
from mttsg_core.moments import FloatArray

_ROUNDING = 1e-9  # points, within which the rounded means of thirds are 0

Columns = Mapping[str, FloatArray]
"""Columns by metric, (queries,) in percent, NaN where a query does not count: see `metrics.query_values`."""


class OverSeeds(NamedTuple):
    """A metric over several runs.

    Attributes:
        mean: over the runs.
        spread: their sample standard deviation; None for a single run.
    """

    mean: float
    spread: float | None


class Difference(NamedTuple):
    """How much more one system has than another.

    Attributes:
        value: in points of percent.
        low, high: ends of its 95 % interval.
        p: the chance of a difference at least as large, in either direction, if there were none (two-sided).
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class System:
    """A system that is compared.

    Attributes:
        name: of the system.
        runs: its evaluations on the same queries, one for each seed.
        sources: the model or the file of each run, in one line; empty if they are not known.

    Raises:
        ValueError: if there are no runs, or their queries or metrics differ.
    """

    name: str
    runs: Sequence[Evaluation]
    sources: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError(f"{self.name}: a system needs a run")
        for run in self.runs[1:]:
            if not same_queries(run.pairs, self.runs[0].pairs) or run.metric_config != self.runs[0].metric_config:
                raise ValueError(f"{self.name}: the runs have different queries or metrics")

    @cached_property
    def query_values(self) -> dict[str, FloatArray]:
        """What each query contributes to each metric that all runs have, averaged over the runs."""
        return average_runs([run.query_values for run in self.runs])

    @cached_property
    def metrics(self) -> dict[str, OverSeeds]:
        """Mean and spread of each metric that all runs have in percent, by name."""
        names = [name for name in self.runs[0].metrics if all(name in run.metrics for run in self.runs)]
        return {name: over_seeds([run.metrics[name] for run in self.runs]) for name in names}

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % interval of each mean in percent, from a bootstrap over videos."""
        return metric_intervals(self.query_values, self.runs[0].video_index)

    @cached_property
    def first_ious(self) -> FloatArray:
        """IoU of each query's first prediction, averaged over the runs, (queries,) in 0..1."""
        return self.query_values["mIoU"] / 100

    @property
    def missed(self) -> list[int]:
        """Number of queries without a prediction, of each run."""
        return [run.missed for run in self.runs]

    def against(self, first: System) -> dict[str, Difference]:
        """Return the difference of each metric to that of another system."""
        return paired_differences(first.query_values, self.query_values, self.runs[0].video_index)


def same_queries(pairs: Sequence[Pair], others: Sequence[Pair]) -> bool:
    """Return whether two evaluations have the same queries with the same true moments, in the same order."""
    return len(pairs) == len(others) and all(
        (pair.id, pair.video, pair.query, pair.moments) == (other.id, other.video, other.query, other.moments)
        for pair, other in zip(pairs, others, strict=True)
    )


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Return mean and spread of a metric over runs.

    >>> over_seeds([54.0, 56.0, 58.0]), over_seeds([54.0])
    (OverSeeds(mean=56.0, spread=2.0), OverSeeds(mean=54.0, spread=None))

    Raises:
        DataError: if there are no values.
    """
    if not values:
        raise DataError("a mean over seeds needs at least one run")
    return OverSeeds(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def average_runs(runs: Sequence[Columns]) -> dict[str, FloatArray]:
    """Return the mean over runs of each query's values, for the metrics that all runs have.

    Raises:
        DataError: if there are no runs, or they do not have the same queries.
    """
    if len({len(column) for run in runs for column in run.values()}) != 1:
        raise DataError("an average over runs needs at least one, with the same queries in each")
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return {name: np.mean([run[name] for run in runs], axis=0) for name in names}


def paired_differences(
    first: Columns,
    other: Columns,
    videos: npt.ArrayLike,
    samples: int = SAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Difference]:
    """Return how much more `other` has than `first`, for each metric of both, all from the same draws of videos.

    >>> values = {"mIoU": np.array([40.0, 50.0, 60.0])}
    >>> paired_differences(values, {"mIoU": values["mIoU"] + 5}, ["a", "a", "b"])["mIoU"][:3]
    (5.0, 5.0, 5.0)

    The p-value inverts the percentile interval: twice the share of the samples on the other side of 0, of which one is
    added, so that it is never 0.

    Args:
        first: columns of values (queries,), averaged over runs if there are several.
        other: those of the same queries for the other system.
        videos: (queries,), equal for queries of one video.
        samples: bootstrap samples.
        seed: of the draws.
        level: fraction of the samples inside the interval.

    Raises:
        DataError: if there are no queries, or the lengths differ.
    """
    columns = {
        name: other[name] - first[name] for name in first if name in other and len(other[name]) == len(first[name])
    }
    if not columns or len(columns) < len(first.keys() & other.keys()):
        raise DataError("a paired bootstrap needs two systems with the same metrics and queries")
    columns = {name: column for name, column in columns.items() if not np.isnan(column).all()}
    means = bootstrap_means(np.stack(list(columns.values()), axis=1), videos, samples, seed)
    edges = [(1 - level) / 2, (1 + level) / 2]
    differences = {}
    for (name, column), drawn in zip(columns.items(), means.T, strict=True):
        valid = drawn[~np.isnan(drawn)]
        low, high = np.quantile(valid, edges)
        differences[name] = Difference(float(np.nanmean(column)), float(low), float(high), _p_value(valid))
    return differences


def _p_value(differences: FloatArray) -> float:
    """Return the two-sided p-value of bootstrapped differences, (samples,)."""
    smaller = min(int((differences <= _ROUNDING).sum()), int((differences >= -_ROUNDING).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(differences) + 1))


def seed_differences(first: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return the differences of a metric seed by seed, in order; none where the numbers of seeds differ.

    >>> seed_differences([54.0, 56.0], [55.0, 59.0]), seed_differences([54.0, 56.0], [55.0])
    ([1.0, 3.0], [])
    """
    return [b - a for a, b in zip(first, other, strict=True)] if len(first) == len(other) > 1 else []
