"""The `Grounder`: features and sentences in, moments out. `evaluate` and `ground` both work through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.checkpoints.hub import find_model
from mttsg_core.checkpoints.runs import newest_run
from mttsg_core.data.batch import VideoItem
from mttsg_core.encoders import DEFAULT_PRETRAINED, build_joint_encoder
from mttsg_core.encoders.base import Array, Settings
from mttsg_core.errors import ConfigError, DataError, FeatureError
from mttsg_core.features.extraction import ExtractionSettings, cached_features
from mttsg_core.features.store import EXTERNAL, FeatureCache, VideoFeatures, same_fingerprint
from mttsg_core.inference.modes import Mode, grounding_mode
from mttsg_core.inference.predictor import MKTNPredictor, Predictor
from mttsg_core.inference.sliding_window import cut_windows, merge_moments, merge_saliency, window_slices
from mttsg_core.inference.zero_shot import ZeroShotPredictor
from mttsg_core.moments import Moment
from mttsg_core.utils.devices import choose_device
from mttsg_core.utils.paths import default_cache

_AT_ONCE = 16  # videos, or windows of long ones, in a batch
_OF_A_WINDOW = 10  # answers that each window gives, at least: the best of all may be no window's best
_SENTENCES_HELD = 4096  # whose vectors stay in memory, for the next video that they are asked of


class Grounder:
    """Finds moments in videos of any length.

    Args:
        scorer: what scores the moments of a video, or of a window of a long one.
        cache: of the features of videos; None takes the user's cache folder.
        offline: whether a pretrained encoder must be on this computer already.
    """

    def __init__(self, predictor: Predictor, cache: FeatureCache | None = None, *, offline: bool = False) -> None:
        self.predictor = predictor
        self.offline = offline
        self.cache = cache or FeatureCache(default_cache())
        self._held: dict[str, Array] = {}

    @property
    def fingerprint(self) -> Settings:
        """Of the features that are expected."""
        return self.predictor.fingerprint

    @property
    def device(self) -> torch.device:
        """Where the scorer runs."""
        return self.predictor.device

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        cache: str | Path | None = None,
        encoder: str | Path | None = None,
        offline: bool = False,
    ) -> Grounder:
        """A grounder of a trained model; without any, `zero_shot`.

        Args:
            model: a folder as `mttsg train` wrote it, or `user/name` of the Hugging Face Hub; None takes the newest
                finished run in the user's data folder, unless an encoder is named.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            cache: folder of cached features; None takes the user's cache folder.
            encoder: folder of the model's pretrained encoder, if it lies in one that is not known on this computer yet;
                without a model, the encoder of `zero_shot`.
            offline: never use the network: model and encoder must be on this computer already.

        Raises:
            ModelError: if there is no such model.
            ConfigError: if there is no such device or encoder, or it is not the model's.
        """
        if model is None and (encoder is not None or newest_run() is None):
            return cls.zero_shot(str(encoder or DEFAULT_PRETRAINED), device=device, cache=cache, offline=offline)
        chosen = choose_device(device)
        folder = find_model(model, offline=offline)
        named = None
        if encoder is not None:
            from mttsg_core.encoders.hf_files import find_files

            named = find_files(str(encoder), offline=offline).id  # from now on it is known where that lies
        loaded = load_model(folder, device=str(chosen), offline=offline)
        own = (str(loaded.fingerprint.get("encoder")), loaded.text_encoder.id)
        if named is not None and named not in own:
            raise ConfigError(f"encoder {str(encoder)!r} is {named!r}, but {folder} was trained with {own[0]!r}")
        predictor = MKTNPredictor(loaded, chosen)
        return cls(predictor, FeatureCache(Path(cache) if cache else default_cache()), offline=offline)

    @classmethod
    def zero_shot(
        cls,
        encoder_id: str = DEFAULT_PRETRAINED,
        *,
        fps: float = ExtractionSettings.fps,
        device: str = "auto",
        cache: str | Path | None = None,
        offline: bool = False,
    ) -> Grounder:
        """A grounder without any training, which compares frames with sentences; see `zeroshot`.

        Args:
            encoder_id: a pretrained model with an image and a text tower, see `encoders.build_encoder`.
            fps: clips a second.
            device: as in `load`.
            cache: as in `load`.
            offline: as in `load`.

        Raises:
            ConfigError: if there is no such encoder or device, or the encoder has no text tower.
        """
        chosen = choose_device(device)
        settings = ExtractionSettings(encoder_id, fps, device=str(chosen), offline=offline)
        encoder = build_joint_encoder(encoder_id, device=str(chosen), offline=offline)
        predictor = ZeroShotPredictor(encoder, settings.fingerprint(encoder), chosen)
        return cls(predictor, FeatureCache(Path(cache) if cache else default_cache()), offline=offline)

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
            DataError: for an empty sentence, a single one that is in no list, or if `top` is less than 1.
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
        if self.fingerprint.get("encoder") == EXTERNAL:
            raise FeatureError("the model was trained on features made elsewhere: give the video's with --features")
        settings = ExtractionSettings.from_fingerprint(self.fingerprint, device=str(self.device), offline=self.offline)
        same_fingerprint(settings.fingerprint(), self.fingerprint, "this version")
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
        at_once: int = _AT_ONCE,
        mode: Mode = "independent",
    ) -> Iterator[list[list[Moment]]]:
        """`ground_features` for many videos, `at_once` videos or windows in a batch; yields the answers of each video.

        A video longer than those that the model knows is asked in overlapping windows, see `windows`.
        """
        mode = grounding_mode(mode)
        if top < 1:
            raise DataError(f"at least 1 answer a sentence, not {top}")
        asked: deque[list[VideoItem]] = deque()  # the windows of each video whose answers are not all there

        def windows() -> Iterator[VideoItem]:
            for features, queries in videos:
                words = self._words(features, queries)
                asked.append(
                    [VideoItem(window, words) for window in cut_windows(features, self.predictor.max_window_seconds)]
                )
                yield from asked[-1]

        wanted = max(top, _OF_A_WINDOW)
        batches = _batches(windows(), at_once)
        answers = (answer for batch in batches for answer in self.predictor.ground(batch, wanted, mode))
        for first in answers:
            items = asked.popleft()
            timelines = [item.features.timeline for item in items]
            by_query = zip(first, *islice(answers, len(items) - 1), strict=True)
            yield [merge_moments(timelines, moments, top) for moments in by_query]

    def saliency(self, features: VideoFeatures, queries: Sequence[str]) -> list[Array]:
        """How sure it is of every clip: for each sentence (T,), the chance, 0..1, that the clip lies in its moment.

        What overlapping windows of a long video say of a clip is averaged. Clip t of a video covers, in seconds,
        `features.timeline.to_seconds([t, t + 1])`.

        Raises:
            FeatureError, DataError: as `ground_features`.
        """
        words = self._words(features, queries)
        windows = window_slices(features.timeline, self.predictor.max_window_seconds)
        items = (VideoItem(features.part(window), words) for window in windows)
        saliency = [curve for batch in _batches(items, _AT_ONCE) for curve in self.predictor.saliency(batch)]
        return [merge_saliency(windows, of_query) for of_query in zip(*saliency, strict=True)]

    def _words(self, features: VideoFeatures, queries: Sequence[str]) -> list[Array]:
        """What the scorer needs to know of each sentence, once it is clear that they can be asked of the video."""
        same_fingerprint(features.fingerprint, self.fingerprint, "the features")
        if isinstance(queries, str):
            raise DataError("queries are a list of sentences, not a single one")
        if any(not query.strip() for query in queries):
            raise DataError("a query must have at least one word")
        new = list(dict.fromkeys(query for query in queries if query not in self._held))
        if len(self._held) + len(new) > _SENTENCES_HELD:
            self._held, new = {}, list(dict.fromkeys(queries))
        self._held.update(zip(new, self.predictor.encode(new), strict=True))
        return [self._held[query] for query in queries]


def _batches(items: Iterable[VideoItem], size: int) -> Iterator[list[VideoItem]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
