"""Measure how much two processes with one thread each gain over one: the same steps, in turns.

    python benchmarks/rank_speed.py [--ranks 2] [--steps 8] [--turns 4]

Made-up features of the shape of CLIP's (64 clips of 768 numbers), three sentences a video, the default network, and so
many videos that batches of either size are sorted by length among four, as those of a real data set are. In each turn
one process takes some steps of 12 videos, and then all ranks together take the same steps; and once more with 12 videos
a rank, twice as many together. Efficiency is the time of one process over that of the ranks, divided by their number
and multiplied by how much more they learn from. Seconds are taken from the clock and, as other programs may be at work,
from the processors: what all ranks used against what one process used. The load of the machine is printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig
from mttsg_core.data.dataset import Dataset
from mttsg_core.data.pairs import Pair
from mttsg_core.encoders import build_text_encoder
from mttsg_core.features.store import FeatureStore, VideoFeatures, write_features
from mttsg_core.modeling.mktn import build_network
from mttsg_core.training.run import TrainingRun
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.utils.devices import keep_freed_memory
from mttsg_core.utils.distributed import ALONE, Ranks, join_ranks
from mttsg_core.utils.launch import find_launch

CLIPS, WIDTH, VIDEOS, SENTENCES = 64, 768, 384, 3
CPU = torch.device("cpu")


def main() -> None:
    """Measure, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=2, help="number of processes")
    parser.add_argument("--steps", type=int, default=8, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=4, help="number of turns, the first of which warms up")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_features(Path(folder))
        for videos, name in ((12, "the same step"), (12 * arguments.ranks, "12 videos a rank")):
            one, ranks = measure(Path(folder), videos, arguments.ranks, arguments.steps, arguments.turns)
            more = videos / 12
            clock = [
                a[0] / max(b[0] for b in of_ranks) / arguments.ranks * more
                for a, of_ranks in zip(one, ranks, strict=True)
            ]
            processors = [a[1] / sum(b[1] for b in of_ranks) * more for a, of_ranks in zip(one, ranks, strict=True)]
            seconds = statistics.median(a[0] for a in one), statistics.median(max(b[0] for b in r) for r in ranks)
            print(
                f"{name}: a step {seconds[0]:.3f} s, of {arguments.ranks} ranks {seconds[1]:.3f} s; efficiency by the "
                f"clock {statistics.median(clock):.2f} ({min(clock):.2f} to {max(clock):.2f}), by processor time "
                f"{statistics.median(processors):.2f} ({min(processors):.2f} to {max(processors):.2f})"
            )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def make_features(folder: Path) -> None:
    """Write random features of all videos."""
    generator = np.random.default_rng(0)
    for number in range(VIDEOS):
        clips = generator.normal(size=(CLIPS, WIDTH)).astype(np.float32)
        write_features(folder / f"{number}.safetensors", VideoFeatures(clips, None, 30.0, {"encoder": "made up"}))


def training_run(folder: Path, videos: int, ranks: Ranks) -> tuple[TrainingRun, TrainingSampler]:
    """Return a run, and the sampler of its batches of some videos."""
    keep_freed_memory()  # as training does
    generator = np.random.default_rng(1)
    names = [str(number) for number in range(VIDEOS)]
    pairs = []
    for name in names:
        for number in range(SENTENCES):
            start = float(generator.uniform(0, 20))
            sentence = " ".join(f"word{word}" for word in generator.integers(500, size=8))
            pairs.append(Pair(f"{name}-{number}", name, sentence, ((start, start + 8.0),), 30.0))
    files = {name: folder / f"{name}.safetensors" for name in names}
    encoder = build_text_encoder("hashed")
    sampler = TrainingSampler(Dataset("train", pairs, FeatureStore(files, max_clips=CLIPS)), encoder)
    torch.manual_seed(0)
    network = build_network(NetworkConfig(**{**sampler.feature_sizes(), "word_dim": encoder.dim}))  # type: ignore[arg-type]
    config = TrainingConfig(batch_videos=videos)
    return TrainingRun(network, config, LossConfig(), 1000, sampler.examples, CPU, ranks), sampler


def take_steps(run: TrainingRun, sampler: TrainingSampler, steps: int) -> tuple[float, float]:
    """Take steps; return the seconds of one, by the clock and of the processor."""
    run.network.train()
    run.criterion.train()
    batches = sampler.batches(run.config, run.progress.steps, run.ranks)
    start = time.perf_counter(), time.process_time()
    for _ in range(steps):
        batch = next(batches, None)
        if batch is None:
            batches = sampler.batches(run.config, run.progress.steps, run.ranks)
            batch = next(batches)
        run._step(*batch)
    return (time.perf_counter() - start[0]) / steps, (time.process_time() - start[1]) / steps


def measure(
    folder: Path, videos: int, ranks: int, steps: int, turns: int
) -> tuple[list[tuple[float, float]], list[list[tuple[float, float]]]]:
    """Take steps in turns; return the seconds of a step of one process, and of each rank, turn by turn."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("spawn")
    workers = []
    for rank in range(ranks):
        here, there = context.Pipe()
        given = there, folder, videos, steps, rank, ranks, store.port
        process = context.Process(target=work, args=given, daemon=True)
        process.start()
        workers.append((process, here))
    run, sampler = training_run(folder, 12, ALONE)
    for _, connection in workers:
        connection.recv()
    one, of_ranks = [], []
    for _ in range(turns):
        one.append(take_steps(run, sampler, steps))
        for _, connection in workers:
            connection.send(True)
        of_ranks.append([connection.recv() for _, connection in workers])
    for process, connection in workers:
        connection.send(False)
        process.join()
    return one[1:], of_ranks[1:]


def work(connection: Connection, folder: Path, videos: int, steps: int, rank: int, world: int, port: int) -> None:
    """Take steps as one of the ranks, whenever told to."""
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, TORCHELASTIC_USE_AGENT_STORE="True")
    launch = find_launch()
    if launch is None:
        raise RuntimeError("the environment names no rank")
    with join_ranks(launch, CPU) as ranks:
        run, sampler = training_run(folder, videos, ranks)
        connection.send(None)
        while connection.recv():
            ranks.meet()
            connection.send(take_steps(run, sampler, steps))


if __name__ == "__main__":
    main()
