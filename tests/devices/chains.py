"""The chain as the tests of devices run it: batches of a real step's shape, runs on a device, what was counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig
from mttsg_core.data.batch import Batch, Targets, VideoItem, collate, collate_targets
from mttsg_core.features.store import VideoFeatures
from mttsg_core.modeling.mktn import build_network
from mttsg_core.training.run import TrainingRun
from tests.helpers.tiny import FINGERPRINT, SIZES

CPU = torch.device("cpu")
CLIP_DIM, WORD_DIM, REGIONS, REGION_DIM = 12, 10, 4, 6


def step_batch(
    videos: int = 12, queries: tuple[int, int] = (3, 8), clips: tuple[int, int] = (40, 64), *, regions: bool = True
) -> tuple[Batch, Targets]:
    """Make a batch of training of the default shape: videos, queries of a video, clips; one query is a negative."""
    generator = np.random.default_rng(0)

    def item(video: int) -> VideoItem:
        length = clips[1] if video == 0 else int(generator.integers(clips[0], clips[1] + 1))
        count = int(generator.integers(queries[0], queries[1] + 1))
        words = [generator.normal(size=(size, WORD_DIM)) for size in generator.integers(4, 14, size=count + 1)]
        sentences = [vectors.astype(np.float32) for vectors in words]
        features = VideoFeatures(
            clips=generator.normal(size=(length, CLIP_DIM)).astype(np.float32),
            regions=generator.normal(size=(length, REGIONS, REGION_DIM)).astype(np.float32) if regions else None,
            duration=length / 2,
            fingerprint=FINGERPRINT,
        )
        spans = np.sort(generator.uniform(0, length, size=(count, 2)), axis=1).astype(np.float32)
        pairs = list(range(100 * video, 100 * video + count))
        negatives = sentences[count:] if video == 1 else []
        return VideoItem(features, sentences[:count], spans, [video] * count, pairs, [video], negatives)

    items = [item(video) for video in range(videos)]
    return collate(items), collate_targets(items)


def run_on(
    device: torch.device, *, regions: bool = True, loss: LossConfig | None = None, **settings: Any
) -> TrainingRun:
    """Return a training run on a device, with the same weights on each."""
    torch.manual_seed(0)
    sizes = {"clip_dim": CLIP_DIM, "word_dim": WORD_DIM}
    if regions:
        sizes |= {"regions": REGIONS, "region_dim": REGION_DIM}
    network = build_network(NetworkConfig(**{**SIZES, **sizes, **settings})).to(device)
    run = TrainingRun(network, TrainingConfig(), loss or LossConfig(), 20, 2000, device)
    run.network.train()
    run.criterion.train()
    return run


def take_steps(run: TrainingRun, batch: tuple[Batch, Targets], steps: int = 2) -> None:
    """Take some steps on one batch, with the same dropout on each device."""
    torch.manual_seed(1)
    for _ in range(steps):
        run._step(*batch)


def pinned(batch: tuple[Batch, Targets]) -> tuple[Batch, Targets]:
    """Return a batch as training prefetches it for a GPU."""
    return batch[0].pin_memory(), batch[1].pin_memory()
