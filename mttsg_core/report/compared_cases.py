"""The queries that a comparison page shows one by one: those that a system wins and loses against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.comparison import System
from mttsg_core.evaluation.comparison_report import ComparisonReport
from mttsg_core.moments import Moment

CASES = 10  # won ones of each system, and as many lost ones


@dataclass(frozen=True)
class Answer:
    """What a system answers.

    Attributes:
        system: its index in the report.
        name: of the system.
        moments: the first prediction of each run that has one.
        iou: of the first predictions, averaged over the runs, 0..1.
    """

    system: int
    name: str
    moments: Sequence[Moment]
    iou: float


@dataclass(frozen=True)
class ComparedCase:
    """A query with the answers of two systems.

    Attributes:
        index: the query's index in the split, from 0.
        pair: the query and its true moments.
        first, other: what the first and the other system answer.
        duration: seconds of the video, None if unknown.
    """

    index: int
    pair: Pair
    first: Answer
    other: Answer
    duration: float | None

    @property
    def predictions(self) -> Sequence[Moment]:
        """No moments: stills are taken of the true one, which is the same whoever is compared."""
        return ()

    @property
    def is_won(self) -> bool:
        """Whether the other system is better than the first."""
        return self.other.iou > self.first.iou

    @property
    def answers(self) -> tuple[Answer, Answer]:
        """Both answers, that of the first system first."""
        return self.first, self.other

    @property
    def extent(self) -> float:
        """Seconds that the query's time line covers."""
        ends = [end for _, end in self.pair.moments]
        ends += [moment.end for answer in self.answers for moment in answer.moments]
        return max([*ends, self.duration or 0.0])


def pick_compared_cases(report: ComparisonReport, limit: int = CASES) -> dict[str, list[ComparedCase]]:
    """Return, for each system after the first, the queries that it wins by most and those that it loses by most.

    Queries are ordered by the difference of the first predictions' IoU, averaged over the runs; equal ones keep the
    order of the split.
    """
    cases = {}
    for number, system in enumerate(report.others, start=1):
        gains = system.first_ious - report.first.first_ious
        order = sorted(range(len(gains)), key=lambda query: -gains[query])
        chosen = [query for query in order[:limit] if gains[query] > 0]
        chosen += [query for query in order[::-1][:limit] if gains[query] < 0]
        cases[system.name] = [
            ComparedCase(
                query,
                report.pairs[query],
                _answer(0, report.first, query),
                _answer(number, system, query),
                report.durations[query],
            )
            for query in chosen
        ]
    return cases


def _answer(number: int, system: System, query: int) -> Answer:
    firsts = [run.predictions[query][0] for run in system.runs if run.predictions[query]]
    moments = [moment for moment in firsts if moment.end > moment.start]
    return Answer(number, system.name, moments, float(system.first_ious[query]))
