"""An index in a folder: tables of LanceDB, two for each model. Every change of a table is one atomic commit of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.errors import ConfigError
from mttsg_core.search.index import IndexedVideo
from mttsg_core.search.memory_index import ClipMatrix, single_precision
from mttsg_core.search.spaces import ClipVectors

if TYPE_CHECKING:
    import pyarrow as pa

_MEMORY = 256 << 20  # bytes of vectors that are compared in memory, one by one; more have an approximate index
_BITS = 4  # a number in the approximate index, which only preselects: vectors themselves decide
_SAMPLED, _ITERATIONS = 64, 15  # vectors a partition, and steps, by which the partitions are found
_PROBES, _REFINE = 64, 3  # partitions that a sentence is compared with, and times as many clips whose vectors decide
_CLIPS_A_VIDEO = 20  # that are asked for where one would do: a video has many clips that are alike
_MAX_CLIPS = 20_000  # of a question
_UNINDEXED = 0.1  # share of the clips outside the approximate index from which on it is extended
_KEPT = timedelta(days=1)  # for which a reader may still use what was replaced
_WHERE_NAMES = 1000  # in one condition


class LanceIndex:
    """The videos and vectors of one model in an index folder. See `VideoIndex` for its methods.

    Args:
        folder: of the index.
        fingerprint: of the space, see `ClipSpace.fingerprint`.
        dim: width of the vectors.
        widths: of the space, see `ClipSpace.widths`.

    Raises:
        ConfigError: if LanceDB is not installed.
    """

    at_once: ClassVar[int] = 32

    def __init__(self, folder: Path, fingerprint: str, dim: int, widths: Sequence[int]) -> None:
        self._dim, self._widths = dim, tuple(widths)
        database = _connect(folder)
        self._clips = database.create_table(f"clips-{fingerprint}", schema=_clip_schema(dim), exist_ok=True)
        self._videos = database.create_table(f"videos-{fingerprint}", schema=_video_schema(), exist_ok=True)
        self._matrix: tuple[int, ClipMatrix] | None = None  # with the version of the table that it was made of

    def videos(self) -> list[IndexedVideo]:
        """Return all videos, in the order of their paths."""
        rows = self._videos.search().limit(None).to_arrow().to_pylist()
        videos = [
            IndexedVideo(**{**row, "path": Path(os.fsdecode(row["path"])), "name": os.fsdecode(row["name"])})
            for row in rows
        ]
        return sorted(videos, key=lambda video: video.path)

    def identities(self) -> set[str]:
        """Return the identities whose vectors exist."""
        expected = {video.identity: video.clips for video in self.videos()}
        if self._clips.count_rows() == sum(expected.values()):
            return set(expected)
        column = self._clips.search().select(["identity"]).limit(None).to_arrow()["identity"]  # of an unfinished run
        return set(column.unique().to_pylist())

    def clips(self) -> dict[str, Array]:
        """Return the vectors (M, C) of each identity. All are in memory at once."""
        matrix = self._read_matrix()
        return dict(zip(matrix.identities, matrix.vectors(), strict=True))

    def add(self, vectors: Mapping[str, ClipVectors]) -> None:
        """Add the vectors of files by identity, in one step."""
        import pyarrow as pa

        if not vectors:
            return
        clips = [vectors[identity].vectors.astype(np.float16) for identity in vectors]
        times = np.concatenate([vectors[identity].times for identity in vectors])  # (M, 2)
        table = pa.table(
            [
                pa.array(np.repeat(list(vectors), [len(rows) for rows in clips]), pa.string()),
                pa.array(times[:, 0], pa.float32()),
                pa.array(times[:, 1], pa.float32()),
                pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(clips).ravel()), self._dim),
            ],
            schema=_clip_schema(self._dim),
        )
        self._clips.add(table)

    def put(self, videos: Sequence[IndexedVideo]) -> None:
        """Add or replace videos by path, in one step."""
        import pyarrow as pa

        if not videos:
            return
        rows = [{**vars(video), "path": os.fsencode(video.path), "name": os.fsencode(video.name)} for video in videos]
        merge = self._videos.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(pa.Table.from_pylist(rows, schema=_video_schema()))

    def remove(self, paths: Collection[Path]) -> None:
        """Remove videos by path."""
        names = [os.fsencode(path).hex().upper() for path in paths]
        for first in range(0, len(names), _WHERE_NAMES):
            listed = ", ".join(f"X'{name}'" for name in names[first : first + _WHERE_NAMES])
            self._videos.delete(f"path IN ({listed})")

    def tidy(self) -> None:
        """Remove vectors that no video needs any more, and extend the approximate index if there is one."""
        unneeded = sorted(self.identities() - {video.identity for video in self.videos()})
        for first in range(0, len(unneeded), _WHERE_NAMES):
            self._clips.delete(_is_one_of(unneeded[first : first + _WHERE_NAMES]))
        self._videos.optimize(cleanup_older_than=_KEPT)
        self.tidy_vectors()

    def tidy_vectors(self) -> None:
        """Store the vectors in few files, and of many build or extend the approximate index."""
        from lancedb.index import IvfRq

        is_new = not self._clips.list_indices()
        self._clips.optimize(cleanup_older_than=_KEPT)
        if self._is_large and (is_new or self._unindexed > _UNINDEXED):
            config = IvfRq(distance_type="dot", num_bits=_BITS, sample_rate=_SAMPLED, max_iterations=_ITERATIONS)
            self._clips.create_index("vector", config=config)

    def rank(self, sentences: Array, top: int, among: Collection[str] | None = None) -> list[list[str]]:
        """Return the identities that fit each sentence best."""
        if not self._clips.count_rows():
            return [[] for _ in sentences]
        if self._is_large:
            return [self._search(sentence, top, among) for sentence in sentences]
        if self._matrix is None or self._matrix[0] != self._clips.version:
            self._matrix = self._clips.version, self._read_matrix()
        return self._matrix[1].rank(sentences, top, among)

    def nearest(self, sentence: Array, clips: int, among: Collection[str] | None = None) -> pa.Table:
        """Return the clips that fit a sentence (C,) best, the best first, with their `identity` and `_distance`."""
        search = self._clips.search(sentence).distance_type("dot").nprobes(_PROBES).refine_factor(_REFINE)
        if among is not None:
            search = search.where(_is_one_of(sorted(among)), prefilter=True)
        return search.select(["identity", "start", "end", "_distance"]).limit(clips).to_arrow()

    @property
    def _is_large(self) -> bool:
        return self._clips.count_rows() * self._dim * 4 > _MEMORY

    @property
    def _unindexed(self) -> float:
        """Share of the clips that are not in the approximate index."""
        statistics = self._clips.index_stats(self._clips.list_indices()[0].name)
        return statistics.num_unindexed_rows / max(1, self._clips.count_rows())

    def _search(self, sentence: Array, top: int, among: Collection[str] | None) -> list[str]:
        """Return identities by their best clips for each vector of a sentence (P, C).

        A video that is not among the best of one of the vectors counts there as the last one that is.
        """
        clips = min(top * _CLIPS_A_VIDEO, _MAX_CLIPS)
        scores: dict[str, float] = {}
        for part in sentence:
            found = self.nearest(part, clips, among)
            products = -found["_distance"].to_numpy()
            best: dict[str, float] = {}
            for identity, product in zip(found["identity"].to_pylist(), products.tolist(), strict=True):
                best.setdefault(identity, product - products[-1])
            for identity, product in best.items():
                scores[identity] = scores.get(identity, 0.0) + product
        return sorted(scores, key=lambda identity: -scores[identity])[:top]

    def _read_matrix(self) -> ClipMatrix:
        table = self._clips.search().select(["identity", "vector"]).limit(None).to_arrow().combine_chunks()
        column = table["vector"].combine_chunks()
        vectors = np.asarray(column.flatten()).reshape(-1, self._dim)  # (M, C)
        names = table["identity"].combine_chunks().dictionary_encode()
        numbers = names.indices.to_numpy()  # (M,)
        if (np.diff(numbers) < 0).any():  # the clips of a video are added together, but may be moved later
            order = np.argsort(numbers, kind="stable")
            vectors, numbers = vectors[order], numbers[order]
        edges = np.searchsorted(numbers, np.arange(len(names.dictionary) + 1))  # (V + 1,)
        return ClipMatrix(names.dictionary.to_pylist(), single_precision(vectors), edges, self._widths)


def _connect(folder: Path) -> Any:
    try:
        import lancedb
    except ImportError as error:
        raise ConfigError("an index needs LanceDB: install it with pip install 'mttsg[index]'") from error
    return lancedb.connect(str(folder))


def _clip_schema(dim: int) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("identity", pa.string(), nullable=False),
            pa.field("start", pa.float32(), nullable=False),
            pa.field("end", pa.float32(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), dim), nullable=False),
        ]
    )


def _video_schema() -> pa.Schema:
    """Return the columns of `IndexedVideo`. Names of files may be any bytes."""
    import pyarrow as pa

    kinds = {
        "path": pa.binary(),
        "name": pa.binary(),
        "identity": pa.string(),
        "size": pa.int64(),
        "modified_ns": pa.int64(),
        "duration": pa.float64(),
        "clips": pa.int64(),
        "features": pa.string(),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def _is_one_of(identities: Sequence[str]) -> str:
    """Return the condition that selects identities, which are hexadecimal digits."""
    listed = ", ".join(f"'{identity}'" for identity in identities)
    return f"identity IN ({listed})"
