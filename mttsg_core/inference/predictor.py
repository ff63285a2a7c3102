"""What scores moments in videos of a length that it can handle: the interface between `Grounder` and its networks.

A `Grounder` finds features, divides long videos into windows and merges what is found in them; a `Predictor` sees whole
videos or windows, and does not know which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch.nn.functional import normalize

from mttsg_core.checkpoints.checkpoint import Model
from mttsg_core.data.batch import VideoItem, collate, pad_arrays
from mttsg_core.data.familiarity import Familiarity
from mttsg_core.encoders.base import Array, Settings
from mttsg_core.errors import FeatureError
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.modes import Mode
from mttsg_core.modeling.backbone import EncodedQueries, EncodedVideos
from mttsg_core.modeling.head import GroundingOutput
from mttsg_core.moments import Moment, Timeline
from mttsg_core.utils.devices import keep_freed_memory, upload

NO_ANSWER = "the scores of the network are not finite, or all zero: the model or these features are damaged"
_MAX_CLIPS = 8192  # clips times queries in one step; larger tensors do not fit in the processor's cache
_MAX_CLIPS_ON_GPU = 1 << 17  # likewise; twice 512 MB for the scores of all proposals

_Result = TypeVar("_Result")


class Predictor(Protocol):
    """Scores the moments of videos for sentences. A prediction depends on no other video."""

    @property
    def fingerprint(self) -> Settings:
        """Fingerprint of the features that it expects."""
        ...

    @property
    def max_window_seconds(self) -> float | None:
        """Seconds of the longest video that it is made for; None if there is no limit."""
        ...

    @property
    def nms_iou(self) -> float:
        """Largest overlap, 0..1, of two of its answers to one query."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    @property
    def familiarity(self) -> Familiarity | None:
        """What it was trained on, for lower scores elsewhere; None if that is not known, or it is not trained."""
        ...

    @property
    def has_comparable_scores(self) -> bool:
        """Whether its scores may be compared across videos; if not, they only rank the answers to one query."""
        ...

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Encode each sentence, independently of the others, as one array (L, D), as in `VideoItem.words`."""
        ...

    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        """Return at most `top` moments for each sentence of each video, the best first.

        Raises:
            FeatureError: if the features do not have the widths that it expects.
        """
        ...

    def saliency(self, items: Sequence[VideoItem], mode: Mode = "independent") -> list[list[Array]]:
        """Return (T,) for each sentence of each video: the probability, 0..1, that a clip is inside the moment.

        Raises:
            FeatureError: if the features do not have the widths that it expects, or lead to no finite numbers.
        """
        ...


class MKTNPredictor:
    """A trained network as a `Predictor`.

    Args:
        model: network, text encoder and what they expect.
        device: where it runs; None is the CPU.
    """

    def __init__(self, model: Model, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        keep_freed_memory()
        self.network = model.network.to(self.device).eval()
        self.text_encoder = model.text_encoder
        self.fingerprint = model.fingerprint
        self.max_window_seconds = model.max_window_seconds
        self.nms_iou = model.network.config.nms_iou
        self.calibration = model.calibration
        self.familiarity = model.familiarity
        self.has_comparable_scores = model.is_calibrated

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """Encode sentences as `Predictor.encode` does."""
        return self.text_encoder.encode(queries)

    @torch.inference_mode()
    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        """Find moments as `Predictor.ground` does."""
        moments: list[list[Moment]] = []
        for head, videos in self._head_outputs(items, mode):
            spans, scores = head.answers(top, self.network.config)
            moments += to_moments(spans, self.calibration.apply(scores), [video.timeline for video in videos])
        return _by_video(moments, items)

    @torch.inference_mode()
    def saliency(self, items: Sequence[VideoItem], mode: Mode = "independent") -> list[list[Array]]:
        """Score clips as `Predictor.saliency` does."""
        curves: list[Array] = []
        for head, videos in self._head_outputs(items, mode):
            presence = self.calibration.apply(head.presence.sigmoid())[:, None]  # (N, 1)
            values = (presence * head.saliency(self.network.config).cpu()).float().numpy()  # (N, T)
            if not np.isfinite(values).all():
                raise FeatureError(NO_ANSWER)
            curves += [value[: len(video.clips)] for value, video in zip(values, videos, strict=True)]
        return [
            [_stretch(curve, len(item.features.clips)) for curve in of_video]
            for item, of_video in zip(items, _by_video(curves, items), strict=True)
        ]

    @torch.inference_mode()
    def clip_vectors(self, features: VideoFeatures) -> Array:
        """Return the clips of a video, or a window of one, in the common space of the contrast: (T, C) of length 1.

        Raises:
            FeatureError: if the features do not have the widths that the network expects.
            ValueError: if the network was built without contrast.
        """
        if self.network.contrast is None:
            raise ValueError("this network was built without contrast")
        encoded = self._encode_video(features)
        projected = normalize(self.network.contrast(encoded.clips)[0].float(), dim=-1)  # (T, C)
        return projected.cpu().numpy()

    @torch.inference_mode()
    def sentence_vectors(self, words: Sequence[Array]) -> Array:
        """Return at least one encoded sentence in that space: (N, C) of length 1. Errors: `clip_vectors`."""
        if self.network.contrast is None:
            raise ValueError("this network was built without contrast")
        return self.network.contrast.project_sentence(self._encode_sentences(words).sentence).cpu().numpy()

    def _encode_video(self, features: VideoFeatures) -> EncodedVideos:
        self.check_widths(features)
        clips, mask = pad_arrays([features.clips])
        regions = None if features.regions is None else pad_arrays([features.regions])[0].to(self.device)
        durations = torch.tensor([features.timeline.duration], device=self.device)
        encoded: EncodedVideos = self.network.video_encoder(
            clips.to(self.device), mask.to(self.device), durations, regions
        )
        return encoded

    def _encode_sentences(self, words: Sequence[Array]) -> EncodedQueries:
        padded, mask = pad_arrays(words)
        encoded: EncodedQueries = self.network.query_encoder(padded.to(self.device), mask.to(self.device))
        return encoded

    def _head_outputs(
        self, items: Sequence[VideoItem], mode: Mode
    ) -> Iterator[tuple[GroundingOutput, list[VideoFeatures]]]:
        """Yield the head's output for some queries at a time, and the video of each as the network sees it.

        The queries are in the order of `_by_length`.
        """
        joint = mode == "joint"
        longest = self.network.config.max_clips
        sized = [replace(item, features=item.features.downsample(longest)) for item in _by_length(items) if item.words]
        if not sized:
            return
        for item in sized:
            self.check_widths(item.features)
        batch = collate(sized)
        rows, numbers = _distinct([words for item in sized for words in item.words])
        batch = replace(batch, words=batch.words[rows], word_mask=batch.word_mask[rows]).to(self.device)
        sentence = upload(torch.tensor(numbers), self.device)  # (N,) number of each query among the distinct ones
        videos = self.network.encode_videos(batch)
        encoded = self.network.encode_queries(batch.words, batch.word_mask)
        max_clips = _MAX_CLIPS if self.device.type == "cpu" else _MAX_CLIPS_ON_GPU
        video = query = 0
        for group in _groups(sized, max_clips):
            clips = max(len(item.features.clips) for item in group)
            prepared = videos.part(slice(video, video + len(group)), clips)
            features = [item.features for item in group for _ in item.words]
            sentences = sentence[query : query + len(features)]
            index = batch.video_index[query : query + len(features)] - video
            step = len(features) if joint else max(1, max_clips // clips)
            for part in (slice(start, start + step) for start in range(0, len(features), step)):
                output = self.network.ground(prepared, encoded.part(sentences[part]), index[part], joint=joint)
                yield output.head, features[part]
            video, query = video + len(group), query + len(features)

    def check_widths(self, features: VideoFeatures) -> None:
        """Raise FeatureError if the network cannot read the features. Features of one fingerprint may yet differ."""
        config = self.network.config
        expected: tuple[int, ...] = (config.clip_dim,)
        actual: tuple[int, ...] = features.clips.shape[1:]
        if config.regions:
            expected += config.regions, config.region_dim
            actual += (0, 0) if features.regions is None else features.regions.shape[1:]
        if actual != expected:
            widths = f"{_describe_widths(*actual)}, but the model expects those {_describe_widths(*expected)}"
            raise FeatureError(f"features {widths}")


def _describe_widths(clip_dim: int, regions: int = 0, region_dim: int = 0) -> str:
    """Describe the widths of features.

    >>> _describe_widths(512), _describe_widths(512, 16, 128)
    ('of 512 numbers a clip', 'of 512 numbers a clip with 16 regions of 128')
    """
    return f"of {clip_dim} numbers a clip" + (f" with {regions} regions of {region_dim}" if regions else "")


def to_moments(spans: torch.Tensor, scores: torch.Tensor, timelines: Sequence[Timeline]) -> list[list[Moment]]:
    """Convert spans (N, K, 2) in clip units and scores (N, K) to moments in seconds, inside their video."""
    clips, duration, start = np.array(
        [(timeline.clips, timeline.duration, timeline.start) for timeline in timelines], dtype=np.float64
    ).T.reshape(3, -1, 1, 1)  # (N, 1, 1) each
    seconds = (spans.cpu().double().numpy() / clips * duration + start).clip(start, start + duration)  # (N, K, 2)
    answers = np.concatenate([seconds, scores.cpu().double().numpy()[..., None]], axis=2)  # (N, K, 3)
    return [
        [Moment(start, end, score) for start, end, score in of_query if score > 0 and end > start]
        for of_query in answers.tolist()
    ]


def _groups(items: Iterable[VideoItem], max_clips: int) -> Iterator[list[VideoItem]]:
    """Yield neighbours whose clips times queries fit into one step, padded to the largest; at least one each."""
    group: list[VideoItem] = []
    for item in items:
        larger = [*group, item]
        queries = max(len(member.words) for member in larger)
        clips = max(len(member.features.clips) for member in larger)
        if group and len(larger) * queries * clips > max_clips:
            yield group
            larger = [item]
        group = larger
    if group:
        yield group


def _distinct(arrays: Sequence[Array]) -> tuple[list[int], list[int]]:
    """Return the index of the first of each repeated array, and for each array its number among those."""
    number: dict[int, int] = {}
    first: list[int] = []
    for index, array in enumerate(arrays):
        if id(array) not in number:
            number[id(array)] = len(first)
            first.append(index)
    return first, [number[id(array)] for array in arrays]


def _by_length(items: Sequence[VideoItem]) -> list[VideoItem]:
    """Sort videos by length, so that little is padded."""
    return sorted(items, key=lambda item: len(item.features.clips))


def _by_video(results: Sequence[_Result], items: Sequence[VideoItem]) -> list[list[_Result]]:
    """Return results for all sentences, in the order of `_by_length`, by the video in which they were asked."""
    rest = iter(results)
    grouped = {id(item): [next(rest) for _ in item.words] for item in _by_length(items)}
    return [grouped[id(item)] for item in items]


def _stretch(curve: Array, clips: int) -> Array:
    """Resample a curve of as many or fewer bins over the same time to a value for each of `clips`."""
    stretched: Array = curve[((np.arange(clips) + 0.5) * (len(curve) / clips)).astype(np.intp)]
    return stretched
