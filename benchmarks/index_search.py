"""Measure an index of many clip vectors: how long it takes to make, how large it is, how fast and how exact it answers.

    taskset -c 0,1 python benchmarks/index_search.py --clips 100000 1000000 10000000 --folder /tmp/index

The vectors are made up, but not uniform: clips of a scene are alike, scenes of a video less so, and videos belong to
one of 2,000 topics, in dimensions of falling weight. A sentence is near the middle of a scene. Recall is the share of
the exact 100 best clips that are among the 100 found. The goals for 10 million: 100 ms, recall 0.95, on two cores and
below 4 GB of memory. Questions are asked by a process of their own, which is what the memory is measured of.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mttsg_core.config import NetworkConfig
from mttsg_core.search.lance_index import LanceIndex
from mttsg_core.search.spaces import ClipVectors

DIM = NetworkConfig(clip_dim=1, word_dim=1).contrast_width
CLIPS, SCENE, TOPICS, VIDEOS_AT_ONCE = 120, 12, 2000, 1000  # a video of a minute, in scenes of six seconds
TOP, SENTENCES = 100, 40
_Vectors = npt.NDArray[np.float32]


def main() -> None:
    """Measure indexes of all sizes, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes to measure")
    parser.add_argument("--folder", type=Path, required=True, help="where the indexes are made; it is emptied")
    parser.add_argument("--ask", action="store_true", help="only ask an index that was made before")
    arguments = parser.parse_args()
    for clips in arguments.clips:
        folder = arguments.folder / str(clips)
        if arguments.ask:
            ask(folder)
            continue
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, clips)
        subprocess.run(
            [sys.executable, __file__, "--ask", "--clips", str(clips), "--folder", arguments.folder], check=True
        )


def make(folder: Path, clips: int) -> None:
    """Make an index and the exact answers, and print what that took."""
    folder.mkdir(parents=True)
    index = LanceIndex(folder, "benchmark", DIM, (1,))
    sentences = make_sentences(clips)
    best = np.full((SENTENCES, TOP), -np.inf, dtype=np.float32)
    began, spent = time.monotonic(), time.process_time()
    for number, vectors in enumerate(make_videos(clips)):
        stored = vectors.astype(np.float16).astype(np.float32).reshape(-1, DIM)
        best = np.partition(np.concatenate([best, sentences @ stored.T], axis=1), -TOP, axis=1)[:, -TOP:]
        times = np.stack([np.arange(CLIPS), np.arange(CLIPS) + 1], axis=1).astype(np.float32)
        index.add({f"{number:04x}{video:04x}": ClipVectors(clip, times) for video, clip in enumerate(vectors)})
    written = time.monotonic() - began
    began = time.monotonic()
    index.tidy_vectors()
    built, spent = time.monotonic() - began, time.process_time() - spent
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    np.save(folder / "lowest.npy", best.min(axis=1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds = f"made and written in {written:.0f} s, indexed in {built:.0f} s ({spent:.0f} s of CPU in all)"
    rate = f"{clips / (written + built):,.0f} clips a second"
    print(f"{clips:,} clips of {DIM}: {seconds}, {rate}; {size / 1e6:,.0f} MB, {peak:.2f} GB of memory", flush=True)


def ask(folder: Path) -> None:
    """Ask an index, and print how fast and how exact it is."""
    lowest = np.load(folder / "lowest.npy")
    index = LanceIndex(folder, "benchmark", DIM, (1,))
    wall, cpu, recall = [], [], []
    for sentence, limit in zip(make_sentences(int(folder.name)), lowest, strict=True):
        began, spent = time.monotonic(), time.process_time()
        found = index.nearest(sentence, TOP)
        wall.append(time.monotonic() - began)
        cpu.append(time.process_time() - spent)
        products = 1 - found["_distance"].to_numpy()  # LanceDB's distance of a product is one less the product
        recall.append(float((products >= limit - 1e-3).mean()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    figures = {
        "median_ms": round(1e3 * float(np.median(wall)), 1),
        "p95_ms": round(1e3 * float(np.quantile(wall, 0.95)), 1),
        "median_cpu_ms": round(1e3 * float(np.median(cpu)), 1),
        "recall": round(float(np.mean(recall)), 4),
        "memory_gb": round(peak, 2),
    }
    print(f"  top {TOP} of {folder.name}: {json.dumps(figures)}", flush=True)


def make_videos(clips: int) -> Iterator[_Vectors]:
    """Yield vectors of clips (videos, CLIPS, DIM), some videos at a time."""
    weight = _weights()
    topics: npt.NDArray[np.floating] = np.random.default_rng(0).normal(size=(TOPICS, DIM)) * weight
    generator = np.random.default_rng(1)
    videos = max(1, clips // CLIPS)
    for first in range(0, videos, VIDEOS_AT_ONCE):
        number = min(VIDEOS_AT_ONCE, videos - first)
        middle: npt.NDArray[np.floating] = topics[generator.integers(TOPICS, size=number)] + _noise(
            generator, (number, DIM), 0.5
        )
        scenes: npt.NDArray[np.floating] = middle[:, None] + _noise(generator, (number, CLIPS // SCENE, DIM), 0.5)
        yield _unit(np.repeat(scenes, SCENE, axis=1) + _noise(generator, (number, CLIPS, DIM), 0.25))


def make_sentences(clips: int) -> _Vectors:
    """Return vectors of sentences (SENTENCES, DIM), each near a scene of one of the first videos."""
    first = next(make_videos(clips)).reshape(-1, SCENE, DIM).mean(axis=1)
    generator = np.random.default_rng(2)
    chosen = _unit(first[generator.integers(len(first), size=SENTENCES)])
    return _unit(chosen + _noise(generator, (SENTENCES, DIM), 0.05))


def _weights() -> npt.NDArray[np.float64]:
    return np.asarray(np.arange(1, DIM + 1) ** -0.35, dtype=np.float64)


def _noise(generator: np.random.Generator, shape: tuple[int, ...], scale: float) -> npt.NDArray[np.float64]:
    return scale * generator.normal(size=shape) * _weights()


def _unit(vectors: npt.NDArray[np.floating]) -> _Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
