"""Measure how many word-for-word duplicates adaptive negative selection removes, and how many other pairs.

    python benchmarks/false_negatives.py DATA MODEL

DATA is the data folder that the model was trained on, with its features in the folder or in the cache. MODEL still has
its training state (`state/`), which holds the threshold phi. Batches are drawn as in training, dropout included. The
model is not told which sentences are the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig
from mttsg_core.data.feature_lookup import resolve_splits
from mttsg_core.data.folder import DataFolder
from mttsg_core.features.store import FeatureCache
from mttsg_core.training.losses import MKTNCriterion
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.training.trainer import find_state
from mttsg_core.utils.paths import default_cache


def measure(data: Path, model: Path, cache: Path, epochs: int = 3) -> dict[str, float]:
    """Return the shares of the pairs of other videos that are dropped, in percent: of duplicates and of all others."""
    loaded = load_model(model)
    network = loaded.network.train()
    criterion = load_criterion(model, network.config)
    if criterion.false_negative_filter is None:
        raise SystemExit("the model was trained without negatives")
    sources = resolve_splits(DataFolder.open(data, None), ["train"], FeatureCache(cache), loaded.fingerprint)
    sampler = TrainingSampler(sources.dataset("train", network.config.max_clips), loaded.text_encoder)
    counts = torch.zeros(2, 2)  # (duplicates and others, dropped and all)
    with torch.no_grad():
        for epoch in range(epochs):
            for batch, targets in sampler.batches(TrainingConfig(seed=1000), epoch):
                output = network(batch)
                criterion(output, targets)  # phi continues to adapt, as in training
                dropped = criterion.false_negatives(output, targets).pairs
                words = batch.words.flatten(1)
                same = (words[:, None] == words).all(-1)
                elsewhere = batch.video_index[:, None] != batch.video_index
                for row, kind in enumerate((same & elsewhere, ~same & elsewhere)):
                    counts[row] += torch.stack([(dropped & kind).sum(), kind.sum()])
    share = 100 * counts[:, 0] / counts[:, 1].clamp_min(1)
    return {
        "duplicate pairs": float(counts[0, 1]),
        "duplicates dropped, %": float(share[0]),
        "other pairs": float(counts[1, 1]),
        "others dropped, %": float(share[1]),
        "phi": float(criterion.false_negative_filter.threshold.phi),
    }


def load_criterion(model: Path, network: NetworkConfig) -> MKTNCriterion:
    """Return the losses in training mode, with the threshold phi that the training of a model ended with."""
    criterion = MKTNCriterion(LossConfig(), network)
    prefix = "criterion."
    state = load_file(find_state(model))
    criterion.load_state_dict(
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    )
    return criterion.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder of the training")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of cached features")
    given = parser.parse_args()
    torch.set_num_threads(2)
    print(json.dumps(measure(given.data, given.model, given.cache), indent=2))
