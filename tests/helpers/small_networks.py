"""Small networks and batches for the tests of the modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from mttsg_core.config import NetworkConfig
from mttsg_core.data.batch import Batch, VideoItem, collate
from mttsg_core.features.store import VideoFeatures
from mttsg_core.modeling.mktn import MKTN, build_network

SMALL: dict[str, Any] = {
    "clip_dim": 6,
    "word_dim": 5,
    "width": 16,
    "region_width": 8,
    "region_heads": 2,
    "head_width": 8,
    "span_width": 4,
    "contrast_width": 8,
    "prototype_width": 8,
    "memory_queue": 12,
    "memory_top": 4,
}
MODULES = ("contrast", "mining", "objects", "activities")


def small_config(*, regions: int = 3, **changes: Any) -> NetworkConfig:
    """With regions of 4 numbers, unless `regions` is 0."""
    return NetworkConfig(**{**SMALL, "regions": regions, "region_dim": 4 if regions else 0, **changes})


def small_network(*, regions: int = 3, seed: int = 0, **changes: Any) -> MKTN:
    """In evaluation, with no weight left at zero, and something in the memory's queue."""
    torch.manual_seed(seed)
    network = build_network(small_config(regions=regions, **changes))
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    if network.mining is not None:
        network.mining.remember(torch.randn(7, SMALL["width"]))
    return network.eval()


def small_item(clips: int, words: list[int], *, regions: int = 3, seed: int = 0) -> VideoItem:
    """A video of so many clips with a sentence of so many words each."""
    random = np.random.default_rng(seed)
    features = VideoFeatures(
        clips=random.normal(size=(clips, SMALL["clip_dim"])).astype(np.float32),
        regions=random.normal(size=(clips, regions, 4)).astype(np.float32) if regions else None,
        duration=clips * 0.7,
        fingerprint={"encoder": "test"},
    )
    sentences = [random.normal(size=(count, SMALL["word_dim"])).astype(np.float32) for count in words]
    ends = np.sort(random.uniform(0, clips, size=(len(words), 2)), axis=1).astype(np.float32)
    return VideoItem(features, sentences, ends)


def small_batch(*, regions: int = 3, seed: int = 0) -> Batch:
    """Six videos of different lengths with one to four sentences each."""
    sizes = [(9, [4, 2, 6]), (5, [3]), (12, [1, 5]), (7, [2, 2, 4, 3]), (10, [6]), (8, [3, 4])]
    return collate([small_item(*size, regions=regions, seed=seed + i) for i, size in enumerate(sizes)])
