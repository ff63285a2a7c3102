"""How long many sentences take: 1 to 160 of one video of 30 s, and 50 of each of 200 videos.

    taskset -c 0,1 python benchmarks/many_queries.py

Features are in files and the model is loaded before the clock starts. The network has the default size and the features
those of the `classic` encoder; its weights are not trained, which changes no time. The bars, on two cores: 100
sentences of a video in 0.3 s, 50 of each of 200 videos in 5 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
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
CLIPS, CLIP_DIM, REGIONS, REGION_DIM = 60, 102, 49, 34  # 30 s at two clips a second
THINGS = [f"{colour} {shape}" for colour in ("red", "blue", "green", "white") for shape in ("circle", "star", "square")]
DEEDS = ("moves to the left", "moves to the right", "grows", "shrinks", "turns around", "meets another one", "blinks")
SENTENCES = [f"the {thing} {deed} {when}" for thing in THINGS for deed in DEEDS for when in ("first", "at the end")]


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--videos", type=int, default=200, help="in the folder")
    parser.add_argument("--repeats", type=int, default=9, help="runs timed, of which the median counts")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    text = build_text_encoder()
    config = NetworkConfig(clip_dim=CLIP_DIM, word_dim=text.dim, regions=REGIONS, region_dim=REGION_DIM)
    grounder = Grounder(MKTNPredictor(Model(build_network(config), text, FINGERPRINT)))
    with tempfile.TemporaryDirectory() as folder:
        videos = [write_video(Path(folder) / f"{number}.safetensors", number) for number in range(given.videos)]
        figures = {
            f"{count} sentences of a video, s": median_seconds(grounder, videos[:1], count, given.repeats)
            for count in (1, 4, 16, 100, 160)
        }
        figures[f"50 sentences of {given.videos} videos, s"] = median_seconds(grounder, videos, 50, 3)
    print(json.dumps({name: round(seconds, 4) for name, seconds in figures.items()}, indent=2))


def write_video(path: Path, seed: int) -> Path:
    """A feature file of random values."""
    random = np.random.default_rng(seed)
    clips = random.normal(size=(CLIPS, CLIP_DIM)).astype(np.float32)
    regions = random.normal(size=(CLIPS, REGIONS, REGION_DIM)).astype(np.float32)
    write_features(path, VideoFeatures(clips, regions, CLIPS / 2, FINGERPRINT))
    return path


def median_seconds(grounder: Grounder, videos: list[Path], sentences: int, repeats: int) -> float:
    """From feature files to answers; after a run that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        answers = list(grounder.ground_many((read_features(video), SENTENCES[:sentences]) for video in videos))
        seconds.append(time.perf_counter() - began)
        assert all(len(answer) == sentences for answer in answers)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
