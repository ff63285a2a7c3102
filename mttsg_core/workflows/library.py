"""A library of videos that is asked again and again: the model stays loaded, and videos stay encoded in memory."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from heapq import nlargest
from itertools import islice
from pathlib import Path
from threading import RLock

from mttsg_core.encoders.base import Array
from mttsg_core.errors import ConfigError, DataError, FeatureError, UnknownVideoError
from mttsg_core.inference.encoded_videos import Askable, Asker, Question
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Moment, Timeline
from mttsg_core.search.index import IndexedVideo, VideoIndex
from mttsg_core.search.index_folder import IndexFolder, IndexModel, is_index
from mttsg_core.search.memory_index import MemoryIndex
from mttsg_core.search.shortlist import answered_size, shortlist_size
from mttsg_core.search.spaces import ClipSpace, clip_space
from mttsg_core.workflows.events import ReadingEvent
from mttsg_core.workflows.index_videos import IndexReport, refresh_index
from mttsg_core.workflows.options import AnyPath
from mttsg_core.workflows.steps import iterate
from mttsg_core.workflows.threads import limited_threads
from mttsg_core.workflows.video_memory import VideoMemory

MEMORY = 2 << 30  # bytes of encoded videos that stay in memory; further ones are read and encoded for every sentence
_GLANCED_AT_ONCE, _ANSWERED_AT_ONCE = 128, 32  # videos; more are not faster
_ENCODED_AT_ONCE = 4  # videos between two looks at whether a sentence waits

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
class _Contents:
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

    def likely(self, queries: Sequence[str], videos: int, among: Collection[str]) -> list[list[str]]:
        """Return for each sentence the ids of so many videos, and their copies, that fit it best; see `rank`."""
        if self.space is None:
            return [list(among) for _ in queries]
        sentences = self.space.sentences(queries)
        if len(among) == len(self.indexed):
            ranked = self.index.rank(sentences, videos)
            return [[key for identity in found for key in self.ids.get(identity, ())] for found in ranked]
        allowed = set(among)
        ranked = self.index.rank(sentences, videos, {self.indexed[key].identity for key in allowed})
        return [[key for identity in found for key in self.ids[identity] if key in allowed] for found in ranked]

    def updated(self) -> _Contents:
        """Return the contents with the videos that the index has now."""
        return replace(self, indexed={video_id(video.path): video for video in self.index.videos()})

    def find(self, key: str) -> LibraryVideo:
        """Return a video by id. Raises UnknownVideoError if there is none."""
        if key not in self.videos:
            raise UnknownVideoError(f"no video has the id {key[:40]!r}")
        return self.videos[key]


class VideoLibrary:
    """Videos that are found once, and asked many times. Empty until `iter_refresh`, unless it is of an index.

    `ask` and the other questions may come from several threads; they are answered one after the other, and a refresh
    does not make them wait.

    Args:
        paths: video files, and folders that are searched for videos; or the folder of an index alone.
        grounder: of a trained model, or without training.
        index: folder of an index that keeps the vectors of clips, begun if it does not exist; None keeps them in
            memory.
        workers: number of videos to read at a time; None for one per core.
        model: folder of the model, for the record of the index; None without training.
        memory: bytes of encoded videos that stay in memory, those that were asked last. A video of a minute takes about
            0.5 MB, with regions up to 3 MB. What does not fit is read and encoded again for every sentence that needs
            it, which takes about ten times as long as an answer.

    Raises:
        ConfigError: if there is to be an index, and LanceDB is not installed, or the model has no common space.
        DataError: if the index is damaged.
    """

    def __init__(
        self,
        paths: Sequence[AnyPath],
        grounder: Grounder,
        *,
        index: AnyPath | None = None,
        workers: int | None = None,
        model: AnyPath | None = None,
        memory: int = MEMORY,
    ) -> None:
        named = [Path(path) for path in paths]
        if index is None and len(named) == 1 and is_index(named[0]):
            index, named = named[0], []
        self._folder = None if index is None else IndexFolder.prepare(Path(index)).extended(named, None)
        self._named = tuple(named)
        self._workers, self._model = workers, model
        self._memory_bytes = memory
        self._lock = RLock()
        self._grounder = grounder
        self._contents = self._open(grounder).updated()
        self.report: IndexReport | None = None  # of the last refresh

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders whose videos are asked: those given, and those that an index was made of."""
        return self._named if self._folder is None else self._folder.sources

    @property
    def grounder(self) -> Grounder:
        """The model that answers."""
        return self._contents.grounder

    @property
    def videos(self) -> Sequence[LibraryVideo]:
        """The videos that can be asked, in the order of their paths."""
        return list(self._contents.videos.values())

    def video(self, video_id: str) -> LibraryVideo:
        """Return the video with an id. Raises UnknownVideoError if there is none."""
        return self._contents.find(video_id)

    def use(self, grounder: Grounder, *, model: AnyPath | None = None) -> None:
        """Let another model answer once `iter_refresh` has run; until then the one before does."""
        self._grounder, self._model = grounder, model

    def iter_refresh(self) -> Iterator[ReadingEvent]:
        """Find the videos again and extract missing features, which are the events; then questions see the result.

        A video that cannot be used is an event and costs no other video.

        Raises:
            DataError: if there are no videos.
            FeatureError: if the model expects external features.
            BusyError: if another process changes the index.
            MttsgError: if a file cannot be written.
        """
        yield from (event for event in iterate(self._refresh()) if event is not None)

    def ask(
        self,
        query: str,
        top: int = 10,
        *,
        exhaustive: bool = False,
        below: AnyPath | None = None,
        since: datetime | None = None,
    ) -> list[Hit]:
        """Return the moments of all videos that a sentence describes, the best first; see `ask_many`."""
        [hits] = self.ask_many([query], top, exhaustive=exhaustive, below=below, since=since)
        return hits

    def ask_many(
        self,
        queries: Sequence[str],
        top: int = 10,
        *,
        exhaustive: bool = False,
        below: AnyPath | None = None,
        since: datetime | None = None,
    ) -> list[list[Hit]]:
        """Return for each of several sentences the moments of all videos that it describes, the best first.

        Of many videos, the network glances at those whose clips fit a sentence best, see `shortlist_size`, and answers
        in those that seem to show it, see `answered_size`.

        Args:
            queries: the sentences.
            top: number of moments of a sentence, at most.
            exhaustive: let the network answer in every video, however little the video has to do with the sentence.
            below: only videos in this folder, or below it.
            since: only videos that were changed then or later; a time without a zone is one of this computer.

        Raises:
            DataError: if a sentence is empty or has too many words, or `top` is less than 1.
        """
        if top < 1:
            raise DataError(f"top must be at least 1, not {top}")
        if not queries:
            return []
        with self._lock, limited_threads(self.grounder.device):
            contents = self._contents
            question = contents.memory.asker.question(queries)  # wrong sentences are an error even without videos
            asked = [video.id for video in choose_videos(contents.videos.values(), below, since)]
            found: list[list[Hit]] = [[] for _ in queries]
            size = len(asked) if exhaustive else shortlist_size(len(asked), top)
            work: _Work = dict.fromkeys(asked, range(len(queries)))
            if size < len(asked):
                work = _by_video(contents.likely(queries, size, asked))
            if not exhaustive:
                work = _likeliest(contents, work, question, answered_size(size, top))
            for video, numbers, answers in _answers(contents, work, question, top):
                for number, moments in zip(numbers, answers, strict=True):
                    found[number] += [Hit(video, moment) for moment in moments]
            return [nlargest(top, hits, key=lambda hit: hit.moment.score) for hits in found]

    def likely(self, queries: Sequence[str], videos: int, paths: Sequence[Path]) -> list[set[Path]]:
        """Return for each sentence the files in which it is most likely answered, by the vectors of their clips.

        Args:
            queries: the sentences.
            videos: number of videos of a sentence.
            paths: the files to choose from, absolute; those that are not in the library are in no answer.
        """
        with self._lock:
            contents = self._contents
            if contents.space is None:
                return [set(paths) for _ in queries]
            known = [key for key in map(video_id, paths) if key in contents.indexed]
            likely = contents.likely(queries, videos, known)
            return [{contents.indexed[key].path for key in found} for found in likely]

    def saliency(self, video_id: str, query: str) -> tuple[Timeline, Array]:
        """Return the clips of a video in seconds, and (T,) for each the probability that it is in the moment.

        Raises:
            UnknownVideoError: if there is no such video.
            VideoError, FeatureError: if its features are gone and cannot be extracted again.
            DataError: if the sentence is empty or has too many words.
        """
        with self._lock, limited_threads(self.grounder.device):
            contents = self._contents
            features = contents.memory.features(contents.indexed[contents.find(video_id).id])
            return features.timeline, contents.grounder.saliency(features, query)

    def iter_encode(self) -> Iterator[None]:
        """Encode videos until all are in memory, or it is full, a few between two yields, so that answers are quick.

        Sentences may be asked meanwhile; they wait for a few videos at most.
        """
        contents = self._contents
        waiting = [video for video in contents.indexed.values() if not contents.memory.holds(video)]
        for first in range(0, len(waiting), _ENCODED_AT_ONCE):
            with self._lock, limited_threads(self.grounder.device):
                if contents.memory.is_full or contents.memory is not self._contents.memory:
                    return
                contents.memory.load(waiting[first : first + _ENCODED_AT_ONCE])
            yield

    def _open(self, grounder: Grounder) -> _Contents:
        """Return the index of a model as it is now."""
        space = clip_space(grounder)
        memory = VideoMemory(grounder, self._memory_bytes)
        if self._folder is None:
            return _Contents(grounder, space, MemoryIndex(() if space is None else space.widths), memory)
        if space is None:
            raise ConfigError(
                "a model that was trained without objects and contrast has no vectors to make an index of"
            )
        from mttsg_core.search.lance_index import LanceIndex

        index = LanceIndex(self._folder.folder, space.fingerprint, space.dim, space.widths)
        return _Contents(grounder, space, index, memory)

    def _refresh(self) -> Generator[ReadingEvent, None, None]:
        grounder, model, before = self._grounder, self._model, self._contents
        with nullcontext() if self._folder is None else self._folder.alone():
            contents = self._open(grounder)
            if before.grounder is grounder:
                contents = replace(contents, memory=before.memory)
            if isinstance(contents.index, MemoryIndex) and isinstance(before.index, MemoryIndex):
                if before.grounder is grounder:
                    contents = replace(contents, index=before.index.copy())
            elif self._folder is not None and contents.space is not None:
                named = self._folder.sources
                self._folder = (
                    IndexFolder.prepare(self._folder.folder) if is_index(self._folder.folder) else self._folder
                )
                self._folder = self._folder.extended(named, _model_of(grounder, contents.space, model))
                self._folder.write()
            self.report = yield from refresh_index(contents.index, contents.space, grounder, self.paths, self._workers)
        with self._lock:
            self._contents = contents.updated()


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


def _model_of(grounder: Grounder, space: ClipSpace, model: AnyPath | None) -> IndexModel:
    """Return what the index records of a model."""
    fps = grounder.fingerprint.get("fps")
    folder = None if model is None else str(Path(model).resolve())
    encoder = str(grounder.fingerprint["encoder"])
    return IndexModel(space.fingerprint, folder, encoder, float(fps) if isinstance(fps, int | float) else None)


_Work = Mapping[str, Sequence[int]]  # the numbers of the sentences that each video, by its id, is asked


def _by_video(videos: Sequence[Iterable[str]]) -> _Work:
    """Return the numbers of the sentences of each video, from the ids of the videos of each sentence."""
    work: dict[str, list[int]] = {}
    for number, keys in enumerate(videos):
        for key in keys:
            work.setdefault(key, []).append(number)
    return work


def _likeliest(contents: _Contents, work: _Work, question: Question, videos: int) -> _Work:
    """Return the work that is left when each sentence is asked of so many videos, by a glance at each."""
    counts = Counter(number for numbers in work.values() for number in numbers)
    if max(counts.values(), default=0) <= videos:
        return work
    likely: list[list[tuple[float, str]]] = [[] for _ in question.queries]
    for batch in _loaded(contents, work, _GLANCED_AT_ONCE):
        glances = contents.memory.asker.glance([(encoded, work[key]) for key, encoded in batch], question)
        if glances is None:
            return work
        for (key, _), values in zip(batch, glances, strict=True):
            for number, value in zip(work[key], values.tolist(), strict=True):
                likely[number].append((value, key))
    return _by_video([[key for _, key in nlargest(videos, seen)] for seen in likely])


def _answers(
    contents: _Contents, work: _Work, question: Question, top: int
) -> Iterator[tuple[LibraryVideo, Sequence[int], list[list[Moment]]]]:
    """Yield each video with the numbers of its sentences and their moments. One that fails is warned about."""
    for batch in _loaded(contents, work, _ANSWERED_AT_ONCE):
        items = [(encoded, work[key]) for key, encoded in batch]
        for (key, _), answer in zip(batch, _ground(contents.memory.asker, items, question, top), strict=True):
            if isinstance(answer, FeatureError):
                _log.warning("%s: %s", contents.indexed[key].path, answer)
            else:
                yield contents.videos[key], work[key], answer


def _ground(
    asker: Asker, items: Sequence[tuple[Askable, Sequence[int]]], question: Question, top: int
) -> list[list[list[Moment]] | FeatureError]:
    """Return the moments of each video, or why it failed: then all are tried one by one."""
    try:
        return [*asker.ground(items, question, top)]
    except FeatureError as error:
        if len(items) > 1:
            return [answer for item in items for answer in _ground(asker, [item], question, top)]
        return [error]


def _loaded(contents: _Contents, work: _Work, videos: int) -> Iterator[list[tuple[str, Askable]]]:
    """Yield some videos that have work at a time, by their ids, encoded. One that cannot be read is warned about."""
    waiting = iter(work)
    while batch := list(islice(waiting, videos)):
        encoded = contents.memory.load([contents.indexed[key] for key in batch])
        yield [(key, each) for key, each in zip(batch, encoded, strict=True) if each is not None]
