"""Long videos: cut into overlapping windows of a length that a scorer knows, and their answers merged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.features.store import VideoFeatures
from mttsg_core.modeling.proposals import NMS_IOU
from mttsg_core.moments import Moment, Timeline, non_maximum_suppression

_TOLERANCE = 1.05  # a video longer than the longest by no more than this is asked whole
_AT_EDGE = 0.02  # of a window: an answer this near to where it was cut may go on beyond


def window_slices(timeline: Timeline, max_window_seconds: float | None) -> list[slice]:
    """The clips of each window, in order; neighbours share half of theirs, and the last ends with the video.

    Args:
        timeline: of the video.
        max_window_seconds: seconds of a window, rounded down to whole clips, at least one; None asks every video whole.
    """
    if max_window_seconds is None or timeline.duration <= max_window_seconds * _TOLERANCE:
        return [slice(0, timeline.clips)]
    length = max(1, math.floor(max_window_seconds / timeline.seconds_per_clip + 1e-6))
    last = timeline.clips - length
    return [slice(first, first + length) for first in (*range(0, last, max(1, length // 2)), last)]


def cut_windows(features: VideoFeatures, max_window_seconds: float | None) -> list[VideoFeatures]:
    """The windows of a video, each with its own place in the video's seconds; see `window_slices`.

    Raises:
        FeatureError: if the video's duration is not known.
    """
    return [features.part(window) for window in window_slices(features.timeline, max_window_seconds)]


def merge_moments(
    windows: Sequence[Timeline], answers: Sequence[Sequence[Moment]], top: int, nms_iou: float = NMS_IOU
) -> list[Moment]:
    """The best moments of a video, from the answers to one query in each of its windows.

    An answer that reaches an edge at which its window was cut out of the video may be part of a longer moment. The
    smaller a part of the window it fills, the less is left of its score: a neighbour then shows more of that moment.

    Args:
        windows: in the order of time.
        answers: of each window, in seconds of the video.
        top: at most so many are returned.
        nms_iou: two of them overlap at most so much.
    """
    if len(windows) == 1:
        return list(answers[0][:top])
    start, end = windows[0].start, windows[-1].end
    found: list[Moment] = []
    cut: list[bool] = []
    for window, moments in zip(windows, answers, strict=True):
        near = max(_AT_EDGE * window.duration, window.seconds_per_clip)
        earliest = window.start + near if window.start > start else start
        latest = window.end - near if window.end < end else end
        for moment in moments:
            cut.append(moment.start < earliest or moment.end > latest)
            filled = moment.duration / window.duration if cut[-1] else 1.0
            found.append(moment._replace(score=moment.score * filled))
    return non_maximum_suppression(found, nms_iou, top, parts=cut)


def merge_saliency(windows: Sequence[slice], saliency: Sequence[Array]) -> Array:
    """The mean of what the windows say of each clip: (T,) from their (T_w,) each."""
    total = np.zeros((2, windows[-1].stop), dtype=np.float32)
    for window, curve in zip(windows, saliency, strict=True):
        total[:, window] += np.stack([curve, np.ones_like(curve)])
    merged: Array = total[0] / total[1]
    return merged
