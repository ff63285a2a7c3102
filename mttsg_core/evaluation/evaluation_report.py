"""The report of one split: an evaluation, its baselines and its breakdown, for the table, the JSON and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.baselines import (
    BLIND,
    WHOLE_VIDEO,
    constant_span,
    evaluate_blind,
    prior_spans,
    relative_moments,
)
from mttsg_core.evaluation.bootstrap import LEVEL, SAMPLES
from mttsg_core.evaluation.breakdown import GroupMetrics, break_down, group_queries
from mttsg_core.evaluation.evaluator import TOP, Evaluation, run_conventions


@dataclass(frozen=True)
class EvaluationReport:
    """What is reported about one split.

    Attributes:
        main: the evaluation to report.
        durations: seconds of each pair's video, None where it is not known.
        baselines: evaluations of the same pairs by the same metrics, in the same mode unless they are blind.
        fitted_on: the split that the blind baselines were fitted on; None if there are none.
        seen_words: words of the training sentences; None without a training split.
        answered_by: the model, or the file of predictions, in one line; empty if it is not known.
        data_note: the data set and its conventions in a line; empty if nothing is known of them.

    Raises:
        ValueError: if a baseline differs from the main evaluation in mode, metrics or number of queries.
    """

    main: Evaluation
    durations: Sequence[float | None]
    baselines: Sequence[Evaluation] = field(default=())
    fitted_on: str | None = None
    seen_words: frozenset[str] | None = None
    answered_by: str = ""
    data_note: str = ""

    def __post_init__(self) -> None:
        for baseline in self.baselines:
            if baseline.mode not in (self.main.mode, BLIND):
                raise ValueError(f"{baseline.name}: mode {baseline.mode!r} cannot be compared with {self.main.mode!r}")
            if baseline.metric_config != self.main.metric_config or len(baseline.pairs) != len(self.main.pairs):
                raise ValueError(f"{baseline.name}: not the same metrics and queries as {self.main.name}")

    @property
    def evaluations(self) -> list[Evaluation]:
        """The rows of the table."""
        return [self.main, *self.baselines]

    @property
    def baseline_note(self) -> str:
        """A sentence that names the split that the blind baselines were fitted on; empty if there are none."""
        if self.fitted_on is None:
            return ""
        if self.fitted_on == self.main.split:
            return f"Blind baselines fitted on {self.fitted_on} itself, which flatters them."
        return f"Blind baselines fitted on {self.fitted_on}."

    @cached_property
    def conventions(self) -> dict[str, str]:
        """What the metrics mean, see `evaluator.run_conventions`."""
        return run_conventions([self.main], self.data_note)

    @cached_property
    def breakdown(self) -> list[GroupMetrics]:
        """The main evaluation's metrics over groups of queries; empty if it is not scored."""
        if not self.main.is_scored:
            return []
        groups = group_queries(self.main.pairs, self.durations, self.seen_words)
        return break_down(self.main.query_values, self.main.video_index, groups)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values ready for JSON: the main metrics at the top level, everything else beside them."""
        report: dict[str, Any] = {
            **self.main.as_dict(),
            "convention": self.conventions,
            "nms": self.main.nms,
            "bootstrap": {"by": "video", "samples": SAMPLES, "level": LEVEL},
            "intervals": _lists(self.main.intervals),
            "breakdown": {},
        }
        if self.answered_by:
            report["answered_by"] = self.answered_by
        for group in self.breakdown:
            report["breakdown"].setdefault(group.kind, []).append(
                {
                    "group": group.name,
                    "queries": group.queries,
                    "videos": group.videos,
                    **group.metrics,
                    "intervals": _lists(group.intervals),
                }
            )
        if self.baselines:
            report["baselines_fitted_on"] = self.fitted_on
            report["baselines"] = {
                baseline.name: {
                    "mode": baseline.mode,
                    "missed": baseline.missed,
                    **baseline.metrics,
                    "intervals": _lists(baseline.intervals),
                }
                for baseline in self.baselines
            }
        return report


def blind_baselines(
    main: Evaluation,
    durations: Sequence[float | None],
    training: Sequence[Pair],
    training_durations: Sequence[float | None],
) -> list[Evaluation]:
    """Return the best constant span, the prior over spans, and the whole video; only the last without training moments.

    Args:
        main: the evaluation to compare with.
        durations: seconds of each of its pairs' videos.
        training: the pairs that the first two are fitted on.
        training_durations: seconds of each of their videos.
    """
    moments = relative_moments(training, training_durations)
    top = max(TOP, *main.metric_config.ns)
    baselines = []
    if len(moments):
        baselines.append(evaluate_blind("constant span", constant_span(moments), main, durations))
        baselines.append(evaluate_blind("prior over spans", prior_spans(moments, top), main, durations))
    return [*baselines, evaluate_blind("whole video", WHOLE_VIDEO, main, durations)]


def _lists(intervals: Mapping[str, tuple[float, float]]) -> dict[str, list[float]]:
    return {name: list(ends) for name, ends in intervals.items()}
