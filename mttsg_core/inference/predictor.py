"""What answers sentences in videos of a length that it knows: the seam between the `Grounder` and its networks.

A `Grounder` finds features, cuts long videos into windows and merges what is found in them; a `Predictor` sees whole
videos or windows, and does not know which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np
import torch

from mttsg_core.checkpoints.checkpoint import Model
from mttsg_core.data.batch import VideoItem, collate
from mttsg_core.encoders.base import Array, Settings
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.modes import Mode
from mttsg_core.modeling.grounding_head import HeadOutput, decode
from mttsg_core.modeling.proposals import coverage_probability
from mttsg_core.moments import Moment, Timeline

_CLIPS_AT_ONCE = 12288  # clips times queries in one step; larger tensors cost more to allocate than they save

_Answer = TypeVar("_Answer")


class Predictor(Protocol):
    """Scores the moments of videos for sentences. An answer depends on no other video."""

    @property
    def fingerprint(self) -> Settings:
        """Of the features that it expects."""
        ...

    @property
    def max_window_seconds(self) -> float | None:
        """Seconds of the longest video that it is made for; None if there is no limit."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """One array (L, D) a sentence, as `VideoItem.words` has them; each depends on its own sentence only."""
        ...

    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        """For each video and each of its sentences at most `top` moments, the best first."""
        ...

    def saliency(self, items: Sequence[VideoItem]) -> list[list[Array]]:
        """For each video and each of its sentences (T,): the chance, 0..1, that a clip lies inside the moment."""
        ...


class MKTNPredictor:
    """A trained network as a `Predictor`.

    Args:
        model: network, text encoder and what they expect.
        device: where it runs; None is the CPU.
    """

    def __init__(self, model: Model, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.network = model.network.to(self.device).eval()
        self.text_encoder = model.text_encoder
        self.fingerprint = model.fingerprint
        self.max_window_seconds = model.max_window_seconds
        self.calibration = model.calibration

    def encode(self, queries: Sequence[str]) -> list[Array]:
        """See `Predictor.encode`."""
        return self.text_encoder.encode(queries)

    @torch.inference_mode()
    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        """See `Predictor.ground`."""
        moments: list[list[Moment]] = []
        for head, videos in self._heads(items, mode):
            bounds, scores = decode(head, top)
            moments += to_moments(bounds, self.calibration.apply(scores), [video.timeline for video in videos])
        return _by_video(moments, items)

    @torch.inference_mode()
    def saliency(self, items: Sequence[VideoItem]) -> list[list[Array]]:
        """See `Predictor.saliency`."""
        saliency: list[Array] = []
        for head, videos in self._heads(items, "independent"):
            present = self.calibration.apply(head.presence.sigmoid())[:, None]
            chances = (present * coverage_probability(head.spans, head.mask.shape[1]).cpu()).float().numpy()
            saliency += [chance[: len(video.clips)] for chance, video in zip(chances, videos, strict=True)]
        return [
            [_stretch(curve, len(item.features.clips)) for curve in found]
            for item, found in zip(items, _by_video(saliency, items), strict=True)
        ]

    def _heads(self, items: Sequence[VideoItem], mode: Mode) -> Iterator[tuple[HeadOutput, list[VideoFeatures]]]:
        """What the head says of some queries at a time, and the video of each as the network sees it.

        They come in the order of `_by_length`.
        """
        most = self.network.config.max_clips
        joint = mode == "joint"
        asked = [replace(item, features=item.features.at_most(most)) for item in _by_length(items) if item.words]
        if not asked:
            return
        batch = collate(asked).to(self.device)
        videos = self.network.encode_videos(batch)
        first, places = _distinct([words for item in asked for words in item.words])
        encoded = self.network.query_encoder(batch.words[first], batch.word_mask[first])
        video = query = 0
        for group in _groups(asked):
            clips = max(len(item.features.clips) for item in group)
            prepared = videos.part(slice(video, video + len(group)), clips)
            features = [item.features for item in group for _ in item.words]
            chosen = places[query : query + len(features)]  # which of the sentences each is
            index = batch.video_index[query : query + len(features)] - video
            step = len(features) if joint else max(1, _CLIPS_AT_ONCE // clips)
            for part in (slice(start, start + step) for start in range(0, len(features), step)):
                output = self.network.ground(prepared, encoded.part(chosen[part]), index[part], joint=joint)
                yield output.head, features[part]
            video, query = video + len(group), query + len(features)


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


def _groups(items: Iterable[VideoItem]) -> Iterator[list[VideoItem]]:
    """Neighbours that fit into one step, padded to the longest video and the most queries; at least one each."""
    group: list[VideoItem] = []
    for item in items:
        larger = [*group, item]
        queries, clips = max(len(one.words) for one in larger), max(len(one.features.clips) for one in larger)
        if group and len(larger) * queries * clips > _CLIPS_AT_ONCE:
            yield group
            larger = [item]
        group = larger
    if group:
        yield group


def _distinct(arrays: Sequence[Array]) -> tuple[list[int], list[int]]:
    """The place of the first of each array that stands there several times, and for each its number among those."""
    number: dict[int, int] = {}
    first: list[int] = []
    for place, array in enumerate(arrays):
        if id(array) not in number:
            number[id(array)] = len(first)
            first.append(place)
    return first, [number[id(array)] for array in arrays]


def _by_length(items: Sequence[VideoItem]) -> list[VideoItem]:
    """Videos of like length side by side, so that little is padded."""
    return sorted(items, key=lambda item: len(item.features.clips))


def _by_video(answers: Sequence[_Answer], items: Sequence[VideoItem]) -> list[list[_Answer]]:
    """The answers to all sentences, in the order of `_by_length`, back to the videos in which they were asked."""
    rest = iter(answers)
    found = {id(item): [next(rest) for _ in item.words] for item in _by_length(items)}
    return [found[id(item)] for item in items]


def _stretch(curve: Array, clips: int) -> Array:
    """A value for each of `clips`, from a value for each of as many or fewer bins over the same time."""
    stretched: Array = curve[((np.arange(clips) + 0.5) * (len(curve) / clips)).astype(np.intp)]
    return stretched
