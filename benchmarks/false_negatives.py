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

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import LossConfig, TrainingConfig
from mttsg_core.data.feature_lookup import resolve_splits
from mttsg_core.data.folder import DataFolder
from mttsg_core.features.store import FeatureCache
from mttsg_core.training.losses import MKTNCriterion
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.utils.paths import default_cache

_CONFIG = TrainingConfig(seed=1000)


@torch.no_grad()
def measure(data: Path, model: Path, cache: Path, epochs: int = 3) -> dict[str, float]:
    """Compare the sentences of batches with the memory of all pairs, and return what becomes of the pairs in percent.

    Args:
        data: data folder.
        model: model folder.
        cache: of features.
        epochs: passes over the training videos, after one that fills the memory and settles phi.
    """
    loaded = load_model(model)
    network = loaded.network.train()
    splits = resolve_splits(DataFolder.open(data, None), ["train"], FeatureCache(cache), loaded.fingerprint)
    sampler = TrainingSampler(splits.dataset("train", network.config.max_clips), loaded.text_encoder)
    criterion = MKTNCriterion(LossConfig(mining=1.0), network.config, sampler.examples)
    if criterion.false_negative_filter is None or criterion.memory is None:
        raise SystemExit("the model was trained without negatives, mining or contrast")
    thresholds, memory = criterion.false_negative_filter.thresholds, criterion.memory
    for batch, targets in sampler.batches(_CONFIG, epochs):
        criterion(network(batch), targets)
    sentences = [words.tobytes() for of_video in sampler.words for words in of_video]  # by number of the pair
    number = {sentence: index for index, sentence in enumerate(dict.fromkeys(sentences))}
    sentence_of = torch.tensor([number[sentence] for sentence in sentences])
    counts = torch.zeros(2, 3)  # duplicates, others: positives, neutral, all
    for epoch in range(epochs):
        for batch, targets in sampler.batches(_CONFIG, epoch):
            output = network(batch)
            criterion(output, targets)  # phi learns on, as in training
            if output.training is None or batch.sources is None:
                raise RuntimeError("a network in training mode gives what the losses need")
            excluded = batch.sources.excluded(batch.sources.queries, batch.video_index)
            scores, _, others = memory.relations(output.training.text, batch.sources.pairs, excluded)
            same = sentence_of[batch.sources.pairs][:, None] == sentence_of[memory.pairs.clamp_min(0)]
            positive, open_ = thresholds.match(scores), thresholds.may_match(scores)
            for row, kind in enumerate((same & others, ~same & others)):
                counts[row] += torch.stack([(positive & kind).sum(), (open_ & ~positive & kind).sum(), kind.sum()])
    share = 100 * counts[:, :2] / counts[:, 2:].clamp_min(1)  # (2, 2)
    phi, phi_same = thresholds.phi.tolist()
    return {
        "duplicate pairs": float(counts[0, 2]),
        "duplicates that are positives, %": float(share[0, 0]),
        "duplicates that are neutral, %": float(share[0, 1]),
        "other pairs": float(counts[1, 2]),
        "others that are positives, %": float(share[1, 0]),
        "others that are neutral, %": float(share[1, 1]),
        "phi": phi,
        "phi_same": phi_same,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder that the model was trained on")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="features of videos")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    print(json.dumps(measure(arguments.data, arguments.model, arguments.cache), indent=2))
