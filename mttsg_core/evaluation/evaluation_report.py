"""An evaluation, the baselines beside it, and the breakdown: all that is reported, whether as table, JSON or page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mttsg_core.data.folder import Pair
from mttsg_core.evaluation.baselines import (
    BLIND,
    WHOLE_VIDEO,
    constant_span,
    evaluate_blind,
    prior_spans,
    relative_moments,
)
from mttsg_core.evaluation.breakdown import GroupFigures, break_down, group_queries
from mttsg_core.evaluation.evaluator import TOP, Evaluation
from mttsg_core.evaluation.figures import LEVEL, SAMPLES
from mttsg_core.evaluation.metrics import conventions


@dataclass(frozen=True)
class EvaluationReport:
    """What is reported of one split.

    Attributes:
        main: the evaluation in question.
        durations: seconds of each pair's video, None where not known.
        baselines: on the same pairs, by the same measures, and in the same mode unless they are blind.
        fitted_on: the split that the blind baselines know; None if there are none.
        seen_words: words of the training sentences, None where there is no training split.

    Raises:
        ValueError: if answers of different modes, or by different measures, would stand in one table.
    """

    main: Evaluation
    durations: Sequence[float | None]
    baselines: Sequence[Evaluation] = field(default=())
    fitted_on: str | None = None
    seen_words: frozenset[str] | None = None

    def __post_init__(self) -> None:
        for other in self.baselines:
            if other.mode not in (self.main.mode, BLIND):
                raise ValueError(f"{other.name}: mode {other.mode!r} does not stand beside {self.main.mode!r}")
            if other.measures != self.main.measures or len(other.pairs) != len(self.main.pairs):
                raise ValueError(f"{other.name}: not the same measures and queries")

    @property
    def evaluations(self) -> list[Evaluation]:
        """The rows of the table."""
        return [self.main, *self.baselines]

    @property
    def fit(self) -> str:
        """Which split the blind baselines know, in a sentence; empty where there are none."""
        if self.fitted_on is None:
            return ""
        if self.fitted_on == self.main.split:
            return f"Blind baselines fitted on {self.fitted_on} itself, which flatters them."
        return f"Blind baselines fitted on {self.fitted_on}."

    @cached_property
    def conventions(self) -> dict[str, str]:
        """What the figures mean."""
        return conventions(strict=self.main.measures.strict, nms=self.main.nms)

    @cached_property
    def breakdown(self) -> list[GroupFigures]:
        """The main evaluation's figures over groups of queries."""
        return break_down(self.main, group_queries(self.main.pairs, self.durations, self.seen_words))

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, ready for JSON: the main figures at the top level, everything else beside them."""
        report: dict[str, Any] = {
            **self.main.as_dict(),
            "convention": self.conventions,
            "nms": self.main.nms,
            "bootstrap": {"by": "video", "samples": SAMPLES, "level": LEVEL},
            "intervals": _lists(self.main.intervals),
            "breakdown": {},
        }
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
                other.name: {
                    "mode": other.mode,
                    "missed": other.missed,
                    **other.metrics,
                    "intervals": _lists(other.intervals),
                }
                for other in self.baselines
            }
        return report


def blind_baselines(
    main: Evaluation,
    durations: Sequence[float | None],
    training: Sequence[Pair],
    training_durations: Sequence[float | None],
) -> list[Evaluation]:
    """The best constant span, the prior over spans, and the whole video; only the last without a training moment.

    Args:
        main: the evaluation to stand beside.
        durations: seconds of each of its pairs' videos.
        training: pairs that the first two are fitted on, and the seconds of their videos.
    """
    moments = relative_moments(training, training_durations)
    top = max(TOP, *main.measures.ns)
    found = []
    if len(moments):
        found.append(evaluate_blind("constant span", constant_span(moments), main, durations))
        found.append(evaluate_blind("prior over spans", prior_spans(moments, top), main, durations))
    return [*found, evaluate_blind("whole video", WHOLE_VIDEO, main, durations)]


def _lists(intervals: Any) -> dict[str, list[float]]:
    return {name: list(bounds) for name, bounds in intervals.items()}
