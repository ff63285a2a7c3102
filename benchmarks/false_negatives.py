"""How many word-for-word duplicates a trained model's threshold phi takes out of the contrast, and how many others.

    python benchmarks/false_negatives.py DATA MODEL

DATA is the data folder that the model was trained on, with features at hand or in the cache. Batches are drawn as in
training, dropout included, and nothing is told to the model of which sentences are the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import LossConfig, TrainingConfig
from mttsg_core.data.feature_lookup import resolve_splits
from mttsg_core.data.folder import DataFolder
from mttsg_core.features.store import FeatureCache
from mttsg_core.training.losses import objective
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.utils.paths import default_cache


def measure(data: Path, model: Path, cache: Path, epochs: int = 3) -> dict[str, float]:
    """Shares dropped in percent, of pairs of other videos with the same sentence and of those with another one."""
    loaded = load_model(model)
    network = loaded.network.train()
    if network.negatives is None:
        raise SystemExit("the model was trained without negatives")
    sources = resolve_splits(DataFolder.open(data, None), ["train"], FeatureCache(cache), loaded.fingerprint)
    examples = TrainingSampler(sources.dataset("train", network.config.max_clips), loaded.text_encoder)
    counts = torch.zeros(2, 2)  # duplicates, others: dropped, all
    with torch.no_grad():
        for epoch in range(epochs):
            for batch in examples.batches(TrainingConfig(seed=1000), epoch):
                output = network(batch)
                objective(network, output, batch, LossConfig())  # phi goes on learning, as in training
                dropped = network.false_negatives(output, batch).pairs
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
        "phi": float(network.negatives.threshold.phi),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    torch.set_num_threads(2)
    print(json.dumps(measure(given.data, given.model, given.cache), indent=2))
