"""Highlight scores of QVHighlights: how well scores of a video's clips agree with the ratings of annotators.

The figures are those of the evaluator published with QVHighlights (`standalone_eval` of Moment-DETR; Lei et al.,
NeurIPS 2021). A clip is 2 s. It counts as a highlight for an annotator who rated it at least 2 (Fair), 3 (Good) or
4 (Very Good); each of these gives two figures.

- mAP: AP of the clips by score, for each annotator by himself; the mean over annotators and queries. AP is the mean of
  the interpolated precision over the levels of recall that are reached. Clips of equal score are taken together, and so
  count as one level. For an annotator who found no highlight AP is 0.
- HIT@1: the share of queries whose best clip is a highlight for *any* annotator; of clips of equal score the first.

A clip without a score has score 0; scores beyond the video's last whole clip count in neither precision nor recall, but
one of them may be the best clip, which is then a miss. A query without scores is a miss, and a query without ratings
does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mttsg_core.data.clip_ratings import ClipRatings, clips_in
from mttsg_core.errors import DataError
from mttsg_core.moments import FloatArray

RELEVANCE: Mapping[str, int] = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""The lowest rating of a highlight, by the name of the level."""

ClipScores = Sequence[Sequence[float]]
"""For each query a score for each clip of 2 s of its video; none where there is no prediction."""


def highlight_values(
    ratings: Sequence[ClipRatings | None], scores: ClipScores, durations: Sequence[float | None]
) -> dict[str, FloatArray]:
    """Return what each query contributes to each highlight score: columns (queries,) in percent, NaN without ratings.

    The names are "HL-mAP-Fair", "HL-HIT@1-Fair", and the same with Good and VeryGood. There are no columns where no
    query has ratings, or none has scores.

    >>> ratings = ClipRatings((1, 2), ((4, 3, 2), (1, 2, 0)))
    >>> highlight_values([ratings], [[0.1, 0.9, 0.3]], [6.0])["HL-mAP-Good"]
    array([66.66666667])

    Args:
        ratings: of the clips of each query's video; None where they are not known.
        scores: of all clips of each query's video.
        durations: seconds of each query's video; where it is not known, the video has as many clips as scores.

    Raises:
        DataError: if the lengths differ.
    """
    if not len(ratings) == len(scores) == len(durations):
        raise DataError(f"{len(scores)} lists of clip scores and {len(durations)} durations for {len(ratings)} queries")
    rated = [query for query, own in enumerate(ratings) if own is not None]
    if not rated or not any(len(scores[query]) for query in rated):
        return {}
    columns = np.full((len(ratings), 2 * len(RELEVANCE)), np.nan)
    for query in rated:
        own, predicted, duration = ratings[query], np.asarray(scores[query], dtype=np.float64), durations[query]
        columns[query] = 0.0
        if own is not None and len(predicted):
            matrix = own.matrix(len(predicted) if duration is None else clips_in(duration))  # (clips, annotators)
            for level, lowest in enumerate(RELEVANCE.values()):
                highlights = matrix >= lowest
                columns[query, 2 * level] = 100 * clip_precision(highlights, predicted).mean()
                columns[query, 2 * level + 1] = 100 * best_clip_hits(highlights, predicted)
    names = [f"HL-{figure}-{level}" for level in RELEVANCE for figure in ("mAP", "HIT@1")]
    return dict(zip(names, columns.T, strict=True))


def clip_precision(highlights: npt.NDArray[np.bool_], scores: npt.ArrayLike) -> FloatArray:
    """Return the AP of a video's clips by score, for each annotator, (annotators,) in 0..1.

    >>> clip_precision(np.array([[True], [False], [True]]), [0.9, 0.8, 0.7])
    array([0.83333333])

    Args:
        highlights: (clips, annotators), which clips are highlights for whom.
        scores: of the clips from the first on; further ones are left out, and missing ones are 0.
    """
    clips, annotators = highlights.shape
    if not clips:
        return np.zeros(annotators)
    given = np.asarray(scores, dtype=np.float64)[:clips]
    padded = np.zeros(clips)
    padded[: len(given)] = given
    order = np.argsort(-padded, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(padded[order]), 1.0))  # of each run of equal scores, its last rank from 0
    found = np.cumsum(highlights[order], axis=0)[ends]  # (runs, annotators)
    precision = found / (ends + 1)[:, None]
    interpolated = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    levels = np.diff(found, axis=0, prepend=0) > 0  # where a further level of recall is reached
    reached = levels.sum(axis=0)
    total = (interpolated * levels).sum(axis=0)
    return np.divide(total, reached, out=np.zeros(annotators), where=reached > 0)


def best_clip_hits(highlights: npt.NDArray[np.bool_], scores: npt.ArrayLike) -> bool:
    """Return whether the clip with the highest score is a highlight for any annotator.

    Args:
        highlights: (clips, annotators).
        scores: of the clips, at least one.
    """
    best = int(np.argmax(np.asarray(scores, dtype=np.float64)))
    return best < len(highlights) and bool(highlights[best].any())
