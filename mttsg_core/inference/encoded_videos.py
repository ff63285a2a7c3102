"""Videos that are asked again and again: each is encoded once, and further sentences are asked of what that gave.

`Grounder` encodes the videos that it is given, for all of their sentences. In a library a sentence is asked of many
videos, and encoding one of them takes ten times as long as an answer in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mttsg_core.data.batch import VideoItem, collate, pad_arrays
from mttsg_core.encoders.base import Array
from mttsg_core.errors import FeatureError
from mttsg_core.features.store import VideoFeatures, check_fingerprint
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import NO_ANSWER, MKTNPredictor, to_moments
from mttsg_core.inference.sliding_window import cut_windows, merge_moments, moments_per_window, scaled
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.prepared import PreparedVideos
from mttsg_core.moments import Moment, Timeline
from mttsg_core.utils.devices import upload

_ENCODED_AT_ONCE = 8  # windows; more are not faster
_MAX_CLIPS = 2048  # clips of videos and sentences in one step; more do not fit in the processor's cache
_STRIDE, _FEWEST = 4, 8  # a glance sees every fourth clip, and no fewer than eight


@dataclass(frozen=True)
class EncodedWindow:
    """A video, or a window of a long one, encoded.

    Attributes:
        timeline: of its clips.
        clips: how many the network sees.
        videos: all that the network computes without a sentence, V = 1.
        thinned: some of the clips, which a glance sees.
    """

    timeline: Timeline
    clips: int
    videos: PreparedVideos
    thinned: PreparedVideos

    @property
    def as_seen(self) -> Timeline:
        """The timeline of the clips that the network sees."""
        return Timeline(self.timeline.duration, self.clips, self.timeline.start)


@dataclass(frozen=True)
class EncodedVideo:
    """A video, encoded.

    Attributes:
        windows: in order of time; one, unless the video is longer than those of the training.
        factor: of its scores, see `Familiarity`.
    """

    windows: tuple[EncodedWindow, ...]
    factor: float

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return sum(window.videos.nbytes for window in self.windows)


Askable: TypeAlias = EncodedVideo | VideoFeatures


class Question(NamedTuple):
    """Sentences, encoded once for all videos.

    Attributes:
        queries: the sentences.
        encoded: by the network; None without one.
        factors: of the scores of each sentence, see `Familiarity`.
    """

    queries: Sequence[str]
    encoded: EncodedQueries | None
    factors: Sequence[float]


class Asker(Protocol):
    """Asks videos that it has encoded. What it returns for a video depends on no other.

    Attributes:
        can_glance: whether the model has something that is faster than an answer.
    """

    can_glance: bool

    def question(self, queries: Sequence[str]) -> Question:
        """Encode sentences. Raises DataError as `Grounder.ground`."""
        ...

    def encode(self, videos: Sequence[VideoFeatures]) -> list[Askable]:
        """Encode videos. Raises FeatureError as `Grounder.ground_features`, for all if one cannot be used."""
        ...

    def glance(self, asked: Sequence[tuple[Askable, Sequence[int]]], question: Question) -> list[Array]:
        """Return about how likely each video shows some sentences, by their numbers (Q,): (Q,), higher is likelier.

        It takes a fraction of the time of `ground`. Raises ValueError unless `can_glance`.
        """
        ...

    def ground(
        self, asked: Sequence[tuple[Askable, Sequence[int]]], question: Question, top: int
    ) -> list[list[list[Moment]]]:
        """Return at most `top` moments of some sentences, by their numbers, in each video; see `Grounder.ground_many`.

        Raises:
            FeatureError: if there is no moment, because model or features are damaged.
        """
        ...


def asker(grounder: Grounder) -> Asker:
    """Return what asks encoded videos by the model of a grounder."""
    predictor = grounder.predictor
    return NetworkAsker(grounder, predictor) if isinstance(predictor, MKTNPredictor) else PlainAsker(grounder)


class PlainAsker:
    """An `Asker` for models that have nothing to encode: of their videos the features are kept.

    Their answers are made of the vectors that have ranked the videos, so that there is nothing to glance at.
    """

    can_glance = False

    def __init__(self, grounder: Grounder) -> None:
        self._grounder = grounder

    def question(self, queries: Sequence[str]) -> Question:
        """Check sentences, and keep them encoded."""
        self._grounder.encode_queries(queries)
        return Question(queries, None, [1.0] * len(queries))

    def encode(self, videos: Sequence[VideoFeatures]) -> list[Askable]:
        """Return the features as they are."""
        return list(videos)

    def glance(self, asked: Sequence[tuple[Askable, Sequence[int]]], question: Question) -> list[Array]:
        """Raise ValueError."""
        raise ValueError("this model cannot glance")

    def ground(
        self, asked: Sequence[tuple[Askable, Sequence[int]]], question: Question, top: int
    ) -> list[list[list[Moment]]]:
        """Return moments as `Asker.ground` does."""
        videos = [
            (video, [question.queries[number] for number in numbers])
            for video, numbers in asked
            if isinstance(video, VideoFeatures)
        ]
        return [*self._grounder.ground_many(videos, top)]


class NetworkAsker:
    """An `Asker` of a trained network.

    Args:
        grounder: the model.
        predictor: of the grounder.
    """

    def __init__(self, grounder: Grounder, predictor: MKTNPredictor) -> None:
        self._grounder, self._predictor, self._network = grounder, predictor, predictor.network
        self.can_glance = self._network.config.presence

    @torch.inference_mode()
    def question(self, queries: Sequence[str]) -> Question:
        """Encode sentences, see `Asker.question`."""
        words, mask = pad_arrays(self._grounder.encode_queries(queries))
        device, known = self._predictor.device, self._predictor.familiarity
        factors = [1.0 if known is None else known.query_factor(query) for query in queries]
        return Question(queries, self._network.encode_queries(words.to(device), mask.to(device)), factors)

    @torch.inference_mode()
    def encode(self, videos: Sequence[VideoFeatures]) -> list[Askable]:
        """Encode videos, see `Asker.encode`."""
        for features in videos:
            check_fingerprint(features.fingerprint, self._grounder.fingerprint, "the features")
            self._predictor.check_widths(features)
        cut = [cut_windows(features, self._predictor.max_window_seconds) for features in videos]
        encoded = self._encode_windows([window for windows in cut for window in windows])
        known = self._predictor.familiarity
        return [
            EncodedVideo(
                tuple(islice(encoded, len(windows))),
                1.0 if known is None else known.video_factor(features.clips),
            )
            for features, windows in zip(videos, cut, strict=True)
        ]

    def _encode_windows(self, windows: Sequence[VideoFeatures]) -> Iterator[EncodedWindow]:
        for first in range(0, len(windows), _ENCODED_AT_ONCE):
            some = windows[first : first + _ENCODED_AT_ONCE]
            sized = [window.downsample(self._network.config.max_clips) for window in some]
            batch = collate([VideoItem(features, _NO_WORDS) for features in sized]).to(self._predictor.device)
            prepared = self._network.encode_videos(batch)
            for row, (window, features) in enumerate(zip(some, sized, strict=True)):
                clips = len(features.clips)
                videos = prepared.part(slice(row, row + 1), clips).copy()
                step = max(1, min(_STRIDE, clips // _FEWEST))
                yield EncodedWindow(window.timeline, clips, videos, videos.thinned(step))

    @torch.inference_mode()
    def glance(self, asked: Sequence[tuple[Askable, Sequence[int]]], question: Question) -> list[Array]:
        """Return how likely each video shows sentences, by every fourth clip, see `Asker.glance`.

        It is the presence that the network sees, of a long video that of its best window.
        """
        if not self.can_glance:
            raise ValueError("this network was built without presence")
        likely = [np.full(len(numbers), -np.inf, dtype=np.float32) for _, numbers in asked]
        for group in _groups(_asked_windows(asked), _MAX_CLIPS * _STRIDE):
            videos = PreparedVideos.stack([one.window.thinned for one in group])
            queries, index = self._pairs(group, question)
            logits = self._network.presence(videos, queries, index).cpu().numpy()  # (N',)
            for one, values in zip(
                group, np.split(logits, np.cumsum([len(one.numbers) for one in group])[:-1]), strict=True
            ):
                likely[one.place] = np.maximum(likely[one.place], values)
        return likely

    @torch.inference_mode()
    def ground(
        self, asked: Sequence[tuple[Askable, Sequence[int]]], question: Question, top: int
    ) -> list[list[list[Moment]]]:
        """Return moments as `Asker.ground` does."""
        windows = _asked_windows(asked)
        per_window = moments_per_window(top, max((len(_windows(video)) for video, _ in asked), default=1))
        by_window: list[list[list[Moment]]] = [[] for _ in windows]
        order = sorted(range(len(windows)), key=lambda number: windows[number].window.clips)  # so that little is padded
        moments = self._moments([windows[number] for number in order], question, per_window)
        for number, found in zip(order, moments, strict=True):
            by_window[number] = found
        results = iter(by_window)
        answers = []
        for video, numbers in asked:
            timelines = [window.timeline for window in _windows(video)]
            by_query = zip(*islice(results, len(timelines)), strict=True)
            merged = [merge_moments(timelines, moments, top, self._predictor.nms_iou) for moments in by_query]
            if not all(merged):
                raise FeatureError(NO_ANSWER)
            factor = video.factor if isinstance(video, EncodedVideo) else 1.0
            factors = [factor * question.factors[number] for number in numbers]
            answers.append([scaled(moments, scale) for moments, scale in zip(merged, factors, strict=True)])
        return answers

    def _moments(self, windows: Sequence[_Asked], question: Question, top: int) -> Iterator[list[list[Moment]]]:
        """Yield the moments of each sentence of each window."""
        for group in _groups(windows, _MAX_CLIPS):
            videos = PreparedVideos.stack([one.window.videos for one in group])
            queries, index = self._pairs(group, question)
            timelines = [one.window.as_seen for one in group for _ in one.numbers]
            found: list[list[Moment]] = []
            at_once = max(1, _MAX_CLIPS // videos.projected.shape[1])  # of the sentences of a single window
            for first in range(0, len(timelines), at_once):
                part = torch.arange(first, min(first + at_once, len(timelines)), device=index.device)
                head = self._network.ground(videos, queries.part(part), index[part]).head
                spans, scores = head.answers(top, self._network.config)
                found += to_moments(
                    spans, self._predictor.calibration.apply(scores), timelines[first : first + at_once]
                )
            rest = iter(found)
            yield from ([next(rest) for _ in one.numbers] for one in group)

    def _pairs(self, group: Sequence[_Asked], question: Question) -> tuple[EncodedQueries, Tensor]:
        """Return the sentences of all windows of a group, and (N,) the window of each."""
        if question.encoded is None:
            raise ValueError("the question was not encoded by this network")
        numbers = torch.tensor([number for one in group for number in one.numbers])
        index = torch.tensor([row for row, one in enumerate(group) for _ in one.numbers])
        return question.encoded.part(upload(numbers, self._predictor.device)), upload(index, self._predictor.device)


class _Asked(NamedTuple):
    """A window with the numbers of its sentences. `place` is that of its video."""

    place: int
    window: EncodedWindow
    numbers: Sequence[int]


_NO_WORDS = [np.zeros((1, 1), dtype=np.float32)]  # a batch has at least one sentence


def _windows(video: Askable) -> tuple[EncodedWindow, ...]:
    return video.windows if isinstance(video, EncodedVideo) else ()


def _asked_windows(asked: Sequence[tuple[Askable, Sequence[int]]]) -> list[_Asked]:
    """Return the windows of all videos, in order."""
    return [
        _Asked(place, window, numbers) for place, (video, numbers) in enumerate(asked) for window in _windows(video)
    ]


def _groups(windows: Sequence[_Asked], clips: int) -> Iterator[list[_Asked]]:
    """Yield neighbours with so many clips, times sentences, padded to the longest; at least one window."""
    group: list[_Asked] = []
    longest = most = 0
    for one in windows:
        longest, most = max(longest, one.window.clips), max(most, len(one.numbers))
        if group and (len(group) + 1) * longest * most > clips:
            yield group
            group, longest, most = [], one.window.clips, len(one.numbers)
        group.append(one)
    if group:
        yield group
