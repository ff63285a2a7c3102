"""A library of videos that is asked again and again: the model stays loaded, and videos stay encoded in memory."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING

from mttsg_core.encoders.base import Array
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.inference.encoded_videos import Askable
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Timeline
from mttsg_core.search.index import VideoIndex
from mttsg_core.search.index_folder import IndexFolder, IndexModel, is_index
from mttsg_core.search.memory_index import MemoryIndex
from mttsg_core.search.spaces import ClipSpace, clip_space
from mttsg_core.workflows.events import ReadingEvent
from mttsg_core.workflows.index_videos import IndexReport, refresh_index
from mttsg_core.workflows.library_contents import Contents, choose_videos, video_id
from mttsg_core.workflows.library_contents import Hit as Hit
from mttsg_core.workflows.library_contents import LibraryVideo as LibraryVideo
from mttsg_core.workflows.options import AnyPath
from mttsg_core.workflows.steps import iterate
from mttsg_core.workflows.threads import limited_threads
from mttsg_core.workflows.video_memory import VideoMemory

if TYPE_CHECKING:
    from mttsg_core.features.cluster import ClusterOptions

MEMORY = 2 << 30  # bytes of encoded videos that stay in memory; further ones are read and encoded for every sentence
_ENCODED_AT_ONCE = 4  # videos between two looks at whether a sentence waits
_SHOWN_EVERY = 1.0  # seconds between two looks at what has been read, while videos are read


class VideoLibrary:
    """Videos that are found once, and asked many times. Empty until `iter_refresh`, unless it is of an index.

    `ask` and the other questions may come from several threads; they are answered one after the other, and a refresh
    does not make them wait: meanwhile they are asked of what has been read so far, see `reading`.

    Args:
        paths: video files, and folders that are searched for videos; or the folder of an index alone.
        grounder: of a trained model, or without training.
        index: folder of an index that keeps the vectors of clips, begun if it does not exist; None keeps them in
            memory.
        workers: number of videos to read at a time; None for one per core.
        model: folder of the model, for the record of the index; None without training.
        memory: bytes of encoded videos that stay in memory, those that were asked last; None for `MEMORY`. A minute of
            video takes about 0.5 MB, with regions up to 3 MB. What does not fit is read and encoded again for every
            sentence that needs it, which takes about ten times as long as an answer.
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
        memory: int | None = None,
        cluster: ClusterOptions | None = None,
    ) -> None:
        named = [Path(path) for path in paths]
        if index is None and len(named) == 1 and is_index(named[0]):
            index, named = named[0], []
        self._folder = None if index is None else IndexFolder.prepare(Path(index)).extended(named, None)
        self._named = tuple(named)
        self._workers, self._cluster, self._model = workers, cluster, model
        self._memory_bytes = MEMORY if memory is None else memory
        self._lock = RLock()
        self._grounder = grounder
        self._contents = self._open(grounder).updated()
        self.report: IndexReport | None = None  # of the last refresh
        self._at_work: IndexReport | None = None  # of the one that runs

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

    @property
    def reading(self) -> tuple[int, int] | None:
        """While a refresh runs, how many videos can be asked, and how many were found; None otherwise."""
        report = self._at_work
        return None if report is None else (len(self._contents.indexed), max(report.found, len(self._contents.indexed)))

    def video(self, video_id: str) -> LibraryVideo:
        """Return the video with an id. Raises UnknownVideoError if there is none."""
        return self._contents.find(video_id)

    def use(self, grounder: Grounder, *, model: AnyPath | None = None) -> None:
        """Let another model answer once `iter_refresh` has run; until then the one before does."""
        self._grounder, self._model = grounder, model

    def iter_refresh(self) -> Iterator[ReadingEvent]:
        """Find the videos again and extract missing features, which are the events; then questions see the result.

        Unless another model is to answer, they see a new video as soon as it is read, about every second. A video that
        cannot be used is an event and costs no other video.

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
        among: Collection[str] | None = None,
    ) -> list[Hit]:
        """Return the moments of all videos that a sentence describes, the best first; see `ask_many`."""
        [hits] = self.ask_many([query], top, exhaustive=exhaustive, below=below, since=since, among=among)
        return hits

    def ask_many(
        self,
        queries: Sequence[str],
        top: int = 10,
        *,
        exhaustive: bool = False,
        below: AnyPath | None = None,
        since: datetime | None = None,
        among: Collection[str] | None = None,
    ) -> list[list[Hit]]:
        """Return for each of several sentences the moments of all videos that it describes, the best first.

        Of many videos, the network glances at those whose clips fit a sentence best, and answers in those that seem to
        show it, see `stage_sizes`.

        Args:
            queries: the sentences.
            top: number of moments of a sentence, at most.
            exhaustive: let the network answer in every video, however little the video has to do with the sentence.
            below: only videos in this folder, or below it.
            since: only videos that were changed then or later; a time without a zone is one of this computer.
            among: only videos with these ids.

        Raises:
            DataError: if a sentence is empty or has too many words, or `top` is less than 1.
        """
        if top < 1:
            raise DataError(f"top must be at least 1, not {top}")
        if not queries:
            return []
        with self._lock, limited_threads(self.grounder.device):
            contents = self._contents
            chosen = choose_videos(contents.videos.values(), below, since)
            asked = [video.id for video in chosen if among is None or video.id in among]
            return contents.moments(queries, asked, top, exhaustive=exhaustive)

    def likeliest(self, queries: Sequence[str], top: int, paths: Sequence[Path]) -> list[set[Path]]:
        """Return for each sentence the files in which `ask_many` would look for it.

        Args:
            queries: the sentences.
            top: number of moments of a sentence.
            paths: the files to choose from, absolute; those that are not in the library are in no answer.

        Raises:
            DataError: if a sentence is empty or has too many words.
        """
        with self._lock, limited_threads(self.grounder.device):
            contents = self._contents
            question = contents.memory.asker.question(queries)
            known = [key for key in map(video_id, paths) if key in contents.indexed]
            work = contents.likeliest(question, dict.fromkeys(known, range(len(queries))), top)
        likely: list[set[Path]] = [set() for _ in queries]
        for key, numbers in work.items():
            for number in numbers:
                likely[number].add(contents.indexed[key].path)
        return likely

    def encoded(self, path: Path) -> Askable | None:
        """Return the video with an absolute path as the memory holds it, encoded; None if it does not."""
        with self._lock:
            contents = self._contents
            video = contents.indexed.get(video_id(path))
            return None if video is None else contents.memory.held(video)

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
        waiting = [video for video in contents.indexed.values() if contents.memory.held(video) is None]
        for first in range(0, len(waiting), _ENCODED_AT_ONCE):
            with self._lock, limited_threads(self.grounder.device):
                if contents.memory.is_full or contents.memory is not self._contents.memory:
                    return
                contents.memory.load(waiting[first : first + _ENCODED_AT_ONCE])
            yield

    def _open(self, grounder: Grounder) -> Contents:
        """Return the index of a model as it is now."""
        space = clip_space(grounder)
        memory = VideoMemory(grounder, self._memory_bytes)
        if self._folder is None:
            return Contents(grounder, space, MemoryIndex(() if space is None else space.widths), memory)
        if space is None:
            raise ConfigError("a model that was trained without contrast has no vectors to make an index of")
        from mttsg_core.search.lance_index import LanceIndex

        index = LanceIndex(self._folder.folder, space.fingerprint, space.dim, space.widths)
        return Contents(grounder, space, index, memory)

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
            self._at_work = report = IndexReport()
            try:
                steps = refresh_index(
                    contents.index, contents.space, grounder, self.paths, report, self._workers, self._cluster
                )
                yield from self._show_meanwhile(steps, contents, report) if before.grounder is grounder else steps
            finally:
                self._at_work = None
            self.report = report
        with self._lock:
            self._contents = contents.updated()

    def _show_meanwhile(
        self, steps: Generator[ReadingEvent, None, None], contents: Contents, report: IndexReport
    ) -> Generator[ReadingEvent, None, None]:
        """Pass on the steps of a refresh, and let questions see the videos that were added so far."""
        shown, due = 0, 0.0
        with closing(steps):
            for event in steps:
                yield event
                if report.added > shown and monotonic() >= due:
                    began, shown = monotonic(), report.added
                    so_far = replace(contents, index=self._snapshot(contents)).updated()
                    with self._lock:
                        self._contents = so_far
                    due = monotonic() + max(_SHOWN_EVERY, 10 * (monotonic() - began))

    def _snapshot(self, contents: Contents) -> VideoIndex:
        """Return an index of what has been added so far, which can be asked while more is added."""
        return contents.index.copy() if isinstance(contents.index, MemoryIndex) else self._open(contents.grounder).index


def _model_of(grounder: Grounder, space: ClipSpace, model: AnyPath | None) -> IndexModel:
    """Return what the index records of a model."""
    fps = grounder.fingerprint.get("fps")
    folder = None if model is None else str(Path(model).resolve())
    encoder = str(grounder.fingerprint["encoder"])
    return IndexModel(space.fingerprint, folder, encoder, float(fps) if isinstance(fps, int | float) else None)
