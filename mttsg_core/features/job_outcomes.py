"""What becomes of jobs without work: features that exist already, and files in folders that are not videos."""

from __future__ import annotations

import logging

from mttsg_core.encoders.base import Settings
from mttsg_core.errors import FeatureError
from mttsg_core.features.jobs import (
    Cause,
    Extracted,
    ExtractionEvent,
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
)
from mttsg_core.features.store import VideoFeatures, describe_fingerprint, read_features
from mttsg_core.utils.files import is_file
from mttsg_core.video.discovery import TOO_SHORT, PassedOver, is_too_short

_log = logging.getLogger("mttsg")


def passed_over(job: ExtractionJob, event: ExtractionEvent) -> ExtractionPassedOver | None:
    """Return the event that replaces another one of a file in a folder that is not a video; None if it is one."""
    if not job.from_folder:
        return None
    reason = None
    if isinstance(event, Extracted):
        reason = TOO_SHORT if is_too_short(event.video_seconds) else None
    elif isinstance(event, ExtractionPassedOver) or (
        isinstance(event, ExtractionFailed) and event.cause is Cause.NO_MOVING_PICTURES
    ):
        reason = event.reason
    if reason is None:
        return None
    _log.info("%s", PassedOver(job.video, reason))
    return ExtractionPassedOver(job, reason)


def check_existing(job: ExtractionJob, fingerprint: Settings) -> ExtractionEvent | None:
    """Return the event of a job whose target exists; None if there is work to do, as for a damaged target."""
    if not is_file(job.target):
        return None
    try:
        features = read_features(job.target)
    except FeatureError as error:
        _log.info("extracting again: %s", error)
        return None
    if dict(features.fingerprint) != dict(fingerprint):
        made_with = describe_fingerprint(features.fingerprint)
        return ExtractionFailed(
            job, f"{job.target} holds features made with {made_with}; overwrite them or choose another folder"
        )
    return extracted(job, features, cached=True)


def extracted(job: ExtractionJob, features: VideoFeatures, *, cached: bool) -> Extracted:
    """Return the event of features that are at their target."""
    return Extracted(job, len(features.clips), features.duration or 0.0, cached, features.lost_clips)
