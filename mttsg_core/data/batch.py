"""Multi-pair batches: videos once, their queries in a flat list, `video_index` in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from mttsg_core.encoders.base import Array
from mttsg_core.features.store import VideoFeatures


@dataclass(frozen=True)
class Batch:
    """V videos and N queries.

    Attributes:
        clips: (V, T, D_c) clip vectors, zero where there are none.
        clip_mask: (V, T) True where a clip is.
        durations: (V,) seconds.
        words: (N, L, D_w) word vectors, zero where there are none.
        word_mask: (N, L) True where a word is.
        video_index: (N,) the video of each query.
        regions: (V, T, R, D_r) region vectors, or None.
        bounds: (N, 2) start and end of the true moment in clip units, or None when grounding.
        sentences: (N,) a number for each sentence: equal where one sentence has several true moments in its video.
        origins: (N,) the number of the training video that each query was made for, or None when grounding.
        shown: (V, S) the numbers of the training videos that each video is made of, the last repeated; or None.
        absent_words: (A, L', D_w) sentences that a video of the batch does not show, or None; with absent_mask (A, L').
        absent_index: (A,) the video of each of them.
    """

    clips: Tensor
    clip_mask: Tensor
    durations: Tensor
    words: Tensor
    word_mask: Tensor
    video_index: Tensor
    sentences: Tensor
    regions: Tensor | None = None
    bounds: Tensor | None = None
    origins: Tensor | None = None
    shown: Tensor | None = None
    absent_words: Tensor | None = None
    absent_mask: Tensor | None = None
    absent_index: Tensor | None = None

    def origins_asked(self, origins: Tensor | None, video_index: Tensor) -> Tensor | None:
        """Origins (A,) of queries, each with those of the video (A,) that it is asked of: (A, 1 + S), or None."""
        if origins is None or self.shown is None:
            return None
        return torch.cat([origins[:, None], self.shown[video_index]], dim=1)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class VideoItem:
    """One video with some of its queries: what a batch is put together from.

    Attributes:
        features: of the video.
        words: one array (L, D_w) a query.
        bounds: (Q, 2) in clip units, or None.
        origins: one number a query, of the training video that it was made for; none when grounding.
        shown: the numbers of the training videos that this one is made of; none when grounding.
        absent: one array (L, D_w) for each sentence that the video is known not to show.
    """

    features: VideoFeatures
    words: Sequence[Array]
    bounds: Array | None = None
    origins: Sequence[int] = ()
    shown: Sequence[int] = ()
    absent: Sequence[Array] = ()


def collate(items: Sequence[VideoItem]) -> Batch:
    """A batch of at least one query in all."""
    clips, clip_mask = _pad([item.features.clips for item in items])
    regions = None
    if items[0].features.regions is not None:
        regions, _ = _pad([item.features.regions for item in items if item.features.regions is not None])
    words, word_mask = _pad([query for item in items for query in item.words])
    bounds = None
    if all(item.bounds is not None for item in items):
        bounds = torch.from_numpy(np.concatenate([item.bounds for item in items if item.bounds is not None])).float()
    absent = [query for item in items for query in item.absent]
    absent_words, absent_mask = _pad(absent) if absent else (None, None)
    origins = [origin for item in items for origin in item.origins]
    most = max(len(item.shown) for item in items)
    shown = [[*item.shown, *[item.shown[-1]] * (most - len(item.shown))] for item in items] if most else []
    return Batch(
        clips=clips,
        clip_mask=clip_mask,
        durations=torch.tensor([item.features.timeline.duration for item in items]),
        words=words,
        word_mask=word_mask,
        video_index=_index([len(item.words) for item in items]),
        sentences=torch.tensor(_numbers(items)),
        regions=regions,
        bounds=bounds,
        origins=torch.tensor(origins) if origins else None,
        shown=torch.tensor(shown) if shown else None,
        absent_words=absent_words,
        absent_mask=absent_mask,
        absent_index=_index([len(item.absent) for item in items]) if absent else None,
    )


def draw_batches(queries_per_video: Sequence[int], videos: int, generator: np.random.Generator) -> Iterator[list[int]]:
    """Every video once, in random order, `videos` at a time; only those that have queries."""
    order = generator.permutation(np.flatnonzero(np.asarray(queries_per_video) > 0))
    for i in range(0, len(order), videos):
        yield order[i : i + videos].tolist()


def _numbers(items: Sequence[VideoItem]) -> list[int]:
    """The number of each query's sentence, counted from 0; sentences of different videos are different ones."""
    known: dict[tuple[int, bytes], int] = {}
    return [
        known.setdefault((place, query.tobytes()), len(known))
        for place, item in enumerate(items)
        for query in item.words
    ]


def _index(counts: Sequence[int]) -> Tensor:
    """The number of its video for each of so many queries a video."""
    return torch.repeat_interleave(torch.tensor(counts))


def _pad(arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Arrays (T_i, ...) to (B, T, ...) in single precision, and the mask (B, T)."""
    longest = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=np.float32)
    mask = np.zeros((len(arrays), longest), dtype=bool)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
        mask[row, : len(array)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)
