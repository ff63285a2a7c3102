"""Sliding windows over long videos: how they are cut, and how the moments found in them are merged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.features.store import VideoFeatures
from mttsg_core.moments import Moment, Timeline, non_maximum_suppression

_TOLERANCE = 1.05  # a video longer than a window by no more than this factor is grounded as a whole
_MIN_PER_WINDOW = 10  # moments per window: the best moment of a video need not be the best one of any window
_EDGE = 0.02  # of a window: a moment that ends this near to a cut may continue beyond it


def window_slices(timeline: Timeline, max_window_seconds: float | None) -> list[slice]:
    """Return the clips of each window, in order; neighbours overlap by half, and the last ends with the video.

    Args:
        timeline: of the video.
        max_window_seconds: length of a window, rounded down to whole clips, at least one; None makes one window of the
            whole video.
    """
    if max_window_seconds is None or timeline.duration <= max_window_seconds * _TOLERANCE:
        return [slice(0, timeline.clips)]
    length = max(1, math.floor(max_window_seconds / timeline.seconds_per_clip + 1e-6))
    last = timeline.clips - length
    return [slice(first, first + length) for first in (*range(0, last, max(1, length // 2)), last)]


def cut_windows(features: VideoFeatures, max_window_seconds: float | None) -> list[VideoFeatures]:
    """Return the windows of a video, each with its own position in the video's seconds; see `window_slices`.

    Raises:
        FeatureError: if the video's duration is not known.
    """
    return [features.slice_clips(window) for window in window_slices(features.timeline, max_window_seconds)]


def moments_per_window(top: int, windows: int) -> int:
    """Return how many moments of each of a video's windows to merge into its best `top`."""
    return top if windows <= 1 else max(top, _MIN_PER_WINDOW)


def scaled(moments: list[Moment], factor: float) -> list[Moment]:
    """Return moments with their scores multiplied by a factor, 0..1."""
    return moments if factor == 1 else [moment._replace(score=moment.score * factor) for moment in moments]


def merge_moments(
    windows: Sequence[Timeline], predictions: Sequence[Sequence[Moment]], top: int, nms_iou: float
) -> list[Moment]:
    """Return the best moments of a video, from those that each window gave for one query.

    A moment that touches an edge at which its window was cut may be part of a longer moment. Its score is reduced to
    the fraction of the window that it fills: the neighbouring window shows more of the longer moment.

    Args:
        windows: in order of time.
        predictions: the moments of each window, in seconds of the video.
        top: maximum number of moments to return.
        nms_iou: the largest overlap of two returned moments.
    """
    if len(windows) == 1:
        return list(predictions[0][:top])
    start, end = windows[0].start, windows[-1].end
    candidates: list[Moment] = []
    truncated: list[bool] = []
    for window, moments in zip(windows, predictions, strict=True):
        margin = max(_EDGE * window.duration, window.seconds_per_clip)
        earliest = window.start + margin if window.start > start else start
        latest = window.end - margin if window.end < end else end
        for moment in moments:
            truncated.append(moment.start < earliest or moment.end > latest)
            filled = moment.duration / window.duration if truncated[-1] else 1.0
            candidates.append(moment._replace(score=moment.score * filled))
    return non_maximum_suppression(candidates, nms_iou, top, truncated=truncated)


def merge_saliency(windows: Sequence[slice], saliency: Sequence[Array]) -> Array:
    """Return the saliency of every clip, (T,), averaged over the windows that contain it, from (T_w,) per window."""
    total = np.zeros((2, windows[-1].stop), dtype=np.float32)  # sums and counts
    for window, curve in zip(windows, saliency, strict=True):
        total[:, window] += np.stack([curve, np.ones_like(curve)])
    merged: Array = total[0] / total[1]
    return merged
