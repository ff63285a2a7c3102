"""Queries assigned to the videos that they are about, as many at a time as can be answered in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from mttsg_core.data.name_index import NameIndex, name_forms, trailing_parts
from mttsg_core.data.queries import Query
from mttsg_core.utils.files import without_suffix
from mttsg_core.video.discovery import VIDEO_SUFFIXES, VideoFile
from mttsg_core.video.identify import PICTURE_SUFFIXES


@dataclass(frozen=True)
class QueryPart:
    """Some of the queries of a run.

    Attributes:
        queries: the sentences of each video, in order.
        own_video: those that are each asked of a video of their own, rather than of every video.
        is_last: whether no further queries follow.
    """

    queries: Mapping[VideoFile, Sequence[str]]
    own_video: frozenset[str]
    is_last: bool = True


class QueryAssigner:
    """Assigns queries to the videos that they are about, one part of the queries after the other.

    A query names its video by its path or the last parts of it, with or without suffix: `videos/a.mp4`, `a`. Capitals
    and separators count only where several videos differ in nothing else. A video is asked each sentence once, whatever
    the part: of earlier sentences only numbers are remembered.

    Args:
        videos: that queries can be about.

    Attributes:
        videos: that queries can be about.
        unmatched: the names that do not tell one of the videos, each with the reason.
        asked: the videos that had a sentence so far, in their order of appearance.
    """

    def __init__(self, videos: Iterable[VideoFile]) -> None:
        self.videos = list(videos)
        self._by_path, self._by_parts = _index(self.videos, _paths_of), _index(self.videos, _parts_of)
        self._video_of: dict[str, VideoFile | None] = {}
        self._sentences: set[int] = set()  # hashes of all
        self._of_every_video: set[int] = set()
        self._of_video: dict[VideoFile, set[int]] = {}  # for videos with sentences of their own, the hashes of those
        self.unmatched: dict[str, str] = {}
        self.asked: dict[VideoFile, None] = {}

    @property
    def sentences(self) -> int:
        """Number of different sentences that were assigned so far."""
        return len(self._sentences)

    def assign(self, queries: Iterable[Query]) -> QueryPart:
        """Return the sentences of each video, in order, without those that it was asked before."""
        shared: dict[str, None] = {}
        own: dict[VideoFile, dict[str, None]] = {video: {} for video in self._of_video}
        for query in queries:
            number = hash(query.text)
            if query.video is None:
                if self.videos and number not in self._of_every_video:
                    self._of_every_video.add(number)
                    self._sentences.add(number)
                    shared[query.text] = None
                    for video, sentences in own.items():
                        if number not in self._of_video[video]:
                            sentences[query.text] = None
                continue
            named = self.find(query.video)
            if named is None or number in self._of_every_video or number in self._of_video.setdefault(named, set()):
                continue
            self._of_video[named].add(number)
            self._sentences.add(number)
            if named not in own:
                own[named] = dict(shared)
            own[named][query.text] = None
        common = list(shared)
        assigned = {video: list(own[video]) if video in own else common for video in self.videos}
        assigned = {video: sentences for video, sentences in assigned.items() if sentences}
        self.asked |= dict.fromkeys(assigned)
        return QueryPart(assigned, frozenset(chain.from_iterable(own.values())) - shared.keys())

    def find(self, name: str) -> VideoFile | None:
        """Return the video that a name tells, or None."""
        if name not in self._video_of:
            lookups = (index.find(form) for index in (self._by_path, self._by_parts) for form in name_forms(name))
            matches = _meant(next(filter(None, lookups), []))
            self._video_of[name] = matches[0] if len(matches) == 1 else None
            if len(matches) != 1:
                shown = ", ".join(str(video.path) for video in matches[:3])
                self.unmatched[name] = f"{len(matches)} videos match: {shown}" if matches else "no such video"
        return self._video_of[name]


def assign_queries(
    queries: Sequence[Query], videos: Iterable[VideoFile]
) -> tuple[dict[VideoFile, Sequence[str]], dict[str, str]]:
    """Assign queries to the videos that they are about, see `QueryAssigner`.

    Returns:
        The sentences of each video, in order and each once; and the names that do not tell one of the videos, each with
        the reason.
    """
    assigner = QueryAssigner(videos)
    return dict(assigner.assign(queries).queries), assigner.unmatched


def query_parts(queries: Iterable[Query], assigner: QueryAssigner, size: int) -> Iterator[QueryPart]:
    """Yield the queries in parts of `size`, assigned to their videos. Parts about none of the videos are left out.

    Raises:
        DataError: whatever reading the queries raises.
    """
    remaining = iter(queries)
    first: list[Query] = list(islice(remaining, 1))
    while first:
        part = assigner.assign(chain(first, islice(remaining, size - 1)))
        first = list(islice(remaining, 1))  # of the next part
        if part.queries:
            yield replace(part, is_last=not first)


def _index(videos: Iterable[VideoFile], names_of: Callable[[VideoFile], Iterable[str]]) -> NameIndex[VideoFile]:
    """Return an index of videos by some of their names, with and without suffix."""
    index: NameIndex[VideoFile] = NameIndex()
    for video in videos:
        for name in names_of(video):
            index.add(name, video)
            index.add(without_suffix(name, VIDEO_SUFFIXES), video)
    return index


def _paths_of(video: VideoFile) -> Iterable[str]:
    return (video.path.as_posix(), video.path.absolute().as_posix(), video.name.as_posix())


def _parts_of(video: VideoFile) -> Iterable[str]:
    return trailing_parts(video.path.absolute().as_posix())


def _meant(videos: list[VideoFile]) -> list[VideoFile]:
    """Return the videos that a name stands for: pictures that move only if there is nothing else."""
    return [video for video in videos if video.path.suffix.lower() not in PICTURE_SUFFIXES] or videos
