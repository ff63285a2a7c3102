"""Small networks and batches for the tests of the modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Batch, Targets, VideoItem, collate, collate_targets
from mttsg_core.features.store import VideoFeatures
from mttsg_core.modeling.mktn import MKTN, build_network
from mttsg_core.training.losses import Losses, MKTNCriterion

SMALL: dict[str, Any] = {
    "clip_dim": 6,
    "word_dim": 5,
    "width": 16,
    "region_width": 8,
    "region_heads": 2,
    "head_width": 8,
    "proposal_width": 4,
    "contrast_width": 8,
    "prototype_width": 8,
    "memory_queue": 12,
    "memory_top": 4,
}
# Switch of each module -> the attribute of the network that holds it.
MODULES = {
    "contrast": "contrast",
    "mining": "memory",
    "objects": "object_phrase",
    "activities": "activity_sentence",
}
SIZES = ((9, (4, 2, 6)), (5, (3,)), (12, (1, 5)), (7, (2, 2, 4, 3)), (10, (6,)), (8, (3, 4)))  # clips, words


def small_config(*, regions: int = 3, **changes: Any) -> NetworkConfig:
    """Return a small config, with regions of 4 numbers unless `regions` is 0."""
    return NetworkConfig(**{**SMALL, "regions": regions, "region_dim": 4 if regions else 0, **changes})


def small_network(*, regions: int = 3, seed: int = 0, **changes: Any) -> MKTN:
    """Build a network in evaluation mode, without weights that are all zero, and with entries in its memory."""
    torch.manual_seed(seed)
    network = build_network(small_config(regions=regions, **changes))
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    if network.memory is not None:
        network.memory.enqueue(torch.randn(7, SMALL["width"]))
    return network.eval()


def small_item(clips: int, words: Sequence[int], *, regions: int = 3, seed: int = 0) -> VideoItem:
    """Make a video of `clips` clips with a sentence of each number of words, and their true moments."""
    random = np.random.default_rng(seed)
    features = VideoFeatures(
        clips=random.normal(size=(clips, SMALL["clip_dim"])).astype(np.float32),
        regions=random.normal(size=(clips, regions, 4)).astype(np.float32) if regions else None,
        duration=clips * 0.7,
        fingerprint={"encoder": "test"},
    )
    sentences = [random.normal(size=(count, SMALL["word_dim"])).astype(np.float32) for count in words]
    spans = np.sort(random.uniform(0, clips, size=(len(words), 2)), axis=1).astype(np.float32)
    return VideoItem(features, sentences, spans)


def small_items(*, regions: int = 3, seed: int = 0) -> list[VideoItem]:
    """Make six videos of different lengths with one to four sentences each."""
    return [small_item(*size, regions=regions, seed=seed + number) for number, size in enumerate(SIZES)]


def small_batch(*, regions: int = 3, seed: int = 0) -> Batch:
    """Make the batch of `small_items`."""
    return collate(small_items(regions=regions, seed=seed))


def small_targets(*, regions: int = 3, seed: int = 0) -> Targets:
    """Make the targets of `small_batch`."""
    return collate_targets(small_items(regions=regions, seed=seed))


def small_losses(network: MKTN, items: Sequence[VideoItem], config: LossConfig | None = None) -> Losses:
    """Compute the losses of a batch of videos, with a network in training mode and a fresh criterion."""
    criterion = MKTNCriterion(config or LossConfig(), network.config)
    losses: Losses = criterion(network.train()(collate(items)), collate_targets(items))
    return losses
