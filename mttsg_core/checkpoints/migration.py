"""Model folders of format 5, converted when they are loaded: the old names of settings and weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mttsg_core.config import upgrade_settings
from mttsg_core.features.store import EXTERNAL

OLD_FORMAT, FORMAT = 5, 6

# Pattern of a weight's old name -> its present name. The adaptive threshold is part of a training state now.
_WEIGHTS: tuple[tuple[str, str], ...] = (
    (r"video_encoder\.regions\.looks\.", "video_encoder.regions.appearance."),
    (r"video_encoder\.regions\.deviates\.", "video_encoder.regions.deviation."),
    (r"video_encoder\.regions\.place$", "video_encoder.regions.position"),
    (r"video_encoder\.regions\.rest\.", "video_encoder.regions.output."),
    (r"look\.seen\.", "region_attention.value."),
    (r"look\.strength\.", "region_attention.logsumexp."),
    (r"look\.", "region_attention."),
    (r"head\.span_parts\.", "head.proposal_parts."),
    (r"head\.span_score\.", "head.proposal_score."),
    (r"contrast\.seen_side\.", "contrast.region_side."),
    (r"mining\.look\.", "memory.clip_query."),
    (r"mining\.origins$", "memory.sources"),
    (r"mining\.place$", "memory.position"),
    (r"mining\.", "memory."),
    (r"objects\.", "object_phrase."),
    (r"activities\.", "activity_sentence."),
)
_DROPPED = "negatives."


def present_weight_names(names: Iterable[str]) -> dict[str, str]:
    """Return names of weights of format 5 by their present names, without those that are not weights any more."""
    return {upgrade_name(name): name for name in names if not name.startswith(_DROPPED)}


def upgrade_name(name: str) -> str:
    """Return the present name of a weight of format 5.

    >>> upgrade_name("look.seen.weight")
    'region_attention.value.weight'
    """
    for old, new in _WEIGHTS:
        renamed, count = re.subn(f"^{old}", new, name)
        if count:
            return renamed
    return name


def upgrade_description(described: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the settings in a `config.json` of format 5."""
    upgraded = {**described, "format": FORMAT}
    if "longest" in upgraded:
        upgraded["max_window_seconds"] = upgraded.pop("longest")
    features = upgraded.get("features")
    if isinstance(features, dict) and features.get("encoder") == "elsewhere":
        upgraded["features"] = {**features, "encoder": EXTERNAL}
    for table in ("network", "training"):
        if isinstance(upgraded.get(table), dict):
            upgraded[table], _ = upgrade_settings(table, upgraded[table])
    training = upgraded.get("training")
    if isinstance(training, dict) and isinstance(training.get("loss"), dict):
        training["loss"], _ = upgrade_settings("loss", training["loss"])
    return upgraded
