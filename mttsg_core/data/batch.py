"""Multi-pair batches: each video once, its queries in a flat list, and `video_index` between them.

`Batch` holds what a network reads, `Targets` what its outputs are compared with. In training a batch also names the
training videos behind each query and video, so that no query retrieves entries of its own video, and mismatched
queries, because both pass through the network's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mttsg_core.data.share import WHOLE, Share
from mttsg_core.encoders.base import Array
from mttsg_core.features.store import VideoFeatures

_Tensors = TypeVar("_Tensors", bound=Any)


@dataclass(frozen=True)
class Sources:
    """The training videos and pairs that a batch comes from.

    Attributes:
        queries: (N,) number of the training video that each query was written for.
        videos: (V, S) numbers of the training videos that each video is made of, the last one repeated.
        pairs: (N,) number of the training pair of each query.
    """

    queries: Tensor
    videos: Tensor
    pairs: Tensor

    def excluded(self, queries: Tensor, video_index: Tensor) -> Tensor:
        """Return the training videos whose memory entries each query must not retrieve.

        Those are the one it was written for, and those that the video it is asked of is made of.

        Args:
            queries: (A,) source of each query.
            video_index: (A,) video of the batch that each query is asked of.

        Returns:
            (A, 1 + S), the source of the query first.
        """
        return torch.cat([queries[:, None], self.videos[video_index]], dim=1)

    def to(self, device: torch.device) -> Sources:
        """Return the sources on another device."""
        return _to(self, device)


@dataclass(frozen=True)
class NegativeQueries:
    """A mismatched queries, each asked of a video of the batch that does not show it.

    Attributes:
        words: (A, L', D_w) word vectors, zero-padded.
        mask: (A, L') True at words.
        video_index: (A,) video of each query.
    """

    words: Tensor
    mask: Tensor
    video_index: Tensor

    def to(self, device: torch.device) -> NegativeQueries:
        """Return the queries on another device."""
        return _to(self, device)


@dataclass(frozen=True)
class Batch:
    """V videos and N queries.

    Attributes:
        clips: (V, T, D_c) clip vectors, zero-padded.
        clip_mask: (V, T) True at clips.
        durations: (V,) seconds.
        words: (N, L, D_w) word vectors, zero-padded.
        word_mask: (N, L) True at words.
        video_index: (N,) video of each query.
        regions: (V, T, R, D_r) region vectors, or None.
        sources: training videos of the queries and videos, or None outside training.
        negatives: mismatched queries, or None.
        share: where several ranks share a batch, what this is of it.
    """

    clips: Tensor
    clip_mask: Tensor
    durations: Tensor
    words: Tensor
    word_mask: Tensor
    video_index: Tensor
    regions: Tensor | None = None
    sources: Sources | None = None
    negatives: NegativeQueries | None = None
    share: Share = WHOLE

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return _to(self, device)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, from which it is uploaded without waiting."""
        return _map(self, Tensor.pin_memory)


@dataclass(frozen=True)
class Targets:
    """What the outputs for N queries are compared with.

    Attributes:
        spans: (N, 2) start and end of the true moment, in clip units.
        sentence_ids: (N,) equal for queries of one video with the same sentence, which then has several true moments.
    """

    spans: Tensor
    sentence_ids: Tensor

    def to(self, device: torch.device) -> Targets:
        """Return the targets on another device."""
        return _to(self, device)

    def pin_memory(self) -> Targets:
        """Return the targets in page-locked memory, from which they are uploaded without waiting."""
        return _map(self, Tensor.pin_memory)


@dataclass(frozen=True)
class VideoItem:
    """One video with some of its queries, from which batches are collated.

    Attributes:
        features: of the video.
        words: one array (L, D_w) a query.
        spans: (Q, 2) true moments in clip units; None outside training.
        sources: one number a query, of the training video that it was written for; empty outside training.
        pairs: one number a query, of its training pair; empty outside training.
        video_sources: numbers of the training videos that this one is made of; empty outside training.
        negatives: one array (L, D_w) for each sentence that the video is known not to show.
    """

    features: VideoFeatures
    words: Sequence[Array]
    spans: Array | None = None
    sources: Sequence[int] = ()
    pairs: Sequence[int] = ()
    video_sources: Sequence[int] = ()
    negatives: Sequence[Array] = ()


def collate(items: Sequence[VideoItem], *, clips_at_least: int = 0, words_at_least: int = 0) -> Batch:
    """Make a batch of videos with at least one query in all, padded to a number of clips and words, or to more."""
    clips, clip_mask = pad_arrays([item.features.clips for item in items], clips_at_least)
    regions = None
    if items[0].features.regions is not None:
        of_videos = [item.features.regions for item in items if item.features.regions is not None]
        regions, _ = pad_arrays(of_videos, clips_at_least)
    words, word_mask = pad_arrays([query for item in items for query in item.words], words_at_least)
    return Batch(
        clips=clips,
        clip_mask=clip_mask,
        durations=torch.tensor([item.features.timeline.duration for item in items]),
        words=words,
        word_mask=word_mask,
        video_index=collate_index([len(item.words) for item in items]),
        regions=regions,
        sources=collate_sources(items),
        negatives=_negatives(items),
    )


def collate_targets(items: Sequence[VideoItem]) -> Targets:
    """Make the targets of the batch that `collate` makes of the same items.

    Raises:
        ValueError: if an item has no true moments.
    """
    spans = [item.spans for item in items if item.spans is not None]
    if len(spans) < len(items):
        raise ValueError("training needs the true moments of every query")
    ids: dict[tuple[int, bytes], int] = {}
    sentence_ids = [
        ids.setdefault((index, query.tobytes()), len(ids)) for index, item in enumerate(items) for query in item.words
    ]
    return Targets(torch.from_numpy(np.concatenate(spans)).float(), torch.tensor(sentence_ids))


def draw_batches(queries_per_video: Sequence[int], videos: int, generator: np.random.Generator) -> Iterator[list[int]]:
    """Yield the indices of the videos that have queries, each once, in random order, `videos` at a time."""
    order = generator.permutation(np.flatnonzero(np.asarray(queries_per_video) > 0))
    for first in range(0, len(order), videos):
        yield order[first : first + videos].tolist()


def collate_sources(items: Sequence[VideoItem]) -> Sources | None:
    """Make the sources of the batch that `collate` makes of the same items; None outside training."""
    queries = [source for item in items for source in item.sources]
    pairs = [pair for item in items for pair in item.pairs]
    longest = max(len(item.video_sources) for item in items)
    if not (queries and longest):
        return None
    rows = [[*item.video_sources, *[item.video_sources[-1]] * (longest - len(item.video_sources))] for item in items]
    return Sources(torch.tensor(queries), torch.tensor(rows), torch.tensor(pairs))


def _negatives(items: Sequence[VideoItem]) -> NegativeQueries | None:
    queries = [query for item in items for query in item.negatives]
    if not queries:
        return None
    return NegativeQueries(*pad_arrays(queries), collate_index([len(item.negatives) for item in items]))


def collate_index(counts: Sequence[int]) -> Tensor:
    """Return the index of its video for each query, from the number of queries of each video."""
    return torch.repeat_interleave(torch.tensor(counts))


def pad_arrays(arrays: Sequence[np.ndarray], at_least: int = 0) -> tuple[Tensor, Tensor]:
    """Stack at least one array (T_i, ...) into (B, T, ...) in single precision, with their mask (B, T)."""
    longest = max(at_least, *(len(array) for array in arrays))
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=np.float32)
    mask = np.zeros((len(arrays), longest), dtype=bool)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
        mask[row, : len(array)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)


def _to(record: _Tensors, device: torch.device) -> _Tensors:
    """Return a record on another device."""
    return _map(record, lambda tensor: tensor.to(device, non_blocking=True))


def _map(record: _Tensors, function: Callable[[Tensor], Tensor]) -> _Tensors:
    """Return a record with a function applied to every tensor in it, at any depth."""
    mapped: dict[str, Any] = {}
    for declared in fields(record):
        value = getattr(record, declared.name)
        if isinstance(value, Tensor):
            mapped[declared.name] = function(value)
        elif is_dataclass(value) and not isinstance(value, type):
            mapped[declared.name] = _map(value, function)
    return replace(record, **mapped)
