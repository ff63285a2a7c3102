"""Which videos of many each sentence is asked of: those whose clips fit it best, see `search`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from mttsg_core.errors import FeatureError
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.memory_index import MemoryIndex
from mttsg_core.search.shortlist import shortlist_size
from mttsg_core.search.spaces import clip_space
from mttsg_core.video.discovery import VideoFile
from mttsg_core.workflows.events import InputFailed, Noted
from mttsg_core.workflows.library import VideoLibrary

_Event = TypeVar("_Event")
Queries: TypeAlias = Mapping[VideoFile, Sequence[str]]
_Read: TypeAlias = Callable[[Queries], Iterator[_Event | list[tuple[VideoFile, VideoFeatures]]]]


class Narrowing(Protocol):
    """Takes sentences away from videos that they have little to do with."""

    def narrow(self, queries: Queries, read: _Read[_Event]) -> Generator[_Event | InputFailed | Noted, None, Queries]:
        """Return the sentences of the videos that are worth an answer; pass on the events of `read`.

        Args:
            queries: the sentences of each video.
            read: reads the features of videos; those that cannot be read are events.
        """
        ...


class FolderNarrowing:
    """Makes the vectors of all clips first, once for all parts of the sentences.

    Args:
        grounder: that answers. One without a space for clips and sentences is asked everything.
        top: number of moments of a sentence that are looked for over all videos.
    """

    def __init__(self, grounder: Grounder, top: int) -> None:
        self._space = clip_space(grounder)
        self._top = top
        self._index = MemoryIndex(() if self._space is None else self._space.widths)
        self._keys: dict[VideoFile, str] = {}
        self._tried: set[VideoFile] = set()

    def narrow(self, queries: Queries, read: _Read[_Event]) -> Generator[_Event | InputFailed | Noted, None, Queries]:
        """Return the sentences of the videos that are worth an answer, see `Narrowing.narrow`."""
        size = shortlist_size(len(queries), self._top)
        if self._space is None or size == len(queries):
            return queries
        new = {video: sentences for video, sentences in queries.items() if video not in self._tried}
        self._tried |= new.keys()
        for batch in read(new) if new else ():
            if not isinstance(batch, list):
                yield batch
                continue
            for video, features in batch:
                try:
                    vectors = self._space.clips(features)
                except FeatureError as error:
                    yield InputFailed(f"{video.path}: {error}")
                    continue
                self._keys[video] = str(len(self._keys))
                self._index.add({self._keys[video]: vectors})
        readable = {video: sentences for video, sentences in queries.items() if video in self._keys}
        common = _common(readable, size)
        if not common:
            return readable
        ranked = self._index.rank(self._space.sentences(common), size, {self._keys[video] for video in readable})
        best = {sentence: set(found) for sentence, found in zip(common, ranked, strict=True)}
        yield _note(size, len(queries))
        return _narrowed(readable, lambda video, sentence: sentence not in best or self._keys[video] in best[sentence])


class IndexNarrowing:
    """Asks an index, so that no features are read but those of the videos that are worth an answer.

    Args:
        library: of an index.
        top: as in `FolderNarrowing`.
    """

    def __init__(self, library: VideoLibrary, top: int) -> None:
        self._library, self._top = library, top

    def narrow(self, queries: Queries, read: _Read[_Event]) -> Generator[_Event | InputFailed | Noted, None, Queries]:
        """Return the sentences of the videos that are worth an answer, see `Narrowing.narrow`."""
        size = shortlist_size(len(queries), self._top)
        common = _common(queries, size)
        if not common:
            return queries
        likely = self._library.likely(common, size, [video.path for video in queries])
        best = dict(zip(common, likely, strict=True))
        yield _note(size, len(queries))
        return _narrowed(queries, lambda video, sentence: sentence not in best or video.path in best[sentence])


def _common(queries: Queries, size: int) -> list[str]:
    """Return the sentences that are asked of more than `size` videos."""
    asked = Counter(sentence for sentences in queries.values() for sentence in sentences)
    return [sentence for sentence, videos in asked.items() if videos > size]


def _narrowed(queries: Queries, is_likely: Callable[[VideoFile, str], bool]) -> Queries:
    kept = {
        video: [sentence for sentence in sentences if is_likely(video, sentence)]
        for video, sentences in queries.items()
    }
    return {video: sentences for video, sentences in kept.items() if sentences}


def _note(size: int, videos: int) -> Noted:
    return Noted(f"each sentence is asked of the {size:,} most likely of {videos:,} videos; --exhaustive asks all")
