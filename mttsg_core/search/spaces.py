"""The space in which a product of a clip's and a sentence's vector tells how well they match, without their network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.inference.encoded_videos import Askable, EncodedVideo
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.inference.sliding_window import cut_windows
from mttsg_core.inference.zero_shot import ZeroShotPredictor
from mttsg_core.modeling.layers import unit_length
from mttsg_core.moments import Timeline

_DIGEST_BYTES = 8
_CLIPS_IN_A_ROW = (1, 3, 5)


class ClipVectors(NamedTuple):
    """The clips of one video, each by a vector or by several, one after the other.

    Attributes:
        vectors: (M, C).
        times: (M, 2) start and end of the clip of each in seconds.
    """

    vectors: Array
    times: Array


class ClipSpace(Protocol):
    """Makes vectors of clips and sentences that can be compared by their product."""

    @property
    def fingerprint(self) -> str:
        """Differs between models whose vectors must not be mixed; a valid part of a file name."""
        ...

    @property
    def dim(self) -> int:
        """C, the width of the vectors."""
        ...

    @property
    def widths(self) -> tuple[int, ...]:
        """Over how many clips in a row products are averaged: a moment may be a glimpse or last for long."""
        ...

    def clips(self, video: Askable) -> ClipVectors:
        """Return the vectors of a video, encoded or not. Overlapping windows of a long one may give a clip twice.

        Raises:
            FeatureError: if these are not the features that the model expects.
        """
        ...

    def sentences(self, queries: Sequence[str]) -> Array:
        """Return vectors (N, P, C) of at least one sentence: one each, or one for each of several parts.

        Raises:
            DataError: if a sentence is empty or has too many words.
        """
        ...


def clip_space(grounder: Grounder) -> ClipSpace | None:
    """Return the space of a model, or None for one that was trained without contrast: it has none."""
    predictor = grounder.predictor
    if isinstance(predictor, ZeroShotPredictor):
        return JointSpace(grounder, predictor)
    if not isinstance(predictor, MKTNPredictor) or predictor.network.contrast is None:
        return None
    return ContrastSpace(grounder, predictor)


class JointSpace:
    """The space of a pretrained joint model, without training.

    The product is what the score of a moment of this one clip would be made of, see `ZeroShotPredictor.clip_vectors`.
    """

    widths: ClassVar[tuple[int, ...]] = _CLIPS_IN_A_ROW

    def __init__(self, grounder: Grounder, predictor: ZeroShotPredictor) -> None:
        self._grounder, self._predictor = grounder, predictor

    @cached_property
    def fingerprint(self) -> str:
        """Of the features: all else is fixed."""
        settings = json.dumps(dict(self._predictor.fingerprint), sort_keys=True).encode()
        return hashlib.blake2b(settings, digest_size=_DIGEST_BYTES).hexdigest()

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self._predictor.dim

    def clips(self, video: Askable) -> ClipVectors:
        """Return the vectors of a video, see `ClipSpace.clips`."""
        if isinstance(video, EncodedVideo):
            raise ValueError("this video was encoded by a network")
        return ClipVectors(self._predictor.clip_vectors(video), _times(video.timeline))

    def sentences(self, queries: Sequence[str]) -> Array:
        """Return vectors (N, 1, C) of sentences, see `ClipSpace.sentences`."""
        return self._predictor.sentence_vectors(self._grounder.encode_queries(queries))[:, None]


class ContrastSpace:
    """The common space that the contrast of a trained network learned (docs/method.md, section 3)."""

    widths: ClassVar[tuple[int, ...]] = _CLIPS_IN_A_ROW

    def __init__(self, grounder: Grounder, predictor: MKTNPredictor) -> None:
        self._grounder, self._predictor = grounder, predictor

    @cached_property
    def fingerprint(self) -> str:
        """Of all weights, and of the kind of space."""
        digest = hashlib.blake2b(b"contrast", digest_size=_DIGEST_BYTES)
        for name, values in self._predictor.network.state_dict().items():
            digest.update(name.encode())
            digest.update(values.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def dim(self) -> int:
        """Width of the common space."""
        return self._predictor.network.config.contrast_width

    def clips(self, video: Askable) -> ClipVectors:
        """Return the vectors of a video, see `ClipSpace.clips`."""
        if isinstance(video, EncodedVideo):
            clips = [window.videos.contrast for window in video.windows]
            vectors = [unit_length(of_window[0].float()).cpu().numpy() for of_window in clips if of_window is not None]
            times = [_times(window.as_seen) for window in video.windows]
        else:
            cut = cut_windows(video, self._predictor.max_window_seconds)
            windows = [window.downsample(self._predictor.network.config.max_clips) for window in cut]
            vectors = [self._predictor.clip_vectors(window) for window in windows]
            times = [_times(window.timeline) for window in windows]
        return ClipVectors(np.concatenate(vectors), np.concatenate(times))

    def sentences(self, queries: Sequence[str]) -> Array:
        """Return vectors (N, 1, C) of sentences, see `ClipSpace.sentences`."""
        return self._predictor.sentence_vectors(self._grounder.encode_queries(queries))[:, None]


def _times(timeline: Timeline) -> Array:
    """Return start and end of each clip (T, 2) in seconds."""
    edges = timeline.to_seconds(np.arange(timeline.clips + 1))
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float32)
