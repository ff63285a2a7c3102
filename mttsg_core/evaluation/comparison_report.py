"""The report of a comparison: figures of each system, and how they differ from those of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.bootstrap import LEVEL, SAMPLES
from mttsg_core.evaluation.breakdown import GroupMetrics, break_down, group_queries
from mttsg_core.evaluation.comparison import Difference, System, same_queries, seed_differences
from mttsg_core.evaluation.evaluator import run_conventions
from mttsg_core.evaluation.metrics import MetricConfig


class Outcomes(NamedTuple):
    """On how many queries a system is better than the first one, worse, or equally good, by the headline metric."""

    won: int
    lost: int
    tied: int


@dataclass(frozen=True)
class ComparisonReport:
    """Systems on the queries of one split; the others are compared with the first.

    Attributes:
        systems: at least one, on the same queries and by the same metrics.
        durations: seconds of each query's video, None where it is not known.
        seen_words: words of the training sentences; None without a training split.
        data_note: the data set and its conventions in a line; empty if nothing is known of them.

    Raises:
        ValueError: if there are no systems, their queries or metrics differ, or two have the same name.
    """

    systems: Sequence[System]
    durations: Sequence[float | None]
    seen_words: frozenset[str] | None = None
    data_note: str = ""

    def __post_init__(self) -> None:
        if not self.systems or len({system.name for system in self.systems}) < len(self.systems):
            raise ValueError("a comparison needs systems, each with a name of its own")
        for system in self.others:
            if system.runs[0].metric_config != self.metric_config or not same_queries(system.runs[0].pairs, self.pairs):
                raise ValueError(f"{system.name}: not the same metrics and queries as {self.first.name}")

    @property
    def first(self) -> System:
        """The system that the others are compared with."""
        return self.systems[0]

    @property
    def others(self) -> Sequence[System]:
        """The systems after the first."""
        return self.systems[1:]

    @property
    def split(self) -> str:
        """Name of the split."""
        return self.first.runs[0].split

    @property
    def pairs(self) -> Sequence[Pair]:
        """The queries with their true moments."""
        return self.first.runs[0].pairs

    @property
    def videos(self) -> int:
        """Number of different videos."""
        return self.first.runs[0].videos

    @property
    def metric_config(self) -> MetricConfig:
        """Which metrics are computed."""
        return self.first.runs[0].metric_config

    @property
    def metric_names(self) -> list[str]:
        """The metrics that any system has, in the order of the columns."""
        return list(dict.fromkeys(name for system in self.systems for name in system.metrics))

    @cached_property
    def differences(self) -> dict[str, dict[str, Difference]]:
        """How much more each other system has than the first, by its name and by metric."""
        return {system.name: system.against(self.first) for system in self.others}

    @cached_property
    def breakdowns(self) -> dict[str, list[GroupMetrics]]:
        """The metrics of each system over the same groups of queries, by its name."""
        groups = group_queries(self.pairs, self.durations, self.seen_words)
        videos = self.first.runs[0].video_index
        return {system.name: break_down(system.query_values, videos, groups) for system in self.systems}

    def outcomes(self, system: System) -> Outcomes:
        """Return on how many queries a system is better or worse than the first, averaged over the runs of both."""
        headline = self.metric_config.headline
        more = system.query_values[headline] - self.first.query_values[headline]
        won, lost = int((more > 0).sum()), int((more < 0).sum())
        return Outcomes(won, lost, len(more) - won - lost)

    @property
    def conventions(self) -> dict[str, str]:
        """What the metrics mean, see `evaluator.run_conventions`; the suppression of each kind of run is named."""
        return run_conventions([run for system in self.systems for run in system.runs], self.data_note)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values ready for JSON."""
        return {
            "split": self.split,
            "queries": len(self.pairs),
            "videos": self.videos,
            "first": self.first.name,
            "systems": [self._system(system) for system in self.systems],
            "convention": self.conventions,
            "bootstrap": {"by": "video", "samples": SAMPLES, "level": LEVEL},
            "breakdown": self._groups(),
        }

    def _system(self, system: System) -> dict[str, Any]:
        values: dict[str, Any] = {
            "name": system.name,
            "seeds": len(system.runs),
            "sources": list(system.sources),
            "missed": system.missed,
            **{name: value.mean for name, value in system.metrics.items()},
            "intervals": {name: list(ends) for name, ends in system.intervals.items()},
        }
        if len(system.runs) > 1:
            values["spread"] = {name: value.spread for name, value in system.metrics.items()}
            values["by_seed"] = {name: [run.metrics[name] for run in system.runs] for name in system.metrics}
        if system is self.first:
            return values
        values["against_first"] = {}
        for name, difference in self.differences[system.name].items():
            of_both = ([run.metrics[name] for run in runs] for runs in (self.first.runs, system.runs))
            paired = seed_differences(*of_both)
            values["against_first"][name] = {
                "difference": difference.value,
                "interval": [difference.low, difference.high],
                "p": difference.p,
                **({"by_seed": paired} if paired else {}),
            }
        values["queries_against_first"] = self.outcomes(system)._asdict()
        return values

    def _groups(self) -> dict[str, list[dict[str, Any]]]:
        kinds: dict[str, list[dict[str, Any]]] = {}
        for of_group in zip(*self.breakdowns.values(), strict=True):
            group = of_group[0]
            entry = {"group": group.name, "queries": group.queries, "videos": group.videos, "systems": {}}
            for name, own in zip(self.breakdowns, of_group, strict=True):
                intervals = {metric: list(ends) for metric, ends in own.intervals.items()}
                entry["systems"][name] = {**own.metrics, "intervals": intervals}
            kinds.setdefault(group.kind, []).append(entry)
        return kinds
