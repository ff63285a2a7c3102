"""Highlight annotations: how annotators rated the clips of a video for a sentence, as QVHighlights has them.

A clip is 2 s of the video, counted from its start: clip k is the seconds 2k to 2k + 2. Clips that are not listed have
the rating 0. (Lei et al., "QVHighlights: Detecting Moments and Highlights in Videos via Natural Language Queries",
NeurIPS 2021, section 3.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mttsg_core.moments import FloatArray, Timeline
from mttsg_core.utils.text import shorten

CLIP_SECONDS = 2.0
MAX_RATING = 4  # Very Good; 0 is Very Bad
_MAX_CLIPS = 5_000_000  # of a video: 116 days


@dataclass(frozen=True)
class ClipRatings:
    """Ratings of some clips of a video for a sentence.

    Attributes:
        clips: numbers of the rated clips of 2 s, from 0; at least one, each once.
        ratings: for each of them one rating per annotator, 0..4; as many for each clip.
    """

    clips: tuple[int, ...]
    ratings: tuple[tuple[float, ...], ...]

    def matrix(self, clips: int) -> FloatArray:
        """Return the rating of every clip by each annotator, (clips, annotators), 0 where none is given.

        Args:
            clips: number of clips of the video; ratings of later ones are left out.
        """
        matrix = np.zeros((clips, len(self.ratings[0])))
        numbers = np.array(self.clips)
        inside = numbers < clips
        matrix[numbers[inside]] = np.array(self.ratings)[inside]
        return matrix


def clips_in(duration: float) -> int:
    """Return the number of whole clips of 2 s in a video, as the evaluator of QVHighlights counts them.

    >>> clips_in(150), clips_in(149.9), clips_in(0.5)
    (75, 74, 0)
    """
    return int(duration / CLIP_SECONDS)


def scores_of_clips(curve: npt.ArrayLike, timeline: Timeline, duration: float | None = None) -> list[float]:
    """Return the mean of a curve over each whole clip of 2 s of a video; one clip, if the video is shorter.

    Args:
        curve: a value for each clip of the features, (timeline.clips,).
        timeline: of those.
        duration: seconds of the video as its annotations state them; None for those of the timeline.
    """
    clips = max(1, clips_in(timeline.end if duration is None else duration))
    return timeline.averages(curve, CLIP_SECONDS, clips).tolist()


def parse_ratings(clips: object, ratings: object, duration: float | None = None) -> ClipRatings | str | None:
    """Return the ratings that a row gives, why they cannot be used, or None if it gives none.

    >>> parse_ratings([3, 4], [[4, 2, 3], [0, 1, 1]])
    ClipRatings(clips=(3, 4), ratings=((4, 2, 3), (0, 1, 1)))
    >>> parse_ratings([3, 4], [[4, 2, 3]], 150)
    'saliency_scores has 1 entry for 2 relevant_clip_ids'

    Args:
        clips: the numbers of the rated clips, `relevant_clip_ids` in the published files.
        ratings: a list of ratings for each of them, `saliency_scores` in the published files.
        duration: seconds of the video, if known.
    """
    if clips is None and ratings is None:
        return None
    if not isinstance(clips, list):
        return _no_list("relevant_clip_ids", clips)
    if not isinstance(ratings, list):
        return _no_list("saliency_scores", ratings)
    return _check(clips, ratings, duration)


def _no_list(name: str, value: object) -> str:
    return f"{name} is missing" if value is None else f"{name} is not a list: {shorten(value)}"


def _check(clips: Sequence[object], ratings: Sequence[object], duration: float | None) -> ClipRatings | str | None:
    if len(clips) != len(ratings):
        entries = f"{len(ratings)} {'entry' if len(ratings) == 1 else 'entries'}"
        return f"saliency_scores has {entries} for {len(clips)} relevant_clip_ids"
    numbers = [
        clip for clip in clips if isinstance(clip, int) and not isinstance(clip, bool) and 0 <= clip < _MAX_CLIPS
    ]
    if len(numbers) < len(clips) or len(set(numbers)) < len(numbers):
        return "relevant_clip_ids are not different whole numbers from 0"
    if duration is not None and numbers and max(numbers) >= clips_in(duration):
        return f"clip {max(numbers)} of {CLIP_SECONDS:g} s is past the end of the video at {round(duration, 3)}"
    rows = [tuple(row) for row in ratings if isinstance(row, list) and row and all(map(_is_rating, row))]
    if len(rows) < len(ratings) or len({len(row) for row in rows}) > 1:
        return f"saliency_scores are not lists of as many ratings of 0 to {MAX_RATING}"
    return ClipRatings(tuple(numbers), tuple(rows)) if numbers else None


def _is_rating(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_RATING  # not NaN either
