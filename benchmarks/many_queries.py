"""Measure how long many sentences take: 1 to 160 for one video of 30 s, and 50 for each of 200 videos.

    taskset -c 0,1 python benchmarks/many_queries.py
    python benchmarks/many_queries.py --stream 1000000 --form jsonl    # the command, with a file of a million lines

Features are in files, and the model is loaded before the measurement. The network has its default size, and features
are as large as those of the `classic` encoder; random weights take as long as trained ones. The goals, on two cores:
100 sentences for a video in 0.3 s, 50 for each of 200 videos in 5 s.

With `--stream` the whole command answers a file of different sentences, and is measured from outside: its peak memory,
which must not grow with the file, and the seconds until it says something and until it writes the first row.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from mttsg_core.checkpoints.checkpoint import Model, save_description, save_weights
from mttsg_core.config import NetworkConfig
from mttsg_core.encoders import build_text_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.features.store import EXTERNAL, VideoFeatures, read_features, write_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.modeling.mktn import build_network

CLIPS, CLIP_DIM, REGIONS, REGION_DIM = 60, 102, 49, 34  # 30 s at two clips per second
COLOURS, SHAPES = ("red", "blue", "green", "white"), ("circle", "star", "square")
ACTIVITIES = ("moves left", "moves right", "grows", "shrinks", "turns around", "meets another one", "blinks")
TIMES = ("first", "at the end")
LINES: dict[str, Callable[[str], str]] = {
    "txt": lambda sentence: f"{sentence}\n",
    "jsonl": lambda sentence: json.dumps({"query": sentence, "video": "0"}) + "\n",
    "csv": lambda sentence: f'0,"{sentence}"\n',
}
SENTENCES = [f"the {' '.join(words)}" for words in product(COLOURS, SHAPES, ACTIVITIES, TIMES)]


def main() -> None:
    """Measure, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--videos", type=int, default=200, help="number of videos")
    parser.add_argument("--repeats", type=int, default=9, help="number of timed runs, of which the median counts")
    parser.add_argument("--stream", type=int, metavar="N", help="measure the command with a file of N sentences")
    parser.add_argument("--form", choices=LINES, default="txt", help="of that file")
    parser.add_argument("--top", type=int, default=1, help="moments for each sentence of that file")
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips of the video of that file; few take less time")
    parser.add_argument("--small", action="store_true", help="use a network of little width, which takes less time")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    widths = ("width", "region_width", "head_width", "proposal_width")
    model = random_model(**({**dict.fromkeys(widths, 16), "region_heads": 1} if given.small else {}))
    grounder = Grounder(MKTNPredictor(model))
    with tempfile.TemporaryDirectory() as folder:
        if given.stream:
            print(json.dumps(measure_command(Path(folder), model, given), indent=2))
            return
        videos = [write_video(Path(folder) / f"{number}.safetensors", number) for number in range(given.videos)]
        figures = {
            f"{count} sentences for a video, s": median_seconds(grounder, videos[:1], count, given.repeats)
            for count in (1, 4, 16, 100, 160)
        }
        figures[f"50 sentences for {given.videos} videos, s"] = median_seconds(grounder, videos, 50, 3)
    print(json.dumps({name: round(seconds, 4) for name, seconds in figures.items()}, indent=2))


def fingerprint(clip_dim: int, regions: int) -> Settings:
    """Return what features as `write_video` makes them are."""
    return {
        "encoder": EXTERNAL,
        "clip_dim": clip_dim,
        "regions": regions,
        "region_dim": REGION_DIM if regions else 0,
    }


def random_model(clip_dim: int = CLIP_DIM, regions: int = REGIONS, **sizes: Any) -> Model:
    """Return a network with random weights, the same each time, for features as `write_video` makes them."""
    torch.manual_seed(0)
    text = build_text_encoder()
    of_regions: dict[str, Any] = {"regions": regions, "region_dim": REGION_DIM if regions else 0}
    config = NetworkConfig(clip_dim=clip_dim, word_dim=text.dim, **of_regions, **sizes)
    return Model(build_network(config), text, fingerprint(clip_dim, regions))


def measure_command(folder: Path, model: Model, given: argparse.Namespace) -> dict[str, float]:
    """Run the command on a file of sentences, and return its figures."""
    lines, form = given.stream, given.form
    save_description(folder / "model", model, {})
    save_weights(folder / "model", model.network)
    (folder / "features").mkdir()
    write_video(folder / "features" / "0.safetensors", 0, given.clips)
    queries = folder / f"queries.{form}"
    with queries.open("w") as file:
        file.write("video,query\n" if form == "csv" else "")
        file.writelines(LINES[form](f"{SENTENCES[n % len(SENTENCES)]} and then {n} more") for n in range(lines))
    command = ["ground", folder / "0.mp4", "--features", folder / "features", "--model", folder / "model"]
    options = ["--queries", queries, "--format", "jsonl", "--top", given.top]
    began = time.monotonic()
    program = subprocess.Popen(
        [sys.executable, "-m", "mttsg_cli", *map(str, [*command, *options])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    counted: dict[str, tuple[float, int]] = {}
    readers = [
        threading.Thread(target=lambda name, pipe: counted.update({name: count_lines(pipe, began)}), args=arguments)
        for arguments in (("rows", program.stdout), ("notes", program.stderr))
    ]
    for reader in readers:
        reader.start()
    _, status, usage = os.wait4(program.pid, 0)
    for reader in readers:
        reader.join()
    return {
        "exit code": os.waitstatus_to_exitcode(status),
        "sentences": lines,
        "rows": counted["rows"][1],
        "first note, s": round(counted["notes"][0], 1),
        "first row, s": round(counted["rows"][0], 1),
        "all, s": round(time.monotonic() - began, 1),
        "peak memory, MB": round(usage.ru_maxrss / 1000),
    }


def count_lines(pipe: IO[bytes], began: float) -> tuple[float, int]:
    """Return the seconds until the first line of a pipe, and the number of lines."""
    first, number = 0.0, 0
    with pipe:
        for _ in pipe:
            first = first or time.monotonic() - began
            number += 1
    return first, number


def write_video(path: Path, seed: int, length: int = CLIPS, clip_dim: int = CLIP_DIM, regions: int = REGIONS) -> Path:
    """Write a feature file of random values, of `length` clips of half a second."""
    random = np.random.default_rng(seed)
    clips = random.normal(size=(length, clip_dim)).astype(np.float32)
    of_regions = random.normal(size=(length, regions, REGION_DIM)).astype(np.float32) if regions else None
    write_features(path, VideoFeatures(clips, of_regions, length / 2, fingerprint(clip_dim, regions)))
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
