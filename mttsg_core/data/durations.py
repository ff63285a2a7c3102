"""How long videos are, where their rows do not say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from mttsg_core.data.folder import DataFolder, Pair, Split
from mttsg_core.data.records import past_end
from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features.store import read_features
from mttsg_core.utils.json_lines import Problem
from mttsg_core.video import probe


def known_durations(folder: DataFolder, pairs: Sequence[Pair]) -> list[float | None]:
    """Seconds of each pair's video: from a row about it, else from its features, else from the video; None if unknown.

    What cannot be read tells nothing; it is reported by whoever needs it.
    """
    known: dict[str, float | None] = {}
    keys = [folder.video_key(pair.video) for pair in pairs]
    for key, pair in zip(keys, pairs, strict=True):
        if pair.duration is not None:
            known.setdefault(key, pair.duration)
    for key, pair in zip(keys, pairs, strict=True):
        if key not in known:
            known[key] = _look(folder, pair.video)
    return [known[key] if pair.duration is None else pair.duration for key, pair in zip(keys, pairs, strict=True)]


def with_durations(folder: DataFolder, split: Split) -> Split:
    """The split with the duration of every pair whose video tells it; a row past the end of its video is a bad one."""
    pairs: list[Pair] = []
    problems = list(split.problems)
    for pair, duration in zip(split.pairs, known_durations(folder, split.pairs), strict=True):
        reason = None if duration is None else past_end(pair.moments, duration)
        if reason is None:
            pairs.append(replace(pair, duration=duration))
        else:
            problems.append(Problem(split.file, pair.line, reason))
    return replace(split, pairs=pairs, problems=sorted(problems, key=lambda problem: problem.line))


def _look(folder: DataFolder, name: str) -> float | None:
    with suppress(FeatureError):
        path = folder.find_features(name)
        if path is not None and path.suffix == ".safetensors":  # the only format that may say it
            features = read_features(path, folder.video_key(name))
            if features.duration is not None:
                return features.timeline.end
    with suppress(VideoError):
        video = folder.find_video(name)
        if video is not None:
            return probe(video).duration
    return None
