"""A trial run of a loaded network: weights that are finite can still be useless, such as all 1e30 or all zero.

Two small videos of noise are asked two sentences of noise. Noise has the mean and the spread of the training set as the
network itself records them. Every network that was trained at all gives other scores for other inputs, if only in the
last bits; one whose numbers overflow, vanish or saturate does not.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mttsg_core.data.batch import Batch
from mttsg_core.modeling.backbone import Standardise
from mttsg_core.modeling.mktn import MKTN

_VIDEOS, _CLIPS, _WORDS = 2, 8, 3
_TOP = 3
_MAX_REGION_NUMBERS = 1 << 22  # of one clip; a config of stranger sizes is not given memory for a trial


def useless_reason(network: MKTN) -> str | None:
    """Return why a network in evaluation mode can answer no question, or None if a trial run shows nothing wrong.

    It takes some milliseconds, and is the same for the same weights.
    """
    config = network.config
    if config.regions * config.region_dim > _MAX_REGION_NUMBERS:
        return None
    with torch.inference_mode():
        spans, scores = network(_noise(network)).head.answers(_TOP, config)  # of video 0, then of video 1
    if not (spans.isfinite().all() and scores.isfinite().all()):
        return "the numbers in the network overflow"
    answers = torch.cat([spans, scores[..., None]], dim=-1).reshape(_VIDEOS, -1)  # a video's answers in a row
    if not scores.any():
        return "the network scores every moment as 0"
    if torch.equal(answers[0], answers[1]):
        return "the answers of the network do not depend on the video"
    of_query = answers.reshape(_VIDEOS, 2, -1)
    if torch.equal(of_query[:, 0], of_query[:, 1]):
        return "the answers of the network do not depend on the sentence"
    return None


def _noise(network: MKTN) -> Batch:
    """Return the batch of a trial run."""
    config, random = network.config, np.random.default_rng(0)

    def draw(*shape: int) -> Tensor:
        return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))

    encoder = network.video_encoder
    regions = None
    if encoder.regions is not None:
        regions = _features(encoder.regions.standardise, draw(_VIDEOS, _CLIPS, config.regions, config.region_dim))
    queries = 2 * _VIDEOS
    return Batch(
        clips=_features(encoder.standardise, draw(_VIDEOS, _CLIPS, config.clip_dim)),
        clip_mask=torch.ones(_VIDEOS, _CLIPS, dtype=torch.bool),
        durations=torch.full((_VIDEOS,), float(_CLIPS)),
        words=draw(2, _WORDS, config.word_dim).repeat(_VIDEOS, 1, 1),  # the same sentences for both videos
        word_mask=torch.ones(queries, _WORDS, dtype=torch.bool),
        video_index=torch.arange(_VIDEOS).repeat_interleave(2),
        regions=regions,
    )


def _features(standardise: Standardise, noise: Tensor) -> Tensor:
    """Return features (..., D) that become this noise (..., D) when they are standardised."""
    scale = standardise.scale
    spread = torch.where(scale == 0, torch.ones_like(scale), 1 / scale)
    return standardise.mean + noise * spread
