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
from mttsg_core.video.container import open_video
from mttsg_core.video.probe import probe

_TOLERATED, _TOLERATED_SHARE = (
    1.0,
    0.05,
)  # seconds, or share of it, by which a stated duration may be off without a note
_SHOWN_VIDEOS = 3
_UNITS_PER_SECOND = 1_000_000  # of the duration that FFmpeg reads from a file's header


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
    pairs: list[Pair] = []
    problems = list(split.problems)
    wrong: dict[str, str] = {}
    for pair, duration in zip(split.pairs, _actual_durations(folder, split.pairs), strict=True):
        if duration is None:
            pairs.append(pair)
            continue
        if pair.duration is not None and _differs(pair.duration, duration):
            text = f"{shorten(pair.video)} {pair.duration:g} s, the file lasts {duration:.1f} s"
            wrong.setdefault(folder.video_key(pair.video), text)
        late = [late_reason(moment, duration) for moment in pair.moments]
        moments = tuple(moment for moment, reason in zip(pair.moments, late, strict=True) if reason is None)
        reasons = dict.fromkeys(reason for reason in late if reason is not None)
        problems += [Problem(split.file, pair.line, reason, row_used=bool(moments)) for reason in reasons]
        if moments or not pair.moments:
            pairs.append(replace(pair, moments=moments, duration=duration))
    notes = list(split.notes)
    if wrong:
        shown = "; ".join([*list(wrong.values())[:_SHOWN_VIDEOS], *(["..."] if len(wrong) > _SHOWN_VIDEOS else [])])
        notes.append(f"{split.file}: rows state the wrong duration of {count(len(wrong), 'video')}: {shown}")
    return replace(split, pairs=pairs, problems=sorted(problems, key=lambda problem: problem.line), notes=notes)


def _actual_durations(folder: DataFolder, pairs: Sequence[Pair]) -> list[float | None]:
    """Return the seconds of each pair's file; where there is none, or it agrees, those that a row states."""
    keys = [folder.video_key(pair.video) for pair in pairs]
    stated: dict[str, Pair] = {}  # the first pair of each video that states its duration
    latest: dict[str, float] = {}  # start of the latest moment of each video
    for key, pair in zip(keys, pairs, strict=True):
        if pair.duration is not None:
            stated.setdefault(key, pair)
        latest[key] = max([latest.get(key, 0.0), *(start for start, _ in pair.moments)])
    durations: dict[str, float | None] = {}
    for key, pair in zip(keys, pairs, strict=True):
        if key in durations:
            continue
        known = stated.get(key)
        durations[key] = None if known is None else known.duration
        if known is None or not _is_stated_right(folder, known, latest[key]):
            actual = file_duration(folder, pair.video)
            durations[key] = durations[key] if actual is None else actual
    return [durations[key] for key in keys]


def _is_stated_right(folder: DataFolder, pair: Pair, latest_start: float) -> bool:
    """Tell, without reading a whole file, whether the duration that a row states is that of its video.

    So it is for features that do not record another, and for a video whose header says about the same, as long as no
    moment starts so late that it matters.
    """
    if pair.duration is None:
        return False
    with suppress(FeatureError):
        path = folder.find_features(pair.video)
        if path is not None:
            return path.suffix != ".safetensors" or read_features(path, folder.video_key(pair.video)).duration is None
    video = folder.find_video(pair.video)
    if video is None:
        return False
    try:
        with open_video(video) as (container, _):
            announced = None if container.duration is None else container.duration / _UNITS_PER_SECOND
    except VideoError:
        return False
    return announced is not None and not _differs(pair.duration, announced) and latest_start < announced - _TOLERATED


def _differs(stated: float, actual: float) -> bool:
    return abs(stated - actual) > max(_TOLERATED, _TOLERATED_SHARE * actual)
