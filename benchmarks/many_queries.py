"""Measure how long many sentences take: 1 to 160 for one video of 30 s, and 50 for each of 200 videos.

    taskset -c 0,1 python benchmarks/many_queries.py

Features are in files, and the model is loaded before the measurement. The network has its default size, and features
are as large as those of the `classic` encoder; random weights take as long as trained ones. The goals, on two cores:
100 sentences for a video in 0.3 s, 50 for each of 200 videos in 5 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from mttsg_core.checkpoints.checkpoint import Model
from mttsg_core.config import NetworkConfig
from mttsg_core.encoders import build_text_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.features.store import VideoFeatures, read_features, write_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.mktn import build_network

FINGERPRINT: Settings = {"encoder": "benchmark", "version": 1}
CLIPS, CLIP_DIM, REGIONS, REGION_DIM = 60, 102, 49, 34  # 30 s at two clips per second
COLOURS, SHAPES = ("red", "blue", "green", "white"), ("circle", "star", "square")
ACTIVITIES = ("moves left", "moves right", "grows", "shrinks", "turns around", "meets another one", "blinks")
TIMES = ("first", "at the end")
SENTENCES = [f"the {' '.join(words)}" for words in product(COLOURS, SHAPES, ACTIVITIES, TIMES)]


def main() -> None:
    """Measure, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--videos", type=int, default=200, help="number of videos")
    parser.add_argument("--repeats", type=int, default=9, help="number of timed runs, of which the median counts")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    text = build_text_encoder()
    config = NetworkConfig(clip_dim=CLIP_DIM, word_dim=text.dim, regions=REGIONS, region_dim=REGION_DIM)
    grounder = Grounder(MKTNPredictor(Model(build_network(config), text, FINGERPRINT)))
    with tempfile.TemporaryDirectory() as folder:
        videos = [write_video(Path(folder) / f"{number}.safetensors", number) for number in range(given.videos)]
        figures = {
            f"{count} sentences for a video, s": median_seconds(grounder, videos[:1], count, given.repeats)
            for count in (1, 4, 16, 100, 160)
        }
        figures[f"50 sentences for {given.videos} videos, s"] = median_seconds(grounder, videos, 50, 3)
    print(json.dumps({name: round(seconds, 4) for name, seconds in figures.items()}, indent=2))


def write_video(path: Path, seed: int) -> Path:
    """Write a feature file of random values."""
    random = np.random.default_rng(seed)
    clips = random.normal(size=(CLIPS, CLIP_DIM)).astype(np.float32)
    regions = random.normal(size=(CLIPS, REGIONS, REGION_DIM)).astype(np.float32)
    write_features(path, VideoFeatures(clips, regions, CLIPS / 2, FINGERPRINT))
    return path


def median_seconds(grounder: Grounder, videos: list[Path], sentences: int, repeats: int) -> float:
    """Return the median time from feature files to moments; a first run only warms up."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        moments = list(grounder.ground_many((read_features(video), SENTENCES[:sentences]) for video in videos))
        seconds.append(time.perf_counter() - began)
        assert all(len(of_video) == sentences for of_video in moments)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
