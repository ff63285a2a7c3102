"""The queries that an evaluation page shows one by one: the worst and the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.evaluation_report import EvaluationReport
from mttsg_core.moments import Moment

CASES = 20  # worst cases, and as many best ones
PREDICTIONS = 3  # shown per case


@dataclass(frozen=True)
class Case:
    """A query with its predictions and the quality of the top one.

    Attributes:
        index: the query's index in the split, from 0.
        pair: the query and its true moments.
        predictions: the first few, best first; empty if there are none.
        iou: IoU of the top prediction with the best matching true moment, 0..1.
        duration: seconds of the video, None if unknown.
        is_worst: whether it is one of the worst rather than one of the best.
    """

    index: int
    pair: Pair
    predictions: Sequence[Moment]
    iou: float
    duration: float | None
    is_worst: bool

    @property
    def extent(self) -> float:
        """Seconds that the query's time line covers."""
        ends = [end for _, end in self.pair.moments] + [moment.end for moment in self.predictions]
        return max([*ends, self.duration or 0.0])


def pick_cases(report: EvaluationReport, limit: int = CASES) -> list[Case]:
    """Return the worst queries, worst first, then the best, best first; no query appears twice.

    Queries are ordered by the IoU of the top prediction. Among equally bad ones the most confident comes first, because
    a confident mistake says more, and those without a prediction come last. Among equally good ones, too, the most
    confident comes first; remaining ties alternate between videos.
    """
    main = report.main
    queries = range(len(main.pairs))
    scores = [moments[0].score if moments else -1.0 for moments in main.predictions]
    ious = main.first_ious
    repeats = _earlier_queries([pair.video for pair in main.pairs])
    by_badness = sorted(queries, key=lambda query: (ious[query], -scores[query], repeats[query]))
    worst = by_badness[: min(limit, (len(queries) + 1) // 2)]
    best = sorted(set(queries) - set(worst), key=lambda query: (-ious[query], -scores[query], repeats[query]))[:limit]

    def case(query: int, *, is_worst: bool) -> Case:
        predictions = [moment for moment in main.predictions[query][:PREDICTIONS] if moment.end > moment.start]
        return Case(query, main.pairs[query], predictions, float(ious[query]), report.durations[query], is_worst)

    return [case(query, is_worst=True) for query in worst] + [case(query, is_worst=False) for query in best]


def _earlier_queries(videos: Sequence[str]) -> list[int]:
    """Return, for each query's video, how many queries before it have the same video."""
    seen: dict[str, int] = {}
    earlier = []
    for video in videos:
        earlier.append(seen.get(video, 0))
        seen[video] = earlier[-1] + 1
    return earlier
