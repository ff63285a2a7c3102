"""A data set at a glance: what `mttsg check` prints of every split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mttsg_core.data.folder import DataFolder, Problem, Split

_QUANTILES = {"min": 0.0, "10%": 0.1, "median": 0.5, "90%": 0.9, "max": 1.0}


@dataclass(frozen=True)
class SplitStatistics:
    """One split. Lengths are in seconds, shares in 0..1; None where nothing is known.

    Args:
        file: the annotation file.
        rows: its rows; pairs are the good ones, bad_rows the others.
        videos: different videos.
        hours: of the videos whose duration is known, of which there are timed_videos.
        queries_per_video: mean, and max_queries_per_video.
        moments: true moments of all pairs; pairs_without_moment have none, pairs_with_several more than one.
        moment_seconds: quantiles of their lengths, and moment_share of their lengths relative to the video.
        words: mean words a sentence, and max_words.
        shared_sentences: share of the pairs whose sentence, word for word but for letter case, occurs with several
            videos of the split.
        ends_past_video: moments that end after their video.
    """

    file: str
    rows: int
    pairs: int
    bad_rows: int
    videos: int
    timed_videos: int
    hours: float
    queries_per_video: float | None
    max_queries_per_video: int
    moments: int
    pairs_without_moment: int
    pairs_with_several: int
    moment_seconds: dict[str, float] | None
    moment_share: dict[str, float] | None
    words: float | None
    max_words: int
    shared_sentences: float | None
    ends_past_video: int


@dataclass(frozen=True)
class FolderStatistics:
    """All splits of a data folder by name, and their bad rows in the order of files and lines.

    `seen_in_training` names, for each other split, its videos that are in the training split too.
    """

    folder: Path
    splits: dict[str, SplitStatistics]
    problems: list[Problem]
    seen_in_training: dict[str, list[str]]

    def as_dict(self) -> dict[str, object]:
        """Plain values only, ready for JSON."""
        return {
            "folder": str(self.folder),
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "seen_in_training": self.seen_in_training,
            "problems": [
                {"file": str(problem.file), "line": problem.line, "reason": problem.reason} for problem in self.problems
            ],
        }


def overview(folder: DataFolder) -> FolderStatistics:
    """Read every split of a data folder and describe it.

    Raises:
        DataError: if an annotation file as a whole cannot be read.
    """
    return describe(folder.path, [folder.split(name) for name in folder.splits], folder.video_key)


def describe(path: Path, splits: Sequence[Split], video_key: Callable[[str], str] = str) -> FolderStatistics:
    """Describe the splits of a data set; `video_key` says which names are the same video."""
    return FolderStatistics(
        path,
        {split.name: split_statistics(split, video_key) for split in splits},
        [problem for split in splits for problem in split.problems],
        _seen_in_training({split.name: {video_key(pair.video) for pair in split.pairs} for split in splits}),
    )


def split_statistics(split: Split, video_key: Callable[[str], str] = str) -> SplitStatistics:
    """Describe the pairs of one split; `video_key` says which names are the same video."""
    videos = [video_key(pair.video) for pair in split.pairs]
    queries: dict[str, int] = {}
    durations: dict[str, float] = {}
    videos_of: dict[str, set[str]] = {}
    sentences = [" ".join(pair.query.casefold().split()) for pair in split.pairs]
    for video, pair, sentence in zip(videos, split.pairs, sentences, strict=True):
        queries[video] = queries.get(video, 0) + 1
        videos_of.setdefault(sentence, set()).add(video)
        if pair.duration is not None:
            durations.setdefault(video, pair.duration)
    spans = [
        (*span, durations.get(video)) for video, pair in zip(videos, split.pairs, strict=True) for span in pair.moments
    ]
    words = [len(sentence.split()) for sentence in sentences]
    shared = [len(videos_of[sentence]) > 1 for sentence in sentences]
    return SplitStatistics(
        file=str(split.file),
        rows=split.rows,
        pairs=len(split.pairs),
        bad_rows=len(split.problems),
        videos=len(queries),
        timed_videos=len(durations),
        hours=sum(durations.values()) / 3600,
        queries_per_video=_mean(list(queries.values())),
        max_queries_per_video=max(queries.values(), default=0),
        moments=len(spans),
        pairs_without_moment=sum(not pair.moments for pair in split.pairs),
        pairs_with_several=sum(len(pair.moments) > 1 for pair in split.pairs),
        moment_seconds=_quantiles([end - start for start, end, _ in spans]),
        moment_share=_quantiles([(min(end, length) - start) / length for start, end, length in spans if length]),
        words=_mean(words),
        max_words=max(words, default=0),
        shared_sentences=_mean(shared),
        ends_past_video=sum(length is not None and end > length for _, end, length in spans),
    )


def _seen_in_training(videos: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Of each split, from its videos, those of the training split; splits without any are left out."""
    trained = videos.get("train", set())
    seen = {name: sorted(found & trained) for name, found in videos.items() if name != "train"}
    return {name: found for name, found in seen.items() if found}


def _mean(values: list[int] | list[bool]) -> float | None:
    return float(np.mean(values)) if values else None


def _quantiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return dict(zip(_QUANTILES, np.quantile(values, list(_QUANTILES.values())).tolist(), strict=True))
