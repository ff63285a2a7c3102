"""Which videos of many each sentence of `mttsg ground` is asked of: those that are worth an answer, see `stages`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from mttsg_core.errors import FeatureError
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.encoded_videos import Askable, asker
from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.memory_index import MemoryIndex
from mttsg_core.search.shortlist import Stages, stage_sizes
from mttsg_core.search.spaces import ClipSpace, clip_space
from mttsg_core.video.discovery import VideoFile
from mttsg_core.workflows.all_or_each import all_or_each
from mttsg_core.workflows.events import InputFailed, Noted
from mttsg_core.workflows.library import VideoLibrary
from mttsg_core.workflows.stages import Glances, Work, by_video

_FEW_SENTENCES = 8  # fewer are asked of all videos: to encode those takes longer than to ask them
_HELD_BYTES = 1 << 30  # of encoded videos that stay in memory; further ones are encoded again for each stage

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

    def encoded(self, video: VideoFile) -> Askable | None:
        """Return a video that is in memory encoded; None for others."""
        ...


class FolderNarrowing:
    """Encodes all videos first, once for all parts of the sentences.

    Args:
        grounder: that answers. One without a space for clips and sentences is asked everything.
        top: number of moments of a sentence that are looked for over all videos.
    """

    def __init__(self, grounder: Grounder, top: int) -> None:
        self._space, self._asker, self._top = clip_space(grounder), asker(grounder), top
        self._index = MemoryIndex(() if self._space is None else self._space.widths)
        self._keys: dict[VideoFile, str] = {}
        self._tried: set[VideoFile] = set()
        self._held: dict[VideoFile, Askable] = {}
        self._room = _HELD_BYTES

    def narrow(self, queries: Queries, read: _Read[_Event]) -> Generator[_Event | InputFailed | Noted, None, Queries]:
        """Return the sentences of the videos that are worth an answer, see `Narrowing.narrow`."""
        sizes = _sizes(queries, self._top)
        if self._space is None or len(_common(queries, sizes.answered)) < _FEW_SENTENCES:
            return queries
        new = {video: sentences for video, sentences in queries.items() if video not in self._tried}
        self._tried |= new.keys()
        yield from self._take_in(new, read, self._space)
        readable = {video: sentences for video, sentences in queries.items() if video in self._keys}
        common = _common(readable, sizes.answered)
        if not common:
            return readable
        videos = {self._keys[video]: video for video in readable}
        ranked = self._index.rank(self._space.sentences(common), sizes.glanced, videos.keys())
        work = by_video([videos[key] for key in of_sentence] for of_sentence in ranked)
        if self._asker.can_glance:
            work = yield from self._glance(work, common, sizes.answered, queries, read)
        yield _note(work, len(queries))
        return _narrowed(readable, common, work)

    def encoded(self, video: VideoFile) -> Askable | None:
        """Return a video that is in memory encoded, see `Narrowing.encoded`."""
        return self._held.get(video)

    def _take_in(
        self, videos: Queries, read: _Read[_Event], space: ClipSpace
    ) -> Generator[_Event | InputFailed, None, None]:
        """Keep the vectors of videos, and the videos encoded."""
        for batch in self._encode(videos, read):
            if not isinstance(batch, list):
                yield batch
                continue
            for video, encoded in batch:
                self._keys[video] = str(len(self._keys))
                self._index.add({self._keys[video]: space.clips(encoded)})
                if encoded.nbytes <= self._room:
                    self._held[video] = encoded
                    self._room -= encoded.nbytes

    def _glance(
        self, work: Work[VideoFile], sentences: Sequence[str], kept: int, queries: Queries, read: _Read[_Event]
    ) -> Generator[_Event | InputFailed, None, Work[VideoFile]]:
        """Return what is left of some work after a glance at the videos."""
        glances = Glances(self._asker, self._asker.question(sentences), work, kept)
        glances.add([(video, self._held[video]) for video in work if video in self._held])
        for batch in self._encode({video: queries[video] for video in work if video not in self._held}, read):
            if isinstance(batch, list):
                glances.add(batch)
            else:
                yield batch
        return glances.likeliest()

    def _encode(
        self, videos: Queries, read: _Read[_Event]
    ) -> Iterator[_Event | InputFailed | list[tuple[VideoFile, Askable]]]:
        """Yield videos that were read and encoded together; those that fail are events."""
        for batch in read(videos) if videos else ():
            if not isinstance(batch, list):
                yield batch
                continue
            found: list[tuple[VideoFile, Askable]] = []
            encoded = all_or_each(self._asker.encode, [features for _, features in batch])
            for (video, _), result in zip(batch, encoded, strict=True):
                if isinstance(result, FeatureError):
                    yield InputFailed(f"{video.path}: {result}")
                else:
                    found.append((video, result))
            yield found


class IndexNarrowing:
    """Asks an index, so that no features are read but those of the videos that are glanced at.

    Args:
        library: of an index.
        top: as in `FolderNarrowing`.
    """

    def __init__(self, library: VideoLibrary, top: int) -> None:
        self._library, self._top = library, top

    def narrow(self, queries: Queries, read: _Read[_Event]) -> Generator[_Event | InputFailed | Noted, None, Queries]:
        """Return the sentences of the videos that are worth an answer, see `Narrowing.narrow`."""
        common = _common(queries, _sizes(queries, self._top).answered)
        if not common:
            return queries
        paths = {video.path: video for video in queries}
        likely = self._library.likeliest(common, self._top, [*paths])
        work = by_video([paths[path] for path in found] for found in likely)
        yield _note(work, len(queries))
        return _narrowed(queries, common, work)

    def encoded(self, video: VideoFile) -> Askable | None:
        """Return a video that is in memory encoded, see `Narrowing.encoded`."""
        return self._library.encoded(video.path)


def _sizes(queries: Queries, top: int) -> Stages:
    sentences = {sentence for of_video in queries.values() for sentence in of_video}
    return stage_sizes(len(queries), top, len(sentences))


def _common(queries: Queries, videos: int) -> list[str]:
    """Return the sentences that are asked of more than so many videos."""
    asked = Counter(sentence for sentences in queries.values() for sentence in sentences)
    return [sentence for sentence, count in asked.items() if count > videos]


def _narrowed(queries: Queries, common: Sequence[str], work: Work[VideoFile]) -> Queries:
    """Return the sentences that are left: of the common ones, those that each video has work of."""
    places = {sentence: number for number, sentence in enumerate(common)}
    kept: dict[VideoFile, list[str]] = {}
    for video, sentences in queries.items():
        own = set(work.get(video, ()))
        if left := [sentence for sentence in sentences if sentence not in places or places[sentence] in own]:
            kept[video] = left
    return kept


def _note(work: Work[VideoFile], videos: int) -> Noted:
    asked = max(Counter(number for numbers in work.values() for number in numbers).values(), default=0)
    return Noted(f"each sentence is asked of the {asked:,} most likely of {videos:,} videos; --exhaustive asks all")
