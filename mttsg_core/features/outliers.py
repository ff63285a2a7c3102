"""Features whose values are far outside those of the other videos."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import numpy as np

from mttsg_core.utils.text import shorten

_FAR_OUTSIDE = 1000  # times the values of the other videos: such values are not features of the same kind


def outliers(largest: Mapping[str, tuple[float, ...]]) -> dict[str, str]:
    """Return for each video whose values are far outside those of the others why it cannot be used with them.

    Args:
        largest: `VideoFeatures.largest_values` of each video.

    >>> outliers({"a": (2.0,), "b": (3.0,), "c": (5000.0,)})
    {'c': "'c' has a value of 5e+03, where those of other videos are about 3: not the same kind of features"}
    """
    reasons: dict[str, str] = {}
    for values in zip_longest(*largest.values()):
        typical = float(np.median([value for value in values if value is not None]))
        for video, value in zip(largest, values, strict=True):
            if value is not None and value > _FAR_OUTSIDE * typical > 0:
                others = f"where those of other videos are about {typical:.3g}: not the same kind of features"
                reasons.setdefault(video, f"{shorten(video)} has a value of {value:.3g}, {others}")
    return reasons
