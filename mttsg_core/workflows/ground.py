"""Many videos and sentences at once: features are extracted while the first videos are already grounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from mttsg_core.data.file_index import open_index
from mttsg_core.data.nearby_durations import NearbyDurations
from mttsg_core.encoders.base import Array
from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features import store
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
)
from mttsg_core.features.jobs import Cause
from mttsg_core.features.store import FeatureStore, VideoFeatures
from mttsg_core.features.streams import FeaturePlaces, FeatureStream, StreamReader, parse_streams
from mttsg_core.inference.encoded_videos import asker
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Moment, Timeline
from mttsg_core.utils.files import without_suffix
from mttsg_core.video.discovery import TOO_SHORT, VIDEO_SUFFIXES, VideoFile, is_too_short
from mttsg_core.video.probe import probe
from mttsg_core.workflows.all_or_each import all_or_each
from mttsg_core.workflows.events import InputFailed, Noted, ProgressAdvanced, ProgressStarted, ReadingEvent, Warned
from mttsg_core.workflows.extract import extract_jobs
from mttsg_core.workflows.narrowing import Narrowing, Queries
from mttsg_core.workflows.steps import iterate
from mttsg_core.workflows.threads import limited_threads
from mttsg_core.workflows.unfamiliar import VideoWarnings, warn_of_queries

_KEPT_BYTES = 256 << 20  # of features that stay in memory for further parts of the sentences
_PART_SENTENCES = 256  # that are grounded together, of all videos of a batch; more are not faster
_BATCH_VIDEOS = 16  # videos with cached features that are grounded together; a larger batch is not faster

_ReadVideo: TypeAlias = tuple[VideoFile, VideoFeatures]


@dataclass(frozen=True)
class VideoGrounded:
    """The moments of one video.

    Attributes:
        video: the video.
        queries: the sentences.
        moments: for each sentence its moments, the best first.
        timeline: seconds of the clips of the video.
        saliency: for each sentence (T,) the probability that a clip is in its moment; None unless `with_saliency`.
    """

    video: VideoFile
    queries: Sequence[str]
    moments: Sequence[Sequence[Moment]]
    timeline: Timeline
    saliency: Sequence[Array] | None = None


@dataclass(frozen=True)
class VideoPassedOver:
    """A file found in a folder is not searched, although its features exist: it is too short, for example."""

    video: VideoFile
    reason: str


_ExtractionEvent: TypeAlias = ReadingEvent | VideoPassedOver
GroundEvent: TypeAlias = _ExtractionEvent | Warned | Noted | VideoGrounded
_Batches: TypeAlias = Iterator[_ExtractionEvent | list[_ReadVideo]]


def iter_ground(
    grounder: Grounder,
    queries: Mapping[VideoFile, Sequence[str]],
    top: int = 1,
    *,
    features: FeaturePlaces | None = None,
    duration: float | None = None,
    workers: int | None = None,
    with_saliency: bool = False,
) -> Generator[GroundEvent, None, None]:
    """Ground sentences in videos, each video as soon as its features and those of the videos before it are available.

    A video that cannot be used is an event and costs no other video.

    Args:
        grounder: of a trained model, or without training.
        queries: the sentences of each video.
        top: number of moments per sentence, at most.
        features: folder (or HDF5 file) of external features, or several, of a stream each; None reads the videos,
            through the cache.
        duration: seconds of the videos with external features, where their files are not at hand; None takes what the
            data folder around the features states.
        workers: number of videos to read at a time; None for one per core.
        with_saliency: compute the saliency of every clip as well.

    Raises:
        FeatureError: if the model expects external features and there are none.
        MttsgError: if a file cannot be written.
    """
    run = GroundRun(grounder, top, features=features, duration=duration, workers=workers, with_saliency=with_saliency)
    yield from run.iter_part(queries)


class GroundRun:
    """Grounds many sentences, one part of them after the other; arguments and errors are those of `iter_ground`.

    With a `narrowing`, sentences are asked of the videos only that it leaves them.

    A video that failed is left out of the parts that follow. Features of the others stay in memory for them, if those
    of all videos are small enough.
    """

    def __init__(
        self,
        grounder: Grounder,
        top: int = 1,
        *,
        features: FeaturePlaces | None = None,
        duration: float | None = None,
        workers: int | None = None,
        with_saliency: bool = False,
        narrowing: Narrowing | None = None,
    ) -> None:
        self._grounder, self._asker = grounder, asker(grounder)
        self._narrowing, self._top = narrowing, top
        self._streams = None if features is None else parse_streams(features)
        self._duration, self._workers = duration, workers
        self._with_saliency = with_saliency
        self._failed: set[VideoFile] = set()
        self._kept: dict[VideoFile, VideoFeatures] = {}
        self._room = _KEPT_BYTES
        self._unfamiliar = VideoWarnings(
            grounder.predictor.familiarity, shows_scores=grounder.predictor.has_comparable_scores
        )

    def iter_part(
        self, queries: Mapping[VideoFile, Sequence[str]], *, is_last: bool = True
    ) -> Generator[GroundEvent, None, None]:
        """Yield what `iter_ground` does for some of the sentences. `is_last` tells that no part follows."""
        asked = {video: sentences for video, sentences in queries.items() if video not in self._failed}
        yield from (event for event in iterate(self._narrow_and_ground(asked, keep=not is_last)) if event is not None)

    def _narrow_and_ground(self, queries: Queries, *, keep: bool) -> Generator[GroundEvent, None, None]:
        """Ground sentences in the videos that are worth it, and remember the videos that failed."""
        if self._narrowing is not None:
            narrowing: Generator[_ExtractionEvent | Noted, None, Queries]
            narrowing = self._narrowing.narrow(queries, self._batches)
            with limited_threads(self._grounder.device):
                queries = yield from narrowing
        grounded: set[VideoFile] = set()
        event: GroundEvent
        for event in self._ground(queries, keep=keep):
            if isinstance(event, VideoGrounded):
                grounded.add(event.video)
            yield event
        self._failed |= queries.keys() - grounded

    def _ground(self, queries: Mapping[VideoFile, Sequence[str]], *, keep: bool) -> Generator[GroundEvent, None, None]:
        yield from warn_of_queries(
            self._grounder.predictor.familiarity,
            (query for own in queries.values() for query in own),
            shows_scores=self._grounder.predictor.has_comparable_scores,
        )
        is_long = sum(map(len, queries.values())) > _PART_SENTENCES
        bar = _AnswerBar(len(queries), is_shown=is_long and len(queries) > 1 and not keep and not self._kept)
        with limited_threads(self._grounder.device):
            for batch in self._batches(queries):
                if not isinstance(batch, list):
                    yield batch
                    yield from bar.follow(batch)
                    continue
                yield from bar.start(batch)
                for part in _parts(batch, queries):
                    answers = self._moments(part, queries)
                    for (video, features), moments in zip(part, answers, strict=True):
                        yield from self._answered(video, features, queries[video], moments)
                        yield from bar.advance()
                if keep:
                    self._keep(batch)
            if not keep:
                yield from self._unfamiliar.rest()

    def _answered(
        self,
        video: VideoFile,
        features: VideoFeatures,
        sentences: Sequence[str],
        moments: list[list[Moment]] | InputFailed,
    ) -> Iterator[GroundEvent]:
        """Yield the moments of a video with its warnings, or why there are none."""
        if isinstance(moments, InputFailed):
            yield moments
            return
        yield from self._unfamiliar.check(video, features.clips)
        saliency = self._grounder.saliency(features, sentences) if self._with_saliency else None
        yield VideoGrounded(video, sentences, moments, features.timeline, saliency)

    def _moments(self, batch: list[_ReadVideo], queries: Queries) -> list[list[list[Moment]] | InputFailed]:
        """Return the moments of each video, or why it failed; those that are encoded already are not encoded again."""
        encoded = {video: self._narrowing.encoded(video) for video, _ in batch} if self._narrowing is not None else {}
        asked = {video: ready for video, ready in encoded.items() if ready is not None}
        new = [(video, features) for video, features in batch if video not in asked]
        items = [(features, queries[video]) for video, features in new]
        grounded = all_or_each(lambda some: self._grounder.ground_many(some, self._top), items)
        found = dict(zip((video for video, _ in new), grounded, strict=True))
        if asked:
            number = {
                text: place for place, text in enumerate(dict.fromkeys(chain(*(queries[each] for each in asked))))
            }
            question = self._asker.question([*number])
            again = [(ready, [number[text] for text in queries[video]]) for video, ready in asked.items()]
            answers = all_or_each(lambda some: self._asker.ground(some, question, self._top), again)
            found |= zip(asked, answers, strict=True)
        return [
            InputFailed(f"{video.path}: {moments}") if isinstance(moments := found[video], FeatureError) else moments
            for video, _ in batch
        ]

    def _batches(self, videos: Mapping[VideoFile, object]) -> _Batches:
        """Yield videos with their features, and what happens while those are read."""
        if self._kept.keys() >= videos.keys():
            read = [(video, self._kept[video]) for video in videos]
            return (read[first : first + _BATCH_VIDEOS] for first in range(0, len(read), _BATCH_VIDEOS))
        if self._streams is None:
            return _Extraction(self._grounder, videos, self._workers).batches()
        return _find_features(self._streams, list(videos), self._duration)

    def _keep(self, batch: list[_ReadVideo]) -> None:
        """Keep features for the next part; none at all if they are too many."""
        for video, features in batch:
            if video not in self._kept:
                self._kept[video] = features
                self._room -= features.nbytes
        if self._room < 0:
            self._kept.clear()


class _AnswerBar:
    """The bar of the videos that are answered. While videos are read, it is that which takes the time, and has a bar.

    Args:
        videos: number of them.
        is_shown: whether there is a bar at all.
    """

    def __init__(self, videos: int, *, is_shown: bool) -> None:
        self._videos = videos
        self._is_shown = is_shown
        self._has_started = False
        self._reading = self._done = 0

    def follow(self, event: _ExtractionEvent) -> Iterator[ProgressAdvanced]:
        """Take in an event of the reading."""
        self._reading += _videos_to_read(event)
        if isinstance(event, InputFailed):
            yield from self.advance()

    def start(self, batch: Sequence[object]) -> Iterator[ProgressStarted]:
        """Start the bar before a batch is answered, unless videos are still read."""
        if self._is_shown and batch and not self._reading and not self._has_started:
            self._has_started = True
            yield ProgressStarted("grounding", self._videos, self._done)

    def advance(self) -> Iterator[ProgressAdvanced]:
        """Count a video as answered."""
        self._done += 1
        if self._has_started:
            yield ProgressAdvanced("grounding")


def _videos_to_read(event: _ExtractionEvent) -> int:
    """Return by how much an event changes the number of videos that are left to read."""
    if isinstance(event, ProgressStarted):
        return event.total
    if isinstance(event, ProgressAdvanced):
        return -event.steps
    return -isinstance(event, Extracted | ExtractionFailed | ExtractionPassedOver)


def _parts(batch: list[_ReadVideo], queries: Mapping[VideoFile, Sequence[str]]) -> Iterator[list[_ReadVideo]]:
    """Divide a batch into parts with few sentences, so that something moves while many are answered."""
    part: list[_ReadVideo] = []
    sentences = 0
    for item in batch:
        sentences += len(queries[item[0]])
        part.append(item)
        if sentences >= _PART_SENTENCES:
            yield part
            part, sentences = [], 0
    if part:
        yield part


class _Extraction:
    """Videos and their features, through the cache: only missing features are extracted.

    Args:
        grounder: for which features are extracted.
        videos: in the order in which to return them.
        workers: number of videos to read at a time; None for one per core.
    """

    def __init__(self, grounder: Grounder, videos: Mapping[VideoFile, object], workers: int | None) -> None:
        self._grounder = grounder
        self._videos = list(videos)
        self._workers = workers
        self._extracted: dict[VideoFile, bool] = {}  # whether the features of a video now exist

    def batches(self) -> _Batches:
        """Yield batches of videos in order, each as soon as it can be read, and what happens meanwhile."""
        settings = self._grounder.extraction_settings()
        targets = yield from self._find_targets()
        missing = {video.path: video for video, target in targets.items() if not target.is_file()}
        self._extracted = {video: True for video in targets if video.path not in missing}
        jobs = [
            ExtractionJob(
                path, targets[video], video.from_folder, targets[video].stem, self._grounder.cache.partial_folder
            )
            for path, video in missing.items()
        ]
        batch: list[_ReadVideo] = []
        with closing(extract_jobs(jobs, settings, workers=self._workers)) as extraction:
            for video, target in targets.items():
                if len(batch) == _BATCH_VIDEOS or video not in self._extracted:
                    yield batch
                    batch = []
                yield from self._wait_for(video, extraction, missing)
                if not self._extracted[video]:
                    continue
                try:
                    features = self._read(target, video)
                except VideoError as error:
                    yield InputFailed(str(error))
                    continue
                if video.from_folder and is_too_short(features.duration):
                    yield VideoPassedOver(video, TOO_SHORT)
                else:
                    batch.append((video, features))
            yield batch

    def _find_targets(self) -> Generator[InputFailed, None, dict[VideoFile, Path]]:
        """Return the place of each video in the cache; videos that cannot be read are events."""
        targets: dict[VideoFile, Path] = {}
        for video in self._videos:
            try:
                targets[video] = self._grounder.cache_path(video.path)
            except VideoError as error:
                yield InputFailed(str(error))
        return targets

    def _wait_for(
        self, video: VideoFile, extraction: Iterator[_ExtractionEvent], missing: Mapping[Path, VideoFile]
    ) -> Iterator[_ExtractionEvent]:
        """Yield the events of the extraction until the video is done. `missing` has the videos that are extracted."""
        while video not in self._extracted:
            event = next(extraction)
            if isinstance(event, Extracted | ExtractionFailed | ExtractionPassedOver):
                unwritten = isinstance(event, ExtractionFailed) and event.cause is Cause.UNWRITTEN
                self._extracted[missing[event.job.video]] = unwritten or isinstance(event, Extracted)
                if unwritten:  # then read for this answer alone
                    event = ProgressAdvanced("extraction")
            yield event

    def _read(self, target: Path, video: VideoFile) -> VideoFeatures:
        """Read features from the cache; missing or damaged ones are extracted now. Raises VideoError if that fails."""
        try:
            return self._grounder.adapt(store.read_features(target))
        except FeatureError:
            return self._grounder.features_of(video.path)


def _find_features(streams: Sequence[FeatureStream], videos: Sequence[VideoFile], duration: float | None) -> _Batches:
    """Yield videos with their external features, one at a time; the video files themselves need not exist."""
    index = open_index(streams)
    folder = streams[0].folder
    nearby = NearbyDurations(folder)
    stems = Counter(video.name.stem for video in videos)
    for video in videos:
        name = video.name.as_posix()
        names = [name, without_suffix(name, VIDEO_SUFFIXES)]
        match = index.find([*names, video.name.stem] if stems[video.name.stem] == 1 else names)
        if match is None or match.path is None:
            yield InputFailed(f"{video.path}: {f'no features in {folder}' if match is None else match.reason}")
            continue
        try:
            seconds = probe(video.path).duration if video.path.is_file() else duration or nearby.get(names)
            durations = {} if seconds is None else {match.key: seconds}
            reader = StreamReader({match.key: match.streams})
            yield [(video, FeatureStore({match.key: match.path}, durations, read=reader).load(match.key))]
        except (FeatureError, VideoError) as error:
            yield InputFailed(str(error))
