"""What a library is asked about at one time, and how a sentence finds its moments there."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from heapq import nlargest
from itertools import islice
from pathlib import Path

from mttsg_core.encoders.base import Array
from mttsg_core.errors import FeatureError, UnknownVideoError
from mttsg_core.inference.encoded_videos import Askable, Question
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Moment
from mttsg_core.search.index import IndexedVideo, VideoIndex
from mttsg_core.search.shortlist import stage_sizes
from mttsg_core.search.spaces import ClipSpace
from mttsg_core.workflows.all_or_each import all_or_each
from mttsg_core.workflows.options import AnyPath
from mttsg_core.workflows.stages import GLANCED_AT_ONCE, Glances, Work, by_video
from mttsg_core.workflows.video_memory import VideoMemory

_ANSWERED_AT_ONCE = 32  # videos; more are not faster

_log = logging.getLogger("mttsg")


@dataclass(frozen=True)
class LibraryVideo:
    """A video of a library.

    Attributes:
        id: short, without special characters, and the same as long as the file stays where it is.
        path: the file, absolute.
        name: for readers: relative to the folder that was searched.
        duration: seconds.
        modified: when the file was changed last, in seconds since the epoch.
    """

    id: str
    path: Path
    name: str
    duration: float
    modified: float


@dataclass(frozen=True)
class Hit:
    """A moment of a video that answers a sentence."""

    video: LibraryVideo
    moment: Moment


@dataclass(frozen=True)
class Contents:
    """What one `Grounder` can be asked about. It is replaced as a whole, so that no answer mixes two models.

    Attributes:
        grounder: that answers.
        space: by which videos are ranked; None if the model has none.
        index: of the clips.
        memory: encoded videos of that model.
        indexed: what the index says of each video, by id.
    """

    grounder: Grounder
    space: ClipSpace | None
    index: VideoIndex
    memory: VideoMemory
    indexed: Mapping[str, IndexedVideo] = field(default_factory=dict)

    @cached_property
    def videos(self) -> Mapping[str, LibraryVideo]:
        """All videos by id."""
        return {
            key: LibraryVideo(key, video.path, video.name, video.duration, video.modified_ns / 1e9)
            for key, video in self.indexed.items()
        }

    @cached_property
    def ids(self) -> Mapping[str, Sequence[str]]:
        """The ids of the videos of each content; several are copies of a file."""
        ids: dict[str, list[str]] = {}
        for key, video in self.indexed.items():
            ids.setdefault(video.identity, []).append(key)
        return ids

    def moments(self, queries: Sequence[str], asked: Sequence[str], top: int, *, exhaustive: bool) -> list[list[Hit]]:
        """Return for each sentence its best moments in the videos with some ids, see `VideoLibrary.ask_many`."""
        question = self.memory.asker.question(queries)  # wrong sentences are an error even where there are no videos
        work: Work[str] = dict.fromkeys(asked, range(len(queries)))
        if not exhaustive:
            work = self.likeliest(question, work, top)
        found: list[list[Hit]] = [[] for _ in queries]
        for video, numbers, answers in _answers(self, work, question, top):
            for number, moments in zip(numbers, answers, strict=True):
                found[number] += [Hit(video, moment) for moment in moments]
        return [nlargest(top, hits, key=lambda hit: hit.moment.score) for hits in found]

    def likeliest(self, question: Question, work: Work[str], top: int) -> Work[str]:
        """Return what is left of some work, of the same sentences for all videos, that is worth an answer."""
        sizes = stage_sizes(len(work), top, len(question.queries))
        if sizes.glanced < len(work) and self.space is not None:
            work = by_video(self._ranked(self.space.sentences(question.queries), sizes.glanced, work.keys()))
        if sizes.answered < sizes.glanced and self.memory.asker.can_glance:
            glances = Glances(self.memory.asker, question, work, sizes.answered)
            for batch in _loaded(self, work, GLANCED_AT_ONCE):
                glances.add(batch)
            work = glances.likeliest()
        return work

    def _ranked(self, sentences: Array, videos: int, among: Collection[str]) -> list[list[str]]:
        """Return for each sentence the ids of so many videos, and their copies, that fit it best; see `rank`."""
        if len(among) == len(self.indexed):
            ranked = self.index.rank(sentences, videos)
            return [[key for identity in found for key in self.ids.get(identity, ())] for found in ranked]
        ranked = self.index.rank(sentences, videos, {self.indexed[key].identity for key in among})
        return [[key for identity in found for key in self.ids[identity] if key in among] for found in ranked]

    def updated(self) -> Contents:
        """Return the contents with the videos that the index has now."""
        return replace(self, indexed={video_id(video.path): video for video in self.index.videos()})

    def find(self, key: str) -> LibraryVideo:
        """Return a video by id. Raises UnknownVideoError if there is none."""
        if key not in self.videos:
            raise UnknownVideoError(f"no video has the id {key[:40]!r}")
        return self.videos[key]


def video_id(path: Path) -> str:
    """Return the id of a video file: a digest of its absolute path."""
    return blake2b(os.fsencode(path.absolute()), digest_size=8).hexdigest()


def choose_videos(
    videos: Iterable[LibraryVideo], below: AnyPath | None = None, since: datetime | None = None
) -> list[LibraryVideo]:
    """Return the videos in a folder, or below it, that were changed at some time or later."""
    folder = None if below is None else Path(below).resolve()
    earliest = None if since is None else since.timestamp()
    return [
        video
        for video in videos
        if (folder is None or video.path.resolve().is_relative_to(folder))
        and (earliest is None or video.modified >= earliest)
    ]


def _answers(
    contents: Contents, work: Work[str], question: Question, top: int
) -> Iterator[tuple[LibraryVideo, Sequence[int], list[list[Moment]]]]:
    """Yield each video with the numbers of its sentences and their moments. One that fails is warned about."""
    for batch in _loaded(contents, work, _ANSWERED_AT_ONCE):
        items = [(encoded, work[key]) for key, encoded in batch]
        answers = all_or_each(lambda some: contents.memory.asker.ground(some, question, top), items)
        for (key, _), answer in zip(batch, answers, strict=True):
            if isinstance(answer, FeatureError):
                _log.warning("%s: %s", contents.indexed[key].path, answer)
            else:
                yield contents.videos[key], work[key], answer


def _loaded(contents: Contents, work: Work[str], videos: int) -> Iterator[list[tuple[str, Askable]]]:
    """Yield some videos that have work at a time, by their ids, encoded. One that cannot be read is warned about."""
    waiting = iter(work)
    while batch := list(islice(waiting, videos)):
        encoded = contents.memory.load([contents.indexed[key] for key in batch])
        yield [(key, each) for key, each in zip(batch, encoded, strict=True) if each is not None]
