"""Measure what further sentences of a video cost: time of a training step, and multiply-adds of grounding.

    python benchmarks/query_cost.py

Prints the ratio of a training step with 8 sentences per video to one with 1 sentence, on the same videos, and the
multiply-adds (torch's FlopCounterMode / 2; recurrent layers count by their matrix products) of 1, 4, 16 and 160
sentences of a video of 64 clips, and of longer videos.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Batch, Targets
from mttsg_core.modeling.mktn import MKTN, build_network
from mttsg_core.training.losses import MKTNCriterion

WORDS = 8
CLIP_FEATURES = NetworkConfig(clip_dim=768, word_dim=300)
REGION_FEATURES = NetworkConfig(clip_dim=102, word_dim=128, regions=49, region_dim=34)


def main() -> None:
    """Measure, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--repeats", type=int, default=7, help="number of timed steps")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    for name, config in (("clip features (64 x 768)", CLIP_FEATURES), ("regions (64 x 49 x 34)", REGION_FEATURES)):
        network = build_network(config)
        criterion = MKTNCriterion(LossConfig(), config)
        steps = [(make_batch(config, 16, 64, queries), make_targets(16 * queries, 64)) for queries in (1, 8)]
        times = [
            [step_seconds(network, criterion, batch, targets) for batch, targets in steps]
            for _ in range(arguments.repeats + 1)
        ][1:]  # the first turn warms up
        ratio = statistics.median(second / first for first, second in times)
        first, second = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name}: training step of 16 videos, 1 sentence each {first:.3f} s, 8 each {second:.3f} s: x{ratio:.2f}")
        for clips, counts in ((64, (1, 4, 16, 160)), (256, (1, 16))):
            for queries in counts:
                total = multiply_adds(network, make_batch(config, 1, clips, queries))
                base = multiply_adds(network, make_batch(config, 1, clips, 1))
                further = (
                    f", {(total - base) / (queries - 1) / 1e6:.1f} M for each after the first" if queries > 1 else ""
                )
                print(f"  {clips} clips, {queries} sentences: {total / 1e6:.1f} M multiply-adds{further}")


def make_batch(config: NetworkConfig, videos: int, clips: int, queries: int) -> Batch:
    """Return random features, and sentences of full length."""
    count = videos * queries
    return Batch(
        clips=torch.randn(videos, clips, config.clip_dim),
        clip_mask=torch.ones(videos, clips, dtype=torch.bool),
        durations=torch.full((videos,), 30.0),
        words=torch.randn(count, WORDS, config.word_dim),
        word_mask=torch.ones(count, WORDS, dtype=torch.bool),
        video_index=torch.arange(videos).repeat_interleave(queries),
        regions=torch.randn(videos, clips, config.regions, config.region_dim) if config.regions else None,
    )


def make_targets(queries: int, clips: int) -> Targets:
    """Return the same true moment for every query."""
    return Targets(torch.tensor([[clips * 0.3, clips * 0.6]]).repeat(queries, 1), torch.arange(queries))


def step_seconds(network: MKTN, criterion: MKTNCriterion, batch: Batch, targets: Targets) -> float:
    """Return the seconds of one forward and backward pass."""
    network.train()
    network.zero_grad()
    began = time.perf_counter()
    criterion(network(batch), targets).total.backward()
    return time.perf_counter() - began


@torch.no_grad()
def multiply_adds(network: MKTN, batch: Batch) -> float:
    """Return the multiply-adds of grounding, from features to scored proposals."""
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.backends.mkldnn.flags(enabled=False):
        network(batch)
    return counter.get_total_flops() / 2


if __name__ == "__main__":
    main()
