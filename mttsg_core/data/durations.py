"""Durations of videos: those that rows give, and those of the files at hand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair, late_reason
from mttsg_core.data.splits import Split
from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features.store import read_features
from mttsg_core.utils.json_lines import Problem
from mttsg_core.utils.text import count, shorten
from mttsg_core.video.probe import probe

_TOLERATED, _TOLERATED_SHARE = (
    1.0,
    0.05,
)  # seconds, or share of it, by which a stated duration may be off without a note
_SHOWN_VIDEOS = 3


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
            durations[key] = file_duration(folder, pair.video)
    return [durations[key] if pair.duration is None else pair.duration for key, pair in zip(keys, pairs, strict=True)]


def file_duration(folder: DataFolder, name: str) -> float | None:
    """Return the seconds at which a video ends according to its features or its file, or None if neither tells.

    It is the end that training clips moments to. Features of other programs do not tell it: their clips cover the
    duration that rows state, and only without one that of the video.
    """
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


def with_file_durations(folder: DataFolder, split: Split) -> Split:
    """Return a split as training sees it: its pairs have the durations of their files, wherever there are any.

    A moment that starts past the end of its video becomes a problem, and so does a pair without any other. Rows that
    state another duration than the file has are counted in a note.
    """
    stated = find_durations(folder, split.pairs)
    files: dict[str, float | None] = {}
    pairs: list[Pair] = []
    problems = list(split.problems)
    wrong: dict[str, str] = {}
    for pair, duration in zip(split.pairs, stated, strict=True):
        key = folder.video_key(pair.video)
        if key not in files:
            files[key] = None if _clips_cover_stated(folder, pair) else file_duration(folder, pair.video)
        actual = files[key] if files[key] is not None else duration
        if actual is None:
            pairs.append(pair)
            continue
        if pair.duration is not None and _differs(pair.duration, actual):
            wrong.setdefault(key, f"{shorten(pair.video)} {pair.duration:g} s, the file lasts {actual:.1f} s")
        late = [late_reason(moment, actual) for moment in pair.moments]
        moments = tuple(moment for moment, reason in zip(pair.moments, late, strict=True) if reason is None)
        reasons = dict.fromkeys(reason for reason in late if reason is not None)
        problems += [Problem(split.file, pair.line, reason, row_used=bool(moments)) for reason in reasons]
        if moments or not pair.moments:
            pairs.append(replace(pair, moments=moments, duration=actual))
    notes = list(split.notes)
    if wrong:
        shown = "; ".join([*list(wrong.values())[:_SHOWN_VIDEOS], *(["..."] if len(wrong) > _SHOWN_VIDEOS else [])])
        notes.append(f"{split.file}: rows state the wrong duration of {count(len(wrong), 'video')}: {shown}")
    return replace(split, pairs=pairs, problems=sorted(problems, key=lambda problem: problem.line), notes=notes)


def _clips_cover_stated(folder: DataFolder, pair: Pair) -> bool:
    """Tell whether the duration that rows state is that of the video's features, which do not record another."""
    with suppress(FeatureError):
        path = folder.find_features(pair.video)
        if path is not None and pair.duration is not None:
            return path.suffix != ".safetensors" or read_features(path, folder.video_key(pair.video)).duration is None
    return False


def _differs(stated: float, actual: float) -> bool:
    return abs(stated - actual) > max(_TOLERATED, _TOLERATED_SHARE * actual)
