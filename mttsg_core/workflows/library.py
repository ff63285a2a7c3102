"""A library of videos that is asked again and again: the model stays loaded, features in the cache and in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from heapq import nlargest
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from mttsg_core.encoders.base import Array
from mttsg_core.errors import ConfigError, DataError, FeatureError, UnknownVideoError, VideoError
from mttsg_core.features.store import FeatureStore, VideoFeatures, read_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Moment, Timeline
from mttsg_core.search.index import IndexedVideo, VideoIndex
from mttsg_core.search.index_folder import IndexFolder, IndexModel, is_index
from mttsg_core.search.memory_index import MemoryIndex
from mttsg_core.search.shortlist import shortlist_size
from mttsg_core.search.spaces import ClipSpace, clip_space
from mttsg_core.workflows.events import ReadingEvent
from mttsg_core.workflows.ground_batches import ground_batch
from mttsg_core.workflows.index_videos import IndexReport, refresh_index
from mttsg_core.workflows.options import AnyPath
from mttsg_core.workflows.steps import iterate
from mttsg_core.workflows.threads import limited_threads

if TYPE_CHECKING:
    from mttsg_core.features.cluster import ClusterOptions

_MEMORY = 1 << 30  # bytes of features that stay in memory; those of further videos are read from the cache again
_BATCH_VIDEOS = 16  # videos that are answered together; a larger batch is not faster

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
        indexed: what the index says of each video, by id.
    """

    grounder: Grounder
    space: ClipSpace | None
    index: VideoIndex
    indexed: Mapping[str, IndexedVideo] = field(default_factory=dict)

    @cached_property
    def videos(self) -> Mapping[str, LibraryVideo]:
        """All videos by id."""
        return {
            key: LibraryVideo(key, video.path, video.name, video.duration, video.modified_ns / 1e9)
            for key, video in self.indexed.items()
        }

    @cached_property
    def features(self) -> FeatureStore:
        """Features by the id of their video."""
        folder = self.grounder.cache.folder
        files = {key: folder / video.features for key, video in self.indexed.items()}
        return FeatureStore(files, max_bytes=_MEMORY, read=lambda path, _: self.grounder.adapt(read_features(path)))

    def updated(self) -> _Contents:
        """Return the contents with the videos that the index has now."""
        return replace(self, indexed={video_id(video.path): video for video in self.index.videos()})

    def find(self, key: str) -> LibraryVideo:
        """Return a video by id. Raises UnknownVideoError if there is none."""
        if key not in self.videos:
            raise UnknownVideoError(f"no video has the id {key[:40]!r}")
        return self.videos[key]

    def read(self, video: LibraryVideo) -> VideoFeatures:
        """Return features from memory or the cache; missing or damaged ones are extracted now, if they can be."""
        try:
            return self.features.load(video.id)
        except FeatureError:
            return self.grounder.features_of(video.path)


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
        cluster: reads new videos in place of this computer, with one worker for each of its CPUs if `workers` is None.

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
        cluster: ClusterOptions | None = None,
    ) -> None:
        named = [Path(path) for path in paths]
        if index is None and len(named) == 1 and is_index(named[0]):
            index, named = named[0], []
        self._folder = None if index is None else IndexFolder.prepare(Path(index)).extended(named, None)
        self._named = tuple(named)
        self._workers, self._cluster, self._model = workers, cluster, model
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

        Of many videos, the network answers in those whose clips fit a sentence best, see `shortlist_size`.

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
            contents.grounder.encode_queries(queries)  # wrong sentences are an error even where there are no videos
            asked = choose_videos(contents.videos.values(), below, since)
            found: list[list[Hit]] = [[] for _ in queries]
            size = len(asked) if exhaustive else shortlist_size(len(asked), top)
            work: _Work = dict.fromkeys(asked, range(len(queries)))
            if size < len(asked):
                likely = self.likely(queries, size, [video.path for video in asked])
                work = {video: [n for n, paths in enumerate(likely) if video.path in paths] for video in asked}
            for video, numbers, answers in _answers(contents, work, queries, top):
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
            copies: dict[str, list[Path]] = {}
            for video in map(contents.indexed.get, map(video_id, paths)):
                if video is not None:
                    copies.setdefault(video.identity, []).append(video.path)
            among = None if len(paths) == len(contents.indexed) else copies.keys()
            ranked = contents.index.rank(contents.space.sentences(queries), videos, among)
        return [{path for identity in found for path in copies.get(identity, ())} for found in ranked]

    def saliency(self, video_id: str, query: str) -> tuple[Timeline, Array]:
        """Return the clips of a video in seconds, and (T,) for each the probability that it is in the moment.

        Raises:
            UnknownVideoError: if there is no such video.
            VideoError, FeatureError: if its features are gone and cannot be extracted again.
            DataError: if the sentence is empty or has too many words.
        """
        with self._lock, limited_threads(self.grounder.device):
            contents = self._contents
            features = contents.read(contents.find(video_id))
            return features.timeline, contents.grounder.saliency(features, query)

    def _open(self, grounder: Grounder) -> _Contents:
        """Return the index of a model as it is now."""
        space = clip_space(grounder)
        if self._folder is None:
            return _Contents(grounder, space, MemoryIndex(() if space is None else space.widths))
        if space is None:
            raise ConfigError(
                "a model that was trained without objects and contrast has no vectors to make an index of"
            )
        from mttsg_core.search.lance_index import LanceIndex

        return _Contents(grounder, space, LanceIndex(self._folder.folder, space.fingerprint, space.dim, space.widths))

    def _refresh(self) -> Generator[ReadingEvent, None, None]:
        grounder, model, before = self._grounder, self._model, self._contents
        with nullcontext() if self._folder is None else self._folder.alone():
            contents = self._open(grounder)
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
            self.report = yield from refresh_index(
                contents.index, contents.space, grounder, self.paths, self._workers, self._cluster
            )
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


_Work = Mapping[LibraryVideo, Sequence[int]]  # the numbers of the sentences that each video is asked


def _answers(
    contents: _Contents, work: _Work, queries: Sequence[str], top: int
) -> Iterator[tuple[LibraryVideo, Sequence[int], list[list[Moment]]]]:
    """Yield each video with the numbers of its sentences and their moments. One that fails is warned about."""
    readable = _readable(contents, [video for video, numbers in work.items() if numbers])
    while batch := list(islice(readable, _BATCH_VIDEOS)):
        items = [(features, [queries[number] for number in work[video]]) for video, features in batch]
        for (video, _), answer in zip(batch, ground_batch(contents.grounder, items, top), strict=True):
            if isinstance(answer, FeatureError):
                _log.warning("%s: %s", video.path, answer)
            else:
                yield video, work[video], answer


def _readable(contents: _Contents, videos: Iterable[LibraryVideo]) -> Iterator[tuple[LibraryVideo, VideoFeatures]]:
    """Yield videos with their features. One whose features are lost, and that is gone itself, is warned about."""
    for video in videos:
        try:
            yield video, contents.read(video)
        except (VideoError, FeatureError) as error:
            _log.warning("%s", error)
