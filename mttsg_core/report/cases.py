"""The queries that a report shows one by one: the worst and the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mttsg_core.data.folder import Pair
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.moments import Moment

SHOWN = 20  # queries of each sort
ANSWERS = 3  # of each query


@dataclass(frozen=True)
class Case:
    """A query, its answers and how good the first one is.

    Attributes:
        number: the query's place in the split, from 0.
        pair: the query and its true moments.
        answers: the first few, the best first; none where the query has no answer.
        iou: of the first answer with the best true moment, 0..1.
        duration: seconds of the video, None if not known.
        worst: one of the worst, not of the best.
    """

    number: int
    pair: Pair
    answers: Sequence[Moment]
    iou: float
    duration: float | None
    worst: bool

    @property
    def extent(self) -> float:
        """Seconds that a time line must cover."""
        ends = [end for _, end in self.pair.moments] + [answer.end for answer in self.answers]
        return max([*ends, self.duration or 0.0])


def pick_cases(comparison: EvaluationReport, shown: int = SHOWN) -> list[Case]:
    """The worst queries, the worst first, then the best, the best first; none twice.

    By the IoU of the first answer. Of equally bad answers the surest comes first, and those without an answer last: a
    confident mistake says more. Of equally good ones likewise the surest; then videos take turns.
    """
    main = comparison.main
    count = len(main.pairs)
    scores = [moments[0].score if moments else -1.0 for moments in main.predictions]
    ious = main.first_ious
    turns = _turns([pair.video for pair in main.pairs])
    worst = sorted(range(count), key=lambda query: (ious[query], -scores[query], turns[query]))[
        : min(shown, (count + 1) // 2)
    ]
    best = sorted(set(range(count)).difference(worst), key=lambda query: (-ious[query], -scores[query], turns[query]))[
        :shown
    ]

    def case(query: int, *, is_worst: bool) -> Case:
        answers = [moment for moment in main.predictions[query][:ANSWERS] if moment.end > moment.start]
        return Case(query, main.pairs[query], answers, float(ious[query]), comparison.durations[query], is_worst)

    return [case(query, is_worst=True) for query in worst] + [case(query, is_worst=False) for query in best]


def _turns(videos: Sequence[str]) -> list[int]:
    """How many queries of the same video come before each."""
    seen: dict[str, int] = {}
    turns = []
    for video in videos:
        turns.append(seen.get(video, 0))
        seen[video] = turns[-1] + 1
    return turns
