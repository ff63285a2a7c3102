"""Share of word-for-word duplicates, and of other pairs, that a trained model drops from its contrasts as too similar.

    python benchmarks/false_negatives.py DATA MODEL

DATA is the data folder that the model was trained on, with features in it or in the cache. Batches are drawn as in
training, dropout included, and the model is not told which sentences are the same. The threshold phi is read from the
training state of the model folder; without one it is estimated in a first pass over the data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.checkpoints.runs import STATE
from mttsg_core.config import LossConfig, TrainingConfig
from mttsg_core.data.feature_lookup import resolve_splits
from mttsg_core.data.folder import DataFolder
from mttsg_core.features.store import FeatureCache
from mttsg_core.modeling.mktn import MKTN
from mttsg_core.training.losses import MKTNCriterion
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.utils.paths import default_cache

_PREFIX = "criterion."
_CONFIG = TrainingConfig(seed=1000)


@torch.no_grad()
def measure(data: Path, model: Path, cache: Path, epochs: int = 3) -> dict[str, float]:
    """Count pairs of different videos, and return the shares dropped in percent.

    Args:
        data: data folder.
        model: model folder.
        cache: of features.
        epochs: passes over the training videos.
    """
    loaded = load_model(model)
    network = loaded.network.train()
    criterion = MKTNCriterion(LossConfig(), network.config)
    if criterion.false_negative_filter is None:
        raise SystemExit("the model was trained without negatives")
    splits = resolve_splits(DataFolder.open(data, None), ["train"], FeatureCache(cache), loaded.fingerprint)
    sampler = TrainingSampler(splits.dataset("train", network.config.max_clips), loaded.text_encoder)
    if not restore_threshold(criterion, model):
        settle_threshold(criterion, network, sampler, epoch=epochs)  # other batches than those counted below
    counts = torch.zeros(2, 2)  # duplicates, others: dropped, all
    for epoch in range(epochs):
        for batch, targets in sampler.batches(_CONFIG, epoch):
            dropped = criterion.false_negatives(network(batch), targets).pairs  # phi learns on, as in training
            words = batch.words.flatten(1)
            same = (words[:, None] == words).all(-1)
            other_video = batch.video_index[:, None] != batch.video_index
            for row, kind in enumerate((same & other_video, ~same & other_video)):
                counts[row] += torch.stack([(dropped & kind).sum(), kind.sum()])
    share = 100 * counts[:, 0] / counts[:, 1].clamp_min(1)
    return {
        "duplicate pairs": float(counts[0, 1]),
        "duplicates dropped, %": float(share[0]),
        "other pairs": float(counts[1, 1]),
        "others dropped, %": float(share[1]),
        "phi": float(criterion.false_negative_filter.threshold.phi),
    }


def restore_threshold(criterion: MKTNCriterion, model: Path) -> bool:
    """Read the state of phi from the training state of a model folder, and return whether there is one."""
    if not (model / STATE).is_file():
        return False
    with safe_open(model / STATE, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(_PREFIX)]  # noqa: SIM118
        state = {name.removeprefix(_PREFIX): file.get_tensor(name) for name in names}
    if state:
        criterion.load_state_dict(state)
    return bool(state)


def settle_threshold(criterion: MKTNCriterion, network: MKTN, sampler: TrainingSampler, epoch: int) -> None:
    """Estimate phi in one pass over the training videos."""
    for batch, targets in sampler.batches(_CONFIG, epoch):
        criterion.false_negatives(network(batch), targets)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder that the model was trained on")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="features of videos")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    print(json.dumps(measure(arguments.data, arguments.model, arguments.cache), indent=2))
