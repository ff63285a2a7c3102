"""Whether the clips of a data set and the sentences of a text encoder share one space, and what follows from it."""

from __future__ import annotations

import math

import numpy as np

from mttsg_core.data.dataset import Dataset
from mttsg_core.encoders import SentenceEncoder, TextEncoder
from mttsg_core.encoders.base import Array, sentence_encoder
from mttsg_core.encoders.joint_text import JointTextEncoder
from mttsg_core.errors import ConfigError, FeatureError

_VIDEOS = 300  # that are looked at, at most
_STANDARD_ERRORS = 5.0  # by which sentences must fit the clips of their moments better than the others
_MIN_PAIRS = 20


def with_shared_space(encoder: TextEncoder, dataset: Dataset, wanted: bool | None) -> TextEncoder:
    """Return the text encoder, with sentences embedded in the space of the clips if they share one.

    Args:
        encoder: of the sentences.
        dataset: of pairs with moments.
        wanted: whether they do; None finds out from the pairs, see `moment_preference`.

    Raises:
        ConfigError: if `wanted`, but the encoder does not embed sentences in as many dimensions as clips have.
    """
    if wanted is False or isinstance(encoder, JointTextEncoder):  # that of a stopped run embeds sentences already
        return encoder
    width = _clip_width(dataset)
    if wanted:
        return JointTextEncoder(require_embeddings(encoder, width))
    if not isinstance(encoder, SentenceEncoder) or encoder.embedding_dim != width:
        return encoder
    return JointTextEncoder(encoder) if moment_preference(encoder, dataset) >= _STANDARD_ERRORS else encoder


def require_embeddings(encoder: TextEncoder, width: int) -> SentenceEncoder:
    """Return a text encoder that embeds sentences in `width` dimensions.

    Raises:
        ConfigError: if it does not.
    """
    encoder = sentence_encoder(encoder)
    if encoder.embedding_dim != width:
        sizes = f"{encoder.embedding_dim} dimensions, but clips have {width}"
        raise ConfigError(f"text encoder {encoder.id!r} embeds sentences in {sizes}")
    return encoder


def moment_preference(encoder: SentenceEncoder, dataset: Dataset) -> float:
    """Return by how many standard errors sentences are nearer to the clips of their moments than to the others.

    In a space that clips and sentences do not share, it is as likely below 0 as above. It is 0 with too few pairs. What
    all sentences have in common is taken off.
    """
    differences: list[float] = []
    by_video = list(dataset.by_video().items())
    looked_at = by_video[:: max(1, math.ceil(len(by_video) / _VIDEOS))]
    sentences = [dataset.pairs[row].query for _, rows in looked_at for row in rows]
    centre = _unit(encoder.embed(sentences)).mean(axis=0) if sentences else 0.0  # (D,)
    for video, rows in looked_at:
        try:
            features = dataset.store.load(video)
        except FeatureError:
            continue
        clips = _unit(np.asarray(features.clips, dtype=np.float32))  # (T, D)
        timeline = features.timeline
        pairs = [dataset.pairs[row] for row in rows if dataset.pairs[row].moments]
        if not pairs:
            continue
        cosines = (_unit(encoder.embed([pair.query for pair in pairs])) - centre) @ clips.T  # (N, T)
        times = timeline.to_seconds(np.arange(len(clips)) + 0.5)
        for pair, cosine in zip(pairs, cosines, strict=True):
            inside = np.any([(times >= start) & (times < end) for start, end in pair.moments], axis=0)
            if inside.any() and not inside.all():
                differences.append(float(cosine[inside].mean() - cosine[~inside].mean()))
    if len(differences) < _MIN_PAIRS:
        return 0.0
    error = float(np.std(differences)) / math.sqrt(len(differences))
    return float(np.mean(differences)) / error if error > 0 else 0.0


def _clip_width(dataset: Dataset) -> int:
    """Return the width of the clip vectors of the first video that has features; 0 if none has."""
    return next((dataset.store.load(video).clips.shape[1] for video in dataset.by_video()), 0)


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit
