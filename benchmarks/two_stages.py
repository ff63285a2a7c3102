"""Measure how many of the best answers are left when the network only answers in likely videos, and what that saves.

    PYTHONPATH=. python benchmarks/two_stages.py demo/data --model demo/model --videos 150 --sentences 40

Sentences of the rows of a data folder are asked of all its videos. Recall is the share of the 10 best moments of all
videos that are in videos of the shortlist of the vectors, for several sizes of it, and the share that is in the answers
themselves, of which a glance of the network leaves some out as well.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.shortlist import glanced_size
from mttsg_core.workflows.library import Hit, VideoLibrary

TOP = 10


def main() -> None:
    """Ask, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="data folder with videos/")
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--cache", type=Path, help="folder of cached features")
    parser.add_argument("--videos", type=int, default=60, help="number of videos, the last ones by name")
    parser.add_argument("--sentences", type=int, default=40, help="number of sentences, drawn from all rows")
    arguments = parser.parse_args()
    paths = sorted((arguments.data / "videos").glob("*.mp4"))[-arguments.videos :]
    library = VideoLibrary(paths, Grounder.load(arguments.model, cache=arguments.cache))
    for _ in library.iter_refresh():
        pass
    files = [file for file in sorted(arguments.data.glob("*.jsonl")) if file.stem in ("train", "val", "test", "unseen")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    queries = sorted({json.loads(line)["query"] for line in lines})
    random.Random(0).shuffle(queries)
    queries = queries[: arguments.sentences]
    for _ in library.iter_encode():
        pass
    began = time.process_time()
    best = library.ask_many(queries, TOP, exhaustive=True)
    exhaustive = time.process_time() - began
    began = time.process_time()
    answered = library.ask_many(queries, TOP)
    in_stages = time.process_time() - began
    videos = [video.path for video in library.videos]
    chosen = glanced_size(len(videos), TOP)
    for size in sorted({len(videos) // 6, len(videos) // 4, len(videos) // 3, len(videos) // 2, chosen}):
        likely = library.likely(queries, size, videos)
        found = [hit.video.path in paths for hits, paths in zip(best, likely, strict=True) for hit in hits]
        print(f"{size:>5} of {len(videos)} videos: recall {sum(found) / len(found):.4f}{' (used)' * (size == chosen)}")
    shown = [{identity(hit) for hit in hits} for hits in answered]
    found = [identity(hit) in of_query for hits, of_query in zip(best, shown, strict=True) for hit in hits]
    print(f"recall of the answers {sum(found) / len(found):.4f}")
    print(f"{len(queries)} sentences: all videos {exhaustive:.2f} s of CPU, in two stages {in_stages:.2f} s")


def identity(hit: Hit) -> tuple[str, float, float]:
    """Return what tells a moment from others. The last digits of its times depend on what is computed beside it."""
    return hit.video.id, round(hit.moment.start, 1), round(hit.moment.end, 1)


if __name__ == "__main__":
    main()
