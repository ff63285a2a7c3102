"""Answers in several videos at once, of which one that cannot be used costs no other."""

from __future__ import annotations

from collections.abc import Sequence

from mttsg_core.errors import FeatureError
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Moment


def ground_batch(
    grounder: Grounder, batch: Sequence[tuple[VideoFeatures, Sequence[str]]], top: int
) -> list[list[list[Moment]] | FeatureError]:
    """Return the moments of each sentence of each video, or why a video failed: then all are tried one by one."""
    try:
        return [*grounder.ground_many(batch, top)]
    except FeatureError as error:
        if len(batch) > 1:
            return [answer for item in batch for answer in ground_batch(grounder, [item], top)]
        return [error]
