"""The `Grounder`: features and sentences in, moments out. `evaluate` and `ground` both work through it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mttsg_core.batch import Batch, VideoItem, collate
from mttsg_core.checkpoint import Model, load_model
from mttsg_core.devices import choose_device
from mttsg_core.encoders import build_encoder
from mttsg_core.errors import DataError, FeatureError
from mttsg_core.extraction import ExtractionSettings, cached_features
from mttsg_core.features import ELSEWHERE, FeatureCache, VideoFeatures, same_fingerprint
from mttsg_core.head import decode
from mttsg_core.modes import Mode, grounding_mode
from mttsg_core.moments import Moment, Timeline
from mttsg_core.paths import default_cache, find_model

_QUERIES_AT_ONCE = 256

"""Each sentence by itself, or the sentences of a video together."""


class Grounder:
    """Finds moments with a trained model.

    Args:
        model: network, text encoder and the fingerprint of the features it expects.
        device: where it runs.
        cache: of the features of videos; None takes the user's cache folder.
    """

    def __init__(self, model: Model, device: torch.device | None = None, cache: FeatureCache | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.network = model.network.to(self.device).eval()
        self.text_encoder = model.text_encoder
        self.fingerprint = model.fingerprint
        self.cache = cache or FeatureCache(default_cache())

    @classmethod
    def load(
        cls, folder: str | Path | None = None, *, device: str = "auto", cache: str | Path | None = None
    ) -> Grounder:
        """A grounder of a model folder.

        Args:
            folder: as `mttsg train` wrote it; None takes the newest finished run in the user's data folder.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            cache: folder of cached features; None takes the user's cache folder.

        Raises:
            ModelError: if there is no such model.
            ConfigError: if there is no such device.
        """
        model = load_model(find_model(folder))
        return cls(model, choose_device(device), FeatureCache(Path(cache) if cache else default_cache()))

    def ground(
        self, video: str | Path, queries: Sequence[str], top: int = 5, *, mode: Mode = "independent"
    ) -> list[list[Moment]]:
        """The moments of a video file that sentences describe.

        Args:
            video: a video file; its features are cached.
            queries: any number of sentences; the answer to one does not depend on the others.
            top: answers a sentence, at most.
            mode: `joint` lets the sentences help each other, in no order; then an answer does depend on the others.

        Returns:
            For each sentence its moments, the best first.

        Raises:
            VideoError: if the video cannot be read.
            FeatureError: if the model was trained on features made elsewhere.
            DataError: for an empty sentence.
        """
        return self.ground_features(self.features_of(Path(video)), queries, top, mode=mode)

    def features_of(self, video: Path) -> VideoFeatures:
        """Features of a video file as the model expects them, from the cache or made now. Raises as `ground`."""
        return cached_features(video, self.cache, self.extraction_settings())

    def extraction_settings(self) -> ExtractionSettings:
        """How to make the features that the model expects.

        Raises:
            FeatureError: if they were made elsewhere, or by an encoder that would now give other values.
        """
        if self.fingerprint.get("encoder") == ELSEWHERE:
            raise FeatureError("the model was trained on features made elsewhere: give the video's with --features")
        settings = ExtractionSettings.from_fingerprint(self.fingerprint)
        same_fingerprint(settings.fingerprint(build_encoder(settings.encoder)), self.fingerprint, "this version")
        return settings

    def ground_features(
        self, features: VideoFeatures, queries: Sequence[str], top: int = 5, *, mode: Mode = "independent"
    ) -> list[list[Moment]]:
        """`ground`, on features at hand.

        Raises:
            FeatureError: if they are not of the kind that the model expects, or their duration is not known.
        """
        [answers] = self.ground_many([(features, queries)], top, mode=mode)
        return answers

    def ground_many(
        self,
        videos: Iterable[tuple[VideoFeatures, Sequence[str]]],
        top: int = 5,
        *,
        at_once: int = 16,
        mode: Mode = "independent",
    ) -> Iterator[list[list[Moment]]]:
        """`ground_features` for many videos, in batches of `at_once`; yields the answers video by video."""
        mode = grounding_mode(mode)
        waiting: list[VideoItem] = []
        for features, queries in videos:
            same_fingerprint(features.fingerprint, self.fingerprint, "the features")
            if any(not query.strip() for query in queries):
                raise DataError("a query must have at least one word")
            features = features.at_most(self.network.config.max_clips)
            waiting.append(VideoItem(features, self.text_encoder.encode(queries)))
            if len(waiting) == at_once:
                yield from self._ground_batch(waiting, top, mode)
                waiting = []
        if waiting:
            yield from self._ground_batch(waiting, top, mode)

    @torch.inference_mode()
    def _ground_batch(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        answers: list[list[list[Moment]]] = [[] for _ in items]
        asked = [item for item in items if item.words]
        if not asked:
            return answers
        batch = collate(asked).to(self.device)
        videos = self.network.encode_videos(batch)
        moments: list[list[Moment]] = []
        timelines = [item.features.timeline for item in asked for _ in item.words]
        joint = mode == "joint"
        for chunk in _chunks([len(item.words) for item in asked], whole=joint):
            part = _queries(batch, chunk)
            queries = self.network.query_encoder(part.words, part.word_mask)
            bounds, scores = decode(self.network.ground(videos, queries, part.video_index, joint=joint).head, top)
            moments += to_moments(bounds, scores, timelines[chunk])
        rest = iter(moments)
        return [[next(rest) for _ in item.words] for item in items]


def to_moments(bounds: torch.Tensor, scores: torch.Tensor, timelines: Sequence[Timeline]) -> list[list[Moment]]:
    """Bounds (N, K, 2) in clip units and scores (N, K) to moments in seconds inside their video."""
    answers: list[list[Moment]] = []
    for spans, values, timeline in zip(bounds.cpu().double(), scores.cpu().double(), timelines, strict=True):
        seconds = timeline.to_seconds(spans.numpy()).clip(timeline.start, timeline.start + timeline.duration)
        answers.append(
            [
                Moment(float(start), float(end), float(score))
                for (start, end), score in zip(seconds, values, strict=True)
                if score > 0 and end > start
            ]
        )
    return answers


def _chunks(queries_per_video: Sequence[int], *, whole: bool) -> Iterator[slice]:
    """Queries to be asked at once: at most `_QUERIES_AT_ONCE`, or more where a video must be kept `whole`."""
    if not whole:
        total = sum(queries_per_video)
        yield from (slice(i, min(i + _QUERIES_AT_ONCE, total)) for i in range(0, total, _QUERIES_AT_ONCE))
        return
    first = last = 0
    for count in queries_per_video:
        if last > first and last + count - first > _QUERIES_AT_ONCE:
            yield slice(first, last)
            first = last
        last += count
    yield slice(first, last)


def _queries(batch: Batch, part: slice) -> Batch:
    return replace(batch, words=batch.words[part], word_mask=batch.word_mask[part], video_index=batch.video_index[part])
