"""Many videos and sentences at once: features are extracted while the first videos are already grounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mttsg_core.data.file_index import FeatureIndex
from mttsg_core.encoders.base import Array
from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features import store
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
    ExtractionProgress,
)
from mttsg_core.features.store import FeatureStore, VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.moments import Moment, Timeline
from mttsg_core.utils.files import without_suffix
from mttsg_core.video.discovery import VIDEO_SUFFIXES, VideoFile
from mttsg_core.video.probe import probe
from mttsg_core.workflows.events import InputFailed, ProgressAdvanced, ProgressStarted, Warned
from mttsg_core.workflows.extract import extract_jobs
from mttsg_core.workflows.options import AnyPath
from mttsg_core.workflows.steps import iterate
from mttsg_core.workflows.threads import limited_threads
from mttsg_core.workflows.unfamiliar import VideoWarnings, warn_of_queries

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


_ExtractionEvent: TypeAlias = (
    ProgressStarted
    | ProgressAdvanced
    | Extracted
    | ExtractionProgress
    | ExtractionFailed
    | ExtractionPassedOver
    | InputFailed
)
GroundEvent: TypeAlias = _ExtractionEvent | Warned | VideoGrounded
_Batches: TypeAlias = Iterator[_ExtractionEvent | list[_ReadVideo]]


def iter_ground(
    grounder: Grounder,
    queries: Mapping[VideoFile, Sequence[str]],
    top: int = 1,
    *,
    features: AnyPath | None = None,
    workers: int | None = None,
    with_saliency: bool = False,
) -> Generator[GroundEvent, None, None]:
    """Ground sentences in videos, each video as soon as its features and those of the videos before it are available.

    A video that cannot be used is an event and costs no other video.

    Args:
        grounder: of a trained model, or without training.
        queries: the sentences of each video.
        top: number of moments per sentence, at most.
        features: folder (or HDF5 file) of external features; None reads the videos, through the cache.
        workers: number of videos to read at a time; None for one per core.
        with_saliency: compute the saliency of every clip as well.

    Raises:
        FeatureError: if the model expects external features and there are none.
        MttsgError: if a file cannot be written.
    """
    batches = (
        _Extraction(grounder, queries, workers).batches()
        if features is None
        else _find_features(Path(features), list(queries))
    )
    for event in iterate(_ground(grounder, queries, top, batches, with_saliency=with_saliency)):
        if event is not None:
            yield event


def _ground(
    grounder: Grounder,
    queries: Mapping[VideoFile, Sequence[str]],
    top: int,
    batches: _Batches,
    *,
    with_saliency: bool,
) -> Generator[GroundEvent, None, None]:
    unfamiliar = VideoWarnings(grounder.predictor.familiarity)
    yield from warn_of_queries(grounder.predictor.familiarity, (query for own in queries.values() for query in own))
    reading = done = 0  # videos that are left to read, and those that are answered
    has_bar = False
    with limited_threads(grounder.device):
        for batch in batches:
            if not isinstance(batch, list):
                reading += _videos_to_read(batch)
                yield batch
                if isinstance(batch, InputFailed):
                    done += 1
                    if has_bar:
                        yield ProgressAdvanced("grounding")
                continue
            # While videos are read, that is what takes the time; a bar of one video would not move.
            if batch and not reading and not has_bar and len(queries) > 1:
                yield ProgressStarted("grounding", len(queries), done)
                has_bar = True
            for part in _parts(batch, queries):
                for (video, features), moments in zip(part, _ground_batch(grounder, queries, part, top), strict=True):
                    if isinstance(moments, InputFailed):
                        yield moments
                    else:
                        yield from unfamiliar.check(video, features.clips)
                        sentences = queries[video]
                        saliency = grounder.saliency(features, sentences) if with_saliency else None
                        yield VideoGrounded(video, sentences, moments, features.timeline, saliency)
                    done += 1
                    if has_bar:
                        yield ProgressAdvanced("grounding")
        yield from unfamiliar.rest()


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


def _ground_batch(
    grounder: Grounder, queries: Mapping[VideoFile, Sequence[str]], batch: list[_ReadVideo], top: int
) -> list[list[list[Moment]] | InputFailed]:
    """Return the moments of each video, or why it failed. Where a batch fails, its videos are tried one by one."""
    try:
        return [*grounder.ground_many(((features, queries[video]) for video, features in batch), top)]
    except FeatureError as error:
        if len(batch) > 1:
            return [moments for item in batch for moments in _ground_batch(grounder, queries, [item], top)]
        return [InputFailed(f"{batch[0][0].path}: {error}")]


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
        targets: dict[VideoFile, Path] = {}
        for video in self._videos:
            try:
                targets[video] = self._grounder.cache.path(video.path, self._grounder.fingerprint)
            except VideoError as error:
                yield InputFailed(str(error))
        by_path = {video.path: video for video, target in targets.items() if not target.is_file()}
        self._extracted = {video: True for video in targets if video.path not in by_path}
        jobs = [
            ExtractionJob(
                path, targets[video], video.from_folder, targets[video].stem, self._grounder.cache.partial_folder
            )
            for path, video in by_path.items()
        ]
        batch: list[_ReadVideo] = []
        with closing(extract_jobs(jobs, settings, workers=self._workers)) as extraction:
            for video, target in targets.items():
                if len(batch) == _BATCH_VIDEOS or video not in self._extracted:
                    yield batch
                    batch = []
                while video not in self._extracted:
                    event = next(extraction)
                    if isinstance(event, ProgressStarted | ExtractionProgress):
                        yield event
                        continue
                    unwritten = (
                        isinstance(event, ExtractionFailed) and event.unwritten
                    )  # then read for this answer alone
                    self._extracted[by_path[event.job.video]] = unwritten or isinstance(event, Extracted)
                    yield ProgressAdvanced("extraction") if unwritten else event
                if not self._extracted[video]:
                    continue
                try:
                    batch.append((video, self._read(target, video)))
                except VideoError as error:
                    yield InputFailed(str(error))
            yield batch

    def _read(self, target: Path, video: VideoFile) -> VideoFeatures:
        """Read features from the cache; missing or damaged ones are extracted now. Raises VideoError if that fails."""
        try:
            return store.read_features(target)
        except FeatureError:
            return self._grounder.features_of(video.path)


def _find_features(folder: Path, videos: Sequence[VideoFile]) -> _Batches:
    """Yield videos with their external features, one at a time; the video files themselves need not exist."""
    index = FeatureIndex(folder)
    stems = Counter(video.name.stem for video in videos)
    for video in videos:
        name = video.name.as_posix()
        names = [name, without_suffix(name, VIDEO_SUFFIXES)]
        match = index.find([*names, video.name.stem] if stems[video.name.stem] == 1 else names)
        if match is None or match.path is None:
            yield InputFailed(f"{video.path}: {f'no features in {folder}' if match is None else match.reason}")
            continue
        try:
            durations = {match.key: probe(video.path).duration} if video.path.is_file() else {}
            yield [(video, FeatureStore({match.key: match.path}, durations).load(match.key))]
        except (FeatureError, VideoError) as error:
            yield InputFailed(str(error))
