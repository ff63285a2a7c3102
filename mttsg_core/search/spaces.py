"""The space in which a product of a clip's and a sentence's vector tells how well they match, without their network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.inference.sliding_window import cut_windows
from mttsg_core.inference.zero_shot import ZeroShotPredictor

_DIGEST_BYTES = 8


class ClipVectors(NamedTuple):
    """The clips of one video.

    Attributes:
        vectors: (T, C).
        times: (T, 2) start and end of each in seconds.
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

    def clips(self, features: VideoFeatures) -> ClipVectors:
        """Return the vectors of a video. Overlapping windows of a long video may give a clip twice.

        Raises:
            FeatureError: if these are not the features that the model expects.
        """
        ...

    def sentences(self, queries: Sequence[str]) -> Array:
        """Return vectors (N, C) of sentences.

        Raises:
            DataError: if a sentence is empty or has too many words.
        """
        ...


def clip_space(grounder: Grounder) -> ClipSpace | None:
    """Return the space of a model, or None for one that was trained without a contrast: it has no such space."""
    predictor = grounder.predictor
    if isinstance(predictor, ZeroShotPredictor):
        return JointSpace(grounder, predictor)
    if isinstance(predictor, MKTNPredictor) and predictor.network.contrast is not None:
        return ContrastSpace(grounder, predictor)
    return None


class JointSpace:
    """The space of a pretrained joint model, without training.

    The product is what the score of a moment of this one clip would be made of, see `ZeroShotPredictor.clip_vectors`.
    """

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

    def clips(self, features: VideoFeatures) -> ClipVectors:
        """Return the vectors of a video, see `ClipSpace.clips`."""
        return ClipVectors(self._predictor.clip_vectors(features), _times(features))

    def sentences(self, queries: Sequence[str]) -> Array:
        """Return vectors of sentences, see `ClipSpace.sentences`."""
        words = self._grounder.encode_queries(queries)
        return self._predictor.sentence_vectors(words)


class ContrastSpace:
    """The common space that the contrast of a trained network learned (docs/method.md, section 3)."""

    def __init__(self, grounder: Grounder, predictor: MKTNPredictor) -> None:
        self._grounder, self._predictor = grounder, predictor

    @cached_property
    def fingerprint(self) -> str:
        """Of all weights."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for name, values in self._predictor.network.state_dict().items():
            digest.update(name.encode())
            digest.update(values.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def dim(self) -> int:
        """Width of the common space."""
        return self._predictor.network.config.contrast_width

    def clips(self, features: VideoFeatures) -> ClipVectors:
        """Return the vectors of a video, see `ClipSpace.clips`."""
        config = self._predictor.network.config
        windows = [
            window.downsample(config.max_clips) for window in cut_windows(features, self._predictor.max_window_seconds)
        ]
        vectors = [self._predictor.clip_vectors(window) for window in windows]
        return ClipVectors(np.concatenate(vectors), np.concatenate([_times(window) for window in windows]))

    def sentences(self, queries: Sequence[str]) -> Array:
        """Return vectors of sentences, see `ClipSpace.sentences`."""
        return self._predictor.sentence_vectors(self._grounder.encode_queries(queries))


def _times(features: VideoFeatures) -> Array:
    """Return start and end of each clip (T, 2) in seconds."""
    timeline = features.timeline
    edges = timeline.to_seconds(np.arange(timeline.clips + 1))
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float32)
