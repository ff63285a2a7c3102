"""Statistics of a data set, as `mttsg check` shows them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from mttsg_core.data.splits import Split
from mttsg_core.utils.json_lines import Problem

_QUANTILES = {"min": 0.0, "10%": 0.1, "median": 0.5, "90%": 0.9, "max": 1.0}


@dataclass(frozen=True)
class SplitStatistics:
    """Statistics of one split. None stands for a mean or quantiles of no values.

    Attributes:
        file: the annotation file.
        rows: number of its rows, good and bad.
        pairs: number of good rows.
        bad_rows: number of bad rows.
        bad_moments: number of moments that good rows lost.
        videos: number of different videos.
        timed_videos: number of videos whose duration is known.
        hours: total duration of these.
        queries_per_video: mean.
        max_queries_per_video: maximum.
        moments: number of true moments of all pairs.
        pairs_without_moment: number of pairs without a moment.
        pairs_with_several: number of pairs with more than one moment.
        moment_seconds: quantiles of the moments' lengths in seconds.
        moment_share: quantiles of the moments' lengths relative to their video, 0..1.
        words: mean number of words in a sentence.
        max_words: maximum number of words in a sentence.
        shared_sentences: fraction of the pairs whose sentence occurs with several videos of the split, ignoring case.
        ends_past_video: number of moments that end after their video.
    """

    file: str
    rows: int
    pairs: int
    bad_rows: int
    bad_moments: int
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
    """Statistics of all splits of a data folder.

    Attributes:
        folder: the data folder, or a single annotation file.
        splits: statistics by name of the split.
        problems: bad rows, and bad moments of good rows, ordered by split and line.
        seen_in_training: videos that are in the training split too, for each other split that has some.
        notes: what else to know about the data set; a line each.
        unusable_features: why features cannot be used, a line for each file.
    """

    folder: Path
    splits: dict[str, SplitStatistics]
    problems: list[Problem]
    seen_in_training: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)
    unusable_features: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Return plain values only, ready for JSON."""
        return {
            "folder": str(self.folder),
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "seen_in_training": self.seen_in_training,
            "notes": self.notes,
            "unusable_features": self.unusable_features,
            "problems": [
                {"file": str(problem.file), "line": problem.line, "reason": problem.reason} for problem in self.problems
            ],
        }


def compute_statistics(
    path: Path,
    splits: Sequence[Split],
    video_key: Callable[[str], str] = str,
    *,
    notes: Sequence[str] = (),
    unusable_features: Sequence[str] = (),
) -> FolderStatistics:
    """Compute the statistics of a data set.

    Args:
        path: the data folder, or a single annotation file.
        splits: as read from it.
        video_key: maps the names of a video to its canonical name, such as `DataFolder.video_key`.
        notes: about the data set, beside those of the splits.
        unusable_features: why features cannot be used.
    """
    videos = {split.name: {video_key(pair.video) for pair in split.pairs} for split in splits}
    return FolderStatistics(
        path,
        {split.name: _split_statistics(split, video_key) for split in splits},
        [problem for split in splits for problem in split.problems],
        _seen_in_training(videos),
        [*(note for split in splits for note in split.notes), *notes],
        list(unusable_features),
    )


def _split_statistics(split: Split, video_key: Callable[[str], str]) -> SplitStatistics:
    videos = [video_key(pair.video) for pair in split.pairs]
    query_counts = Counter(videos)
    durations: dict[str, float] = {}  # by video
    videos_of: defaultdict[str, set[str]] = defaultdict(set)  # by sentence
    sentences = [" ".join(pair.query.casefold().split()) for pair in split.pairs]
    for video, pair, sentence in zip(videos, split.pairs, sentences, strict=True):
        videos_of[sentence].add(video)
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
        bad_rows=split.bad_rows,
        bad_moments=len(split.problems) - split.bad_rows,
        videos=len(query_counts),
        timed_videos=len(durations),
        hours=sum(durations.values()) / 3600,
        queries_per_video=_mean(list(query_counts.values())),
        max_queries_per_video=max(query_counts.values(), default=0),
        moments=len(spans),
        pairs_without_moment=sum(not pair.moments for pair in split.pairs),
        pairs_with_several=sum(len(pair.moments) > 1 for pair in split.pairs),
        moment_seconds=_quantiles([end - start for start, end, _ in spans]),
        moment_share=_quantiles(
            [max(min(end, length) - start, 0.0) / length for start, end, length in spans if length]
        ),
        words=_mean(words),
        max_words=max(words, default=0),
        shared_sentences=_mean(shared),
        ends_past_video=sum(length is not None and end > length for _, end, length in spans),
    )


def _seen_in_training(videos: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Return the videos that each split shares with the training split; splits that share none are left out."""
    training = videos.get("train", set())
    shared = {name: sorted(own & training) for name, own in videos.items() if name != "train"}
    return {name: names for name, names in shared.items() if names}


def _mean(values: list[int] | list[bool]) -> float | None:
    return float(np.mean(values)) if values else None


def _quantiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return dict(zip(_QUANTILES, np.quantile(values, list(_QUANTILES.values())).tolist(), strict=True))
