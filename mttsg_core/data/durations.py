"""Durations of videos whose rows do not give them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair, past_end_reason
from mttsg_core.data.splits import Split
from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features.store import read_features
from mttsg_core.utils.json_lines import Problem
from mttsg_core.video.probe import probe


def find_durations(folder: DataFolder, pairs: Sequence[Pair]) -> list[float | None]:
    """Return the seconds of each pair's video, or None if unknown.

    A duration is taken from the pair, else from another pair of the same video, else from the video's features, else
    from the video. Unreadable features and videos are skipped here; they are reported where they are used.
    """
    durations: dict[str, float | None] = {}
    keys = [folder.video_key(pair.video) for pair in pairs]
    for key, pair in zip(keys, pairs, strict=True):
        if pair.duration is not None:
            durations.setdefault(key, pair.duration)
    for key, pair in zip(keys, pairs, strict=True):
        if key not in durations:
            durations[key] = _read_duration(folder, pair.video)
    return [durations[key] if pair.duration is None else pair.duration for key, pair in zip(keys, pairs, strict=True)]


def with_durations(folder: DataFolder, split: Split) -> Split:
    """Return a split whose pairs have a duration wherever one can be found.

    A pair whose moment turns out to start past the end of its video becomes a problem.
    """
    pairs: list[Pair] = []
    problems = list(split.problems)
    for pair, duration in zip(split.pairs, find_durations(folder, split.pairs), strict=True):
        reason = None if duration is None else past_end_reason(pair.moments, duration)
        if reason is None:
            pairs.append(replace(pair, duration=duration))
        else:
            problems.append(Problem(split.file, pair.line, reason))
    return replace(split, pairs=pairs, problems=sorted(problems, key=lambda problem: problem.line))


def _read_duration(folder: DataFolder, name: str) -> float | None:
    with suppress(FeatureError):
        path = folder.find_features(name)
        if path is not None and path.suffix == ".safetensors":  # the only format that can record a duration
            features = read_features(path, folder.video_key(name))
            if features.duration is not None:
                return features.timeline.end
    with suppress(VideoError):
        video = folder.find_video(name)
        if video is not None:
            return probe(video).duration
    return None
