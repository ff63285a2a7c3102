"""The library behind the page, the models that may answer, and the thread that reads new videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from threading import Event, Lock, Thread

from mttsg_core.checkpoints.summary import summarise
from mttsg_core.errors import DataError, MttsgError
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.ranking import WEAK_SCORE
from mttsg_core.moments import Moment
from mttsg_core.server.progress import Progress
from mttsg_core.utils.text import normalise, visible_text
from mttsg_core.workflows.events import Warned
from mttsg_core.workflows.library import Hit, VideoLibrary
from mttsg_core.workflows.library_contents import choose_videos
from mttsg_core.workflows.loading import load_trained
from mttsg_core.workflows.options import FeatureOptions, RuntimeOptions
from mttsg_core.workflows.unfamiliar import warn_of_queries

_ASKED = 3  # moments that the library is asked for in place of each, as many of them are in one place
_SAME = 0.4  # share of the shorter of two moments in one place
_PATIENCE = 5.0  # seconds that the end of the server waits for the reading to stop


@dataclass(frozen=True)
class LoadedModel:
    """A model that may answer.

    Attributes:
        grounder: asks it.
        about: what it is, in one line.
        folder: of the model; None without training.
    """

    grounder: Grounder
    about: str
    folder: Path | None = None


@dataclass(frozen=True)
class Answer:
    """What a sentence found.

    Attributes:
        hits: the best moments, the best first.
        about: the model that answered.
        weak_below: scores that are rather wrong than right; None where scores do not compare across videos.
        warnings: about the sentence.
        reading: while videos are read, how many were asked, and how many were found; None otherwise.
    """

    hits: list[Hit]
    about: str
    weak_below: float | None
    warnings: list[str]
    reading: tuple[int, int] | None = None


class Searcher:
    """Asks a library, with one of several models; new videos are read in a thread of their own.

    Args:
        library: to ask.
        model: that answers at first, the grounder of the library.
        runtime: for models that are loaded later.
        on_event: is given every event of the reading, in its thread.

    Attributes:
        library: as given.
        models: all that may answer, the oldest first.
        progress: of the reading; None while nothing is read.
        problems: lines about videos that could not be used when they were read last.
    """

    def __init__(
        self,
        library: VideoLibrary,
        model: LoadedModel,
        runtime: RuntimeOptions,
        on_event: Callable[[object], object] = lambda event: None,
    ) -> None:
        self.library = library
        self.models = [model]
        self.progress: Progress | None = None
        self.problems: tuple[str, ...] = ()
        self._runtime = runtime
        self._on_event = on_event
        self._reader: Thread | None = None
        self._is_due = False  # whether to read once more, since something changed meanwhile
        self._closing = Event()
        self._lock = Lock()

    @property
    def model(self) -> LoadedModel:
        """The model that answers now: a new one does once its features exist."""
        grounder = self.library.grounder
        return next(model for model in self.models if model.grounder is grounder)

    def ask(self, query: str, top: int, folder: str = "", since: str = "") -> Answer:
        """Return the best moments of all videos, each once: of those in one place the best.

        Args:
            query: the sentence.
            top: number of moments, at most.
            folder: only videos in this one of `folders`, or below it; empty for all.
            since: only videos that were changed on this date (2026-01-31) or later; empty for all.

        Raises:
            DataError: if the sentence is empty, or too long, or no video is in the folder or as new as the date.
        """
        query = clean_sentence(query)
        among = self._chosen(folder, since) if folder or since else None
        while True:
            model = self.model
            reading = self.library.reading
            hits = self.library.ask(query, _ASKED * top, among=among)
            if model is self.model:  # else another one has begun to answer meanwhile
                break
        predictor = model.grounder.predictor
        events = warn_of_queries(predictor.familiarity, [query], shows_scores=predictor.has_comparable_scores)
        warnings = [event.text for event in events]
        weak_below = WEAK_SCORE if predictor.has_comparable_scores else None
        return Answer(_distinct(hits)[:top], model.about, weak_below, warnings, reading)

    def folders(self) -> list[str]:
        """Return the folders of all videos, and those above them, relative to what is searched, as they are shown."""
        parents = {parent for video in self.library.videos for parent in PurePosixPath(video.name).parents}
        return sorted(visible_text(str(parent)) for parent in parents if parent != PurePosixPath("."))

    def _chosen(self, folder: str, since: str) -> set[str]:
        """Return the ids of the videos in a folder that were changed at a date or later. Raises DataError if none."""
        try:
            earliest = datetime.fromisoformat(since) if since else None
        except ValueError as error:
            raise DataError("a date is written as in 2026-01-31") from error
        prefix = folder.strip("/") + "/"
        chosen = {
            video.id
            for video in choose_videos(self.library.videos, since=earliest)
            if not folder or visible_text(video.name).startswith(prefix)
        }
        if not chosen:
            raise DataError("no video is in that folder and was changed since then")
        return chosen

    def load_model(self, folder: Path) -> None:
        """Load a trained model and let it answer once the features that it needs exist.

        Raises:
            MttsgError: if it cannot be loaded.
        """
        grounder = load_trained(folder, FeatureOptions(), self._runtime)
        self.models.append(LoadedModel(grounder, summarise(folder).describe(), folder))
        self.use(len(self.models) - 1)

    def use(self, index: int) -> None:
        """Let one of `models` answer. Raises DataError if there is none with that index."""
        if not 0 <= index < len(self.models):
            raise DataError(f"no model {index}")
        model = self.models[index]
        self.library.use(model.grounder, model=model.folder)
        self.start_reading()

    def start_reading(self) -> None:
        """Look for videos that are new or have changed, in another thread."""
        with self._lock:
            self.progress = Progress()
            if self._reader is not None and self._reader.is_alive():
                self._is_due = True
                return
            self._reader = Thread(target=self._read, name="mttsg-reading", daemon=True)
            self._reader.start()

    def wait(self) -> None:
        """Wait until all videos are read."""
        reader = self._reader
        if reader is not None:
            reader.join()

    def close(self) -> None:
        """Stop the reading; what has been read is kept."""
        self._closing.set()
        reader = self._reader
        if reader is not None:
            reader.join(_PATIENCE)

    def _read(self) -> None:
        while True:
            self._read_once()
            with self._lock:
                if not self._is_due:
                    self.progress = None
            for _ in self.library.iter_encode():  # so that the first answers are quick, too
                if self._is_due or self._closing.is_set():
                    break
            with self._lock:
                if not self._is_due or self._closing.is_set():
                    self.progress = None
                    self._reader = None
                    return
                self._is_due = False

    def _read_once(self) -> None:
        self.progress = progress = Progress()
        try:
            for event in self.library.iter_refresh():
                if self._closing.is_set():
                    return
                self.progress = progress = progress.after(event)
                self._on_event(event)
        except MttsgError as error:
            failure = Warned(str(error))
            progress = progress.after(failure)
            self._on_event(failure)
        self.problems = progress.warnings


def _distinct(hits: Sequence[Hit]) -> list[Hit]:
    """Return hits without those that share most of the shorter moment with a better one of the same video."""
    kept: dict[str, list[Hit]] = {}
    distinct = []
    for hit in hits:
        others = kept.setdefault(hit.video.id, [])
        if not any(_is_same(hit.moment, other.moment) for other in others):
            others.append(hit)
            distinct.append(hit)
    return distinct


def _is_same(one: Moment, other: Moment) -> bool:
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared > _SAME * min(one.duration, other.duration)


def clean_sentence(query: str) -> str:
    """Return a sentence as rows and models take it. Raises DataError if there is none, or it is not text."""
    query = normalise(query.strip())
    if not query:
        raise DataError("a sentence must have at least one word")
    try:
        query.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError("the sentence contains half of a character") from None
    return query
