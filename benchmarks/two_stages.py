"""Measure how many of the best answers are left when the network only answers in likely videos, and what that saves.

    PYTHONPATH=. python benchmarks/two_stages.py demo/data --model demo/model --videos 150 --sentences 40

Sentences of the rows of a data folder are asked of all its videos, encoded before. Recall is the share of the 10 best
moments of all videos that are in the K first videos of a ranking, for several K, and the share that is in the answers
of two stages. K98 is how many videos hold 98 % of the moments. Videos are ranked by the vectors of their clips, by a
glance of the network, and by the presence that it sees in all clips, whose order is nearly that of the answers.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np

from mttsg_core.encoders.base import Array
from mttsg_core.inference.encoded_videos import Askable, EncodedVideo, EncodedWindow, asker
from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.memory_index import MemoryIndex
from mttsg_core.search.shortlist import stage_sizes
from mttsg_core.search.spaces import clip_space
from mttsg_core.workflows.library import Hit, VideoLibrary

TOP = 10
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def main() -> None:
    """Ask, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="data folder with videos/")
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--cache", type=Path, help="folder of cached features")
    parser.add_argument("--videos", type=int, default=60, help="number of videos, the last ones by name")
    parser.add_argument("--sentences", type=int, default=40, help="number of sentences, drawn from all rows")
    given = parser.parse_args()
    paths = sorted((given.data / "videos").glob("*.mp4"))[-given.videos :]
    grounder = Grounder.load(given.model, cache=given.cache)
    queries = draw_sentences(given.data, given.sentences)
    library = VideoLibrary(paths, grounder, memory=8 << 30)
    for _ in library.iter_refresh():
        pass
    for _ in library.iter_encode():
        pass
    began = time.process_time()
    best = library.ask_many(queries, TOP, exhaustive=True)
    exhaustive = time.process_time() - began
    began = time.process_time()
    answered = library.ask_many(queries, TOP)
    in_stages = time.process_time() - began
    videos = [video.path for video in library.videos]
    report_rankings(library, videos, queries, best)
    shown = [{identity(hit) for hit in hits} for hits in answered]
    found = [identity(hit) in of_query for hits, of_query in zip(best, shown, strict=True) for hit in hits]
    sizes = stage_sizes(len(videos), TOP, len(queries))
    print(f"recall of the answers {sum(found) / len(found):.4f} of {len(queries)} sentences, {sizes}")
    print(f"all videos {exhaustive:.2f} s of CPU, in two stages {in_stages:.2f} s, without encoding")


def draw_sentences(data: Path, count: int) -> list[str]:
    """Return different sentences of the rows of a data folder."""
    files = [file for file in sorted(data.glob("*.jsonl")) if file.stem in ("train", "val", "test", "unseen")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    queries = sorted({json.loads(line)["query"] for line in lines})
    random.Random(0).shuffle(queries)
    return queries[:count]


def report_rankings(library: VideoLibrary, videos: list[Path], queries: list[str], best: list[list[Hit]]) -> None:
    """Print the recall of every ranking."""
    sizes = sorted({max(TOP, round(share * len(videos))) for share in SHARES})
    number = {path: place for place, path in enumerate(videos)}
    print(f"{f'of {len(videos)} videos':<16}" + "".join(f"{size:>8}" for size in sizes) + f"{'K98':>8}")
    for name, scores in rankings(library, videos, queries).items():
        places = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)  # (N, V)
        ranks = np.array([row[number[hit.video.path]] for row, hits in zip(places, best, strict=True) for hit in hits])
        needed = int(np.sort(ranks)[math.ceil(0.98 * len(ranks)) - 1]) + 1
        print(f"{name:<16}" + "".join(f"{(ranks < size).mean():8.3f}" for size in sizes) + f"{needed:>8}")


def rankings(library: VideoLibrary, videos: list[Path], queries: list[str]) -> dict[str, Array]:
    """Return by name how well each of V videos fits each of N sentences, (N, V)."""
    grounder = library.grounder
    asks, space = asker(grounder), clip_space(grounder)
    encoded = [library.encoded(path) for path in videos]
    ready = [video for video in encoded if video is not None]
    assert len(ready) == len(videos)
    found: dict[str, Array] = {}
    if space is not None:
        index = MemoryIndex(space.widths)
        index.add({f"{place}": space.clips(video) for place, video in enumerate(ready)})
        ranked = [list(map(int, order)) for order in index.rank(space.sentences(queries), len(videos))]
        found["clip vectors"] = -np.argsort(np.array(ranked), axis=1).astype(np.float32)
    if asks.can_glance:
        question = asks.question(queries)
        for name, of_ranking in (("glance", ready), ("presence", [unthinned(video) for video in ready])):
            values = [asks.glance([(video, range(len(queries)))], question)[0] for video in of_ranking]
            found[name] = np.stack(values, axis=1)
    return found


def unthinned(video: Askable) -> Askable:
    """Return a video that is seen with all of its clips at a glance."""
    if not isinstance(video, EncodedVideo):
        return video
    windows = (EncodedWindow(one.timeline, one.clips, one.videos, one.videos) for one in video.windows)
    return EncodedVideo(tuple(windows), video.factor)


def identity(hit: Hit) -> tuple[str, float, float]:
    """Return what tells a moment from others. The last digits of its times depend on what is computed beside it."""
    return hit.video.id, round(hit.moment.start, 1), round(hit.moment.end, 1)


if __name__ == "__main__":
    main()
