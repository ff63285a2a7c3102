"""An index in memory: every sentence is compared with every clip."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from mttsg_core.encoders.base import Array
from mttsg_core.search.index import IndexedVideo
from mttsg_core.search.spaces import ClipVectors

_PRODUCTS = 1 << 22  # of sentences and clips in memory at a time


class MemoryIndex:
    """An index that is gone with the program. See `VideoIndex` for its methods.

    Args:
        widths: of the space, see `ClipSpace.widths`.
    """

    at_once: ClassVar[int] = 1

    def __init__(self, widths: Sequence[int]) -> None:
        self._widths = tuple(widths)
        self._videos: dict[Path, IndexedVideo] = {}
        self._vectors: dict[str, Array] = {}
        self._matrix: ClipMatrix | None = None

    def copy(self) -> MemoryIndex:
        """Return an index of the same videos that can be changed while this one is asked."""
        copied = MemoryIndex(self._widths)
        copied._videos, copied._vectors, copied._matrix = dict(self._videos), dict(self._vectors), self._matrix
        return copied

    def videos(self) -> list[IndexedVideo]:
        """Return all videos, in the order of their paths."""
        return [self._videos[path] for path in sorted(self._videos)]

    def identities(self) -> set[str]:
        """Return the identities whose vectors exist."""
        return set(self._vectors)

    def add(self, vectors: Mapping[str, ClipVectors]) -> None:
        """Add the vectors of files by identity."""
        self._vectors |= {identity: clips.vectors for identity, clips in vectors.items()}
        self._matrix = None

    def put(self, videos: Sequence[IndexedVideo]) -> None:
        """Add or replace videos by path."""
        self._videos |= {video.path: video for video in videos}

    def remove(self, paths: Collection[Path]) -> None:
        """Remove videos by path."""
        for path in paths:
            self._videos.pop(path, None)

    def tidy(self) -> None:
        """Remove vectors that no video needs any more."""
        needed = {video.identity for video in self._videos.values()}
        self._vectors = {identity: clips for identity, clips in self._vectors.items() if identity in needed}
        self._matrix = None

    def rank(self, sentences: Array, top: int, among: Collection[str] | None = None) -> list[list[str]]:
        """Return the identities that fit each sentence best."""
        if not self._vectors:
            return [[] for _ in sentences]
        if self._matrix is None:
            clips = list(self._vectors.values())
            edges = np.cumsum([0, *map(len, clips)])
            self._matrix = ClipMatrix(list(self._vectors), np.concatenate(clips), edges, self._widths)
        return self._matrix.rank(sentences, top, among)


class ClipMatrix:
    """The clips of videos in one matrix.

    Args:
        identities: of V videos.
        clips: (M, C) of all of them, one video after the other, in single precision.
        edges: (V + 1,) the first clip of each video, and M. No video is empty.
        widths: of the space, see `ClipSpace.widths`.
    """

    def __init__(
        self, identities: Sequence[str], clips: Array, edges: npt.NDArray[np.int64], widths: Sequence[int]
    ) -> None:
        self._widths = tuple(widths)
        self._identities = np.array(identities)  # (V,)
        self._clips, self._edges = clips, edges

    @property
    def identities(self) -> list[str]:
        """Of the videos."""
        return list(self._identities.tolist())

    def vectors(self) -> list[Array]:
        """Return the clips (T, C) of each video."""
        return np.split(self._clips, self._edges[1:-1])

    def rank(self, sentences: Array, top: int, among: Collection[str] | None = None) -> list[list[str]]:
        """Return the identities that fit each sentence best, see `VideoIndex.rank`."""
        allowed = None if among is None else np.isin(self._identities, list(among))  # (V,)
        limit = min(top, len(self._identities) if allowed is None else int(allowed.sum()))
        ranked: list[list[str]] = []
        for scores in self._scores(sentences):  # (V,)
            if allowed is not None:
                scores[~allowed] = -np.inf
            best = np.argsort(-scores, kind="stable")[:limit]
            ranked.append(self._identities[best].tolist())
        return ranked

    def _scores(self, sentences: Array) -> Iterator[Array]:
        """Yield how well all videos (V,) fit each of the sentences (N, P, C): the mean over its P vectors."""
        parts = sentences.shape[1]
        step = max(1, _PRODUCTS // (parts * len(self._clips)))
        for first in range(0, len(sentences), step):
            some = sentences[first : first + step].reshape(-1, sentences.shape[2])
            scores = video_scores(some @ self._clips.T, self._edges, self._widths)  # (N' * P, V)
            yield from scores.reshape(-1, parts, scores.shape[1]).mean(axis=1)


def single_precision(vectors: npt.NDArray[np.float16]) -> Array:
    """Convert half precision; torch takes a tenth of the time that numpy does."""
    converted: Array = torch.from_numpy(np.require(vectors, requirements="W")).float().numpy()
    return converted


def video_scores(products: Array, edges: npt.NDArray[np.int64], widths: Sequence[int]) -> Array:
    """Return how well V videos fit N vectors, (N, V): by their best clip, and by their best few in a row.

    Args:
        products: (N, M) of the vectors and the clips of all videos, one video after the other.
        edges: (V + 1,) the first clip of each video, and M. No video is empty.
        widths: numbers of clips in a row.
    """
    if tuple(widths) == (1,):
        best: Array = np.maximum.reduceat(products, edges[:-1], axis=1)
        return best
    clips = np.arange(products.shape[1])
    first = np.repeat(edges[:-1], np.diff(edges))  # (M,) of the video that a clip is in
    last = np.repeat(edges[1:], np.diff(edges))  # (M,) one past it
    totals = np.zeros((len(products), products.shape[1] + 1))
    np.cumsum(products, axis=1, out=totals[:, 1:])
    scores = np.zeros((len(products), len(edges) - 1))
    for width in widths:
        begin, end = np.maximum(clips - width // 2, first), np.minimum(clips + width // 2 + 1, last)
        means = (totals[:, end] - totals[:, begin]) / (end - begin)
        scores += np.maximum.reduceat(means, edges[:-1], axis=1)
    return scores.astype(np.float32)
