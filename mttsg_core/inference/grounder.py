"""The `Grounder`: a video and sentences in, moments out. `ground` and `evaluate` both work through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
import torch

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.checkpoints.hub import find_model
from mttsg_core.checkpoints.registry import fitting_run
from mttsg_core.data.batch import VideoItem
from mttsg_core.encoders import DEFAULT_PRETRAINED, build_joint_encoder, build_text_encoder
from mttsg_core.encoders.base import Array, Settings, sentence_encoder
from mttsg_core.errors import ConfigError, DataError, FeatureError
from mttsg_core.features.declared import DeclaredFeatures
from mttsg_core.features.extraction import ExtractionSettings, cached_features
from mttsg_core.features.store import EXTERNAL, FeatureCache, VideoFeatures, check_fingerprint
from mttsg_core.inference.bounded_steps import bounded_batches, sentence_runs
from mttsg_core.inference.modes import Mode, grounding_mode
from mttsg_core.inference.predictor import NO_ANSWER, MKTNPredictor, Predictor
from mttsg_core.inference.query_memory import QueryMemory
from mttsg_core.inference.sliding_window import (
    cut_windows,
    merge_moments,
    merge_saliency,
    moments_per_window,
    scaled,
    window_slices,
)
from mttsg_core.inference.zero_shot import PLAIN_PROMPTS, ZeroShotPredictor
from mttsg_core.moments import Moment
from mttsg_core.utils.devices import choose_device
from mttsg_core.utils.paths import default_cache

_BATCH_SIZE = 16  # videos, or windows of long ones


class Grounder:
    """Finds the moments that sentences describe, in videos of any length.

    >>> grounder = Grounder.load("model")  # doctest: +SKIP
    >>> grounder.ground("video.mp4", "person opens door", top=1)  # doctest: +SKIP
    [Moment(start=3.1, end=8.7, score=0.82)]

    Args:
        predictor: scores the moments of a video, or of a window of a long one.
        cache: the feature cache, or its folder; None uses the user's cache folder.
        offline: never use the network: a pretrained encoder must already be on this computer.
        precision: of a pretrained encoder of videos, see `encoders.build_encoder`.
        declared: what the external features that the predictor expects are; None if that is not known.
    """

    def __init__(
        self,
        predictor: Predictor,
        cache: FeatureCache | str | Path | None = None,
        *,
        offline: bool = False,
        precision: str = "auto",
        declared: DeclaredFeatures | None = None,
    ) -> None:
        self.predictor = predictor
        self.offline, self.precision, self.declared = offline, precision, declared
        self.cache = cache if isinstance(cache, FeatureCache) else FeatureCache(Path(cache or default_cache()))
        self._query_memory = QueryMemory(predictor.encode)

    @property
    def fingerprint(self) -> Settings:
        """How the features that the model expects are made."""
        return self.predictor.fingerprint

    @property
    def device(self) -> torch.device:
        """The device that the predictor runs on."""
        return self.predictor.device

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        videos: str | Path | Sequence[str | Path] = (),
        device: str = "auto",
        cache: str | Path | None = None,
        encoder: str | Path | None = None,
        offline: bool = False,
        precision: str = "auto",
    ) -> Grounder:
        """Load a trained model, or `zero_shot` if there is none for the videos.

        Args:
            model: a folder written by `mttsg train`, the number of a run, `last` for the newest finished run, or
                `user/name` on the Hugging Face Hub. None takes the newest run that was trained on videos below the same
                folder as `videos`, unless an encoder is named; if there is none, `zero_shot` answers.
            videos: without a model: a video or folder to be asked about, or several.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            cache: folder of cached features; None uses the user's cache folder.
            encoder: folder of the model's pretrained encoder, if it is not in the Hugging Face cache; without a model,
                the encoder of `zero_shot`.
            offline: never use the network: model and encoder must already be on this computer.
            precision: of a pretrained encoder of videos, see `encoders.build_encoder`.

        Raises:
            ModelError: if the model does not exist or cannot be read.
            ConfigError: if the device is not available, or the encoder is not available or not the model's.
        """
        if model is None:
            asked = [videos] if isinstance(videos, str | Path) else videos
            run = fitting_run([Path(video) for video in asked]) if encoder is None else None
            if run is None:
                name = str(encoder or DEFAULT_PRETRAINED)
                return cls.zero_shot(name, device=device, cache=cache, offline=offline, precision=precision)
            model = run.folder
        chosen = choose_device(device)
        folder = find_model(model, offline=offline)
        encoder_id = None
        if encoder is not None:
            from mttsg_core.encoders.hf_files import find_files

            encoder_id = find_files(str(encoder), offline=offline).id  # registers the folder, so that loading finds it
        loaded = load_model(folder, device=str(chosen), offline=offline)
        own = loaded.encoder_id
        if encoder_id not in (None, own, loaded.text_encoder.id):
            raise ConfigError(f"encoder {str(encoder)!r} is {encoder_id!r}, but {folder} was trained with {own!r}")
        predictor = MKTNPredictor(loaded, chosen)
        return cls(predictor, cache, offline=offline, precision=precision, declared=loaded.declared)

    @classmethod
    def zero_shot(
        cls,
        encoder_id: str = DEFAULT_PRETRAINED,
        *,
        fps: float = ExtractionSettings.fps,
        device: str = "auto",
        cache: str | Path | None = None,
        offline: bool = False,
        precision: str = "auto",
    ) -> Grounder:
        """Return a grounder that needs no training and compares frames with sentences, see `ZeroShotPredictor`.

        Args:
            encoder_id: a pretrained model with an image and a text tower, see `encoders.build_encoder`.
            fps: clips per second.
            device, cache, offline, precision: as in `load`.

        Raises:
            ConfigError: if the encoder or the device is not available, or the encoder has no text tower.
        """
        chosen = choose_device(device)
        settings = ExtractionSettings(encoder_id, fps, device=str(chosen), offline=offline, precision=precision)
        encoder = build_joint_encoder(encoder_id, device=str(chosen), offline=offline, precision=precision)
        predictor = ZeroShotPredictor(encoder.embed_queries, settings.fingerprint(encoder), device=chosen)
        return cls(predictor, cache, offline=offline, precision=precision)

    @classmethod
    def zero_shot_features(
        cls,
        text_encoder: str,
        fingerprint: Settings,
        *,
        device: str = "auto",
        cache: str | Path | None = None,
        offline: bool = False,
    ) -> Grounder:
        """Return a grounder that needs no training, for features made elsewhere in the space of a text encoder.

        Args:
            text_encoder: embeds sentences in the space of the clips, see `encoders.build_text_encoder`.
            fingerprint: of the features.
            device, cache, offline: as in `load`.

        Raises:
            ConfigError: if the text encoder or the device is not available, or it does not embed whole sentences.
        """
        chosen = choose_device(device)
        encoder = build_text_encoder(text_encoder, device=str(chosen), offline=offline)
        predictor = ZeroShotPredictor(sentence_encoder(encoder).embed, fingerprint, PLAIN_PROMPTS, chosen)
        return cls(predictor, cache, offline=offline)

    @overload
    def ground(  # type: ignore[overload-overlap]  # a str is a sequence of str, too
        self, video: str | Path, queries: str, top: int = ..., *, mode: Mode = ...
    ) -> list[Moment]: ...

    @overload
    def ground(
        self, video: str | Path, queries: Sequence[str], top: int = ..., *, mode: Mode = ...
    ) -> list[list[Moment]]: ...

    def ground(
        self, video: str | Path, queries: str | Sequence[str], top: int = 5, *, mode: Mode = "independent"
    ) -> list[Moment] | list[list[Moment]]:
        """Return the moments of a video file that one sentence or several describe.

        Args:
            video: a video file; its features are cached.
            queries: a sentence or a sequence of sentences.
            top: maximum number of moments per sentence.
            mode: `independent` grounds each sentence by itself; `joint` lets the sentences inform each other, as a set,
                so that the moments of one depend on the others.

        Returns:
            The moments of the sentence, the best first; for a sequence, one such list per sentence.

        Raises:
            VideoError: if the video cannot be read.
            FeatureError: if the model was trained on external features, or there is no moment for a sentence, because
                the model is damaged.
            DataError: if a sentence is empty or has too many words, or `top` is less than 1.
        """
        return self.ground_features(self.features_of(Path(video)), queries, top, mode=mode)

    def features_of(self, video: Path) -> VideoFeatures:
        """Return the features of a video file that the model expects, cached or extracted now. Raises as `ground`."""
        return self.adapt(cached_features(video, self.cache, self.extraction_settings()))

    def cache_path(self, video: Path) -> Path:
        """Return where features by `extraction_settings` are. Raises VideoError if the video cannot be read."""
        return self.cache.path(video, self._extracted_fingerprint)

    def adapt(self, features: VideoFeatures) -> VideoFeatures:
        """Return features by `extraction_settings` as the model expects them: those of declared features are pooled."""
        if self.declared is None:
            return features
        return self.declared.adapt(features, self.fingerprint, self.predictor.max_window_seconds)

    def extraction_settings(self) -> ExtractionSettings:
        """Return how the features that the model expects are extracted.

        Raises:
            FeatureError: if they are external, or this version of the encoder computes other values.
        """
        if self.declared is not None:
            return self.declared.extraction(device=str(self.device), offline=self.offline, precision=self.precision)
        if self.fingerprint.get("encoder") == EXTERNAL:
            raise FeatureError("the model was trained on external features: give those of the video with --features")
        settings = ExtractionSettings.from_fingerprint(
            self.fingerprint, device=str(self.device), offline=self.offline, precision=self.precision
        )
        check_fingerprint(settings.fingerprint(), self.fingerprint, "this version")
        return settings

    @cached_property
    def _extracted_fingerprint(self) -> Settings:
        return self.fingerprint if self.declared is None else self.extraction_settings().fingerprint()

    @overload
    def ground_features(  # type: ignore[overload-overlap]
        self, features: VideoFeatures, queries: str, top: int = ..., *, mode: Mode = ...
    ) -> list[Moment]: ...

    @overload
    def ground_features(
        self, features: VideoFeatures, queries: Sequence[str], top: int = ..., *, mode: Mode = ...
    ) -> list[list[Moment]]: ...

    def ground_features(
        self, features: VideoFeatures, queries: str | Sequence[str], top: int = 5, *, mode: Mode = "independent"
    ) -> list[Moment] | list[list[Moment]]:
        """Return the moments that one sentence or several describe, from the features of a video; see `ground`.

        Raises:
            FeatureError: if the features were made in another way than the model expects, or have no duration, or if
                there is no moment for a sentence, because model or features are damaged.
            DataError: as `ground`.
        """
        sentences = [queries] if isinstance(queries, str) else queries
        [moments] = self.ground_many([(features, sentences)], top, mode=mode)
        return moments[0] if isinstance(queries, str) else moments

    def ground_many(
        self,
        videos: Iterable[tuple[VideoFeatures, Sequence[str]]],
        top: int = 5,
        *,
        batch_size: int = _BATCH_SIZE,
        mode: Mode = "independent",
    ) -> Iterator[list[list[Moment]]]:
        """Yield for each of many videos the moments of each of its sentences, in order; see `ground`.

        A video longer than those of the training is grounded in overlapping windows, see `sliding_window`.

        Args:
            videos: the features of each video, and its sentences; read as they are needed.
            top: maximum number of moments per sentence.
            batch_size: videos, or windows of long ones, per batch. It does not change the moments.
            mode: as in `ground`.

        Raises:
            FeatureError, DataError: as `ground_features`.
        """
        mode = grounding_mode(mode)
        if top < 1:
            raise DataError(f"top must be at least 1, not {top}")
        parts: deque[int] = deque()  # of the sentences of each video that has not been yielded yet
        factors: deque[list[float]] = deque()  # of the scores of each sentence of each of these videos

        def split_queries() -> Iterator[tuple[VideoFeatures, Sequence[str]]]:
            for features, queries in videos:
                runs = [queries] if mode == "joint" or isinstance(queries, str) else sentence_runs(queries)
                parts.append(len(runs))
                factors.append(self._score_factors(features, queries))
                yield from ((features, run) for run in runs)

        grounded = self._ground_each(split_queries(), top, batch_size, mode)
        for moments in grounded:
            rest = islice(grounded, parts.popleft() - 1)
            found = [*moments, *(of_query for part in rest for of_query in part)]
            yield [scaled(of_query, factor) for of_query, factor in zip(found, factors.popleft(), strict=True)]

    def _ground_each(
        self, videos: Iterable[tuple[VideoFeatures, Sequence[str]]], top: int, batch_size: int, mode: Mode
    ) -> Iterator[list[list[Moment]]]:
        """Yield what `ground_many` does, with all sentences of a video in one step."""
        pending: deque[list[VideoItem]] = deque()  # the windows of each video that has not been yielded yet
        per_window = top  # of each window, until a video has several

        def windows() -> Iterator[VideoItem]:
            nonlocal per_window
            for features, queries in videos:
                words = self._encode(features, queries)
                pending.append(
                    [VideoItem(window, words) for window in cut_windows(features, self.predictor.max_window_seconds)]
                )
                per_window = max(per_window, moments_per_window(top, len(pending[-1])))
                yield from pending[-1]

        batches = bounded_batches(windows(), batch_size)
        results = (result for batch in batches for result in self.predictor.ground(batch, per_window, mode))
        for first in results:
            items = pending.popleft()
            timelines = [item.features.timeline for item in items]
            by_query = zip(first, *islice(results, len(items) - 1), strict=True)
            merged = [merge_moments(timelines, moments, top, self.predictor.nms_iou) for moments in by_query]
            if not all(merged):
                raise FeatureError(NO_ANSWER)
            yield merged

    @overload
    def saliency(  # type: ignore[overload-overlap]
        self, features: VideoFeatures, queries: str, *, mode: Mode = ...
    ) -> Array: ...

    @overload
    def saliency(self, features: VideoFeatures, queries: Sequence[str], *, mode: Mode = ...) -> list[Array]: ...

    def saliency(
        self, features: VideoFeatures, queries: str | Sequence[str], *, mode: Mode = "independent"
    ) -> Array | list[Array]:
        """Return the saliency of every clip: the probability, 0..1, that the clip is inside the described moment.

        Clip t covers the seconds `features.timeline.to_seconds([t, t + 1])`. In a long video the saliency of a clip is
        averaged over the overlapping windows that contain it. `mode` is that of `ground`.

        Returns:
            (T,) for a sentence; for a sequence, one such array per sentence.

        Raises:
            FeatureError, DataError: as `ground_features`.
        """
        sentences = [queries] if isinstance(queries, str) else queries
        words = self._encode(features, sentences)
        windows = window_slices(features.timeline, self.predictor.max_window_seconds)
        items = (VideoItem(features.slice_clips(window), words) for window in windows)
        by_window = [
            curves for batch in bounded_batches(items, _BATCH_SIZE) for curves in self.predictor.saliency(batch, mode)
        ]
        factors = self._score_factors(features, sentences)
        merged = [
            merge_saliency(windows, curves) * np.float32(factor)
            for curves, factor in zip(zip(*by_window, strict=True), factors, strict=True)
        ]
        return merged[0] if isinstance(queries, str) else merged

    def _score_factors(self, features: VideoFeatures, queries: Sequence[str]) -> list[float]:
        """Return what to multiply the scores of each sentence by: the same for all its moments, whose order stays."""
        known = self.predictor.familiarity
        if known is None or isinstance(queries, str):  # the latter is refused when it is encoded
            return [1.0] * len(queries)
        return known.score_factors(features.clips, queries)

    def _encode(self, features: VideoFeatures, queries: Sequence[str]) -> list[Array]:
        """Return the encoded sentences, after a check that they can be grounded in these features."""
        check_fingerprint(features.fingerprint, self.fingerprint, "the features")
        return self.encode_queries(queries)

    def encode_queries(self, queries: Sequence[str]) -> list[Array]:
        """Return sentences as the predictor reads them, one array (L, D) each; the last ones stay in memory.

        Raises:
            DataError: as `ground`.
        """
        return self._query_memory.encode(queries)
