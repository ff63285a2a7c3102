"""What an index of videos holds and can do, wherever it keeps its vectors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from mttsg_core.encoders.base import Array
from mttsg_core.search.spaces import ClipVectors


@dataclass(frozen=True)
class IndexedVideo:
    """A video file of an index.

    Attributes:
        path: the file, absolute.
        name: for readers: relative to the folder that was searched.
        identity: of its content, see `features.identity.file_identity`; copies of a file share it, and their vectors.
        size: bytes of the file when it was indexed.
        modified_ns: when it was changed last, in nanoseconds since the epoch.
        duration: seconds.
        clips: number of its vectors.
        features: its entry in the cache of features, relative to the folder of the cache.
    """

    path: Path
    name: str
    identity: str
    size: int
    modified_ns: int
    duration: float
    clips: int
    features: str


class VideoIndex(Protocol):
    """Videos by path, and the vectors of their clips by identity.

    Every change is made in one step, so that an index that is stopped in between lacks something but holds nothing
    wrong: vectors come before the videos that need them, and go after them.

    Attributes:
        at_once: videos that are added in one step: what is lost if the program is stopped, but for their features.
    """

    at_once: ClassVar[int]

    def videos(self) -> list[IndexedVideo]:
        """Return all videos, in the order of their paths."""
        ...

    def identities(self) -> set[str]:
        """Return the identities whose vectors exist."""
        ...

    def add(self, vectors: Mapping[str, ClipVectors]) -> None:
        """Add the vectors of files by identity; none of them may exist."""
        ...

    def put(self, videos: Sequence[IndexedVideo]) -> None:
        """Add videos; each replaces the one with the same path."""
        ...

    def remove(self, paths: Collection[Path]) -> None:
        """Remove the videos with these paths."""
        ...

    def tidy(self) -> None:
        """Remove vectors that no video needs any more, and do what makes questions faster."""
        ...

    def rank(self, sentences: Array, top: int, among: Collection[str] | None = None) -> list[list[str]]:
        """Return for each of the sentences (N, P, C) the identities that fit it best, the best first, `top` at most.

        Args:
            sentences: of `ClipSpace.sentences`.
            top: number of identities.
            among: only these identities; None for all.
        """
        ...
