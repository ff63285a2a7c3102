"""Compare how long two checkouts take to answer many sentences in many cached videos, and whether the answers differ.

    git worktree add ../before v0.1.0
    python benchmarks/answer_speed.py ../before
    python benchmarks/answer_speed.py ../before --model model/ --features cache/classic-.../ --sentences sentences.txt

Each checkout answers in a process of its own, in turns, so that a machine that is busy slows both down. Figures are
medians of the turns: seconds from feature files to moments, of CPU time and on the clock, and their ratios. Without a
model the network has random weights and its default size, and the features are as large as those of the `classic`
encoder. Exit status 1 if the answers differ: more than one moment in 1,000 by more than 1e-5. Two moments that are
equally good, or overlap by 0.5 up to rounding, may fall either way, as they do with another size of the batch.

With `--stages` this checkout answers as `mttsg ground` does by default: each sentence in those of many videos that are
worth an answer. The number of moments then differs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from many_queries import SENTENCES, random_model, write_video

import mttsg_core
from mttsg_core.features.store import VideoFeatures, read_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor

TOLERANCE = 1e-5  # seconds, and of a score
TIES = 1e-3  # share of the moments
HERE = Path(__file__).resolve()


class Turn(NamedTuple):
    """One timed turn. Attributes: seconds of CPU time and on the clock."""

    cpu: float
    wall: float


def main() -> int:
    """Measure, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", type=Path, help="checkout to compare this one with")
    parser.add_argument("--model", type=Path, help="a trained model")
    parser.add_argument("--features", type=Path, help="folder of feature files that the model fits")
    parser.add_argument("--sentences", type=Path, help="file with a sentence a line")
    parser.add_argument("--width", type=int, help="without a model: of clip vectors, which then have no regions")
    parser.add_argument("--videos", type=int, default=200, help="number of videos; fewer feature files are repeated")
    parser.add_argument("--queries", type=int, default=50, help="number of sentences")
    parser.add_argument("--top", type=int, default=5, help="moments of a sentence in a video")
    parser.add_argument("--stages", action="store_true", help="let this checkout answer in the likeliest videos alone")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--repeats", type=int, default=5, help="number of turns, of which the median counts")
    parser.add_argument("--work", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)  # a child that answers
    given = parser.parse_args()
    if given.work:
        return answer_in_turns(given)
    with tempfile.TemporaryDirectory() as folder:
        programs = [start(root, Path(folder)) for root in (given.before.resolve(), HERE.parents[1])]
        turns = [[turn(program) for program in programs] for _ in range(given.repeats + 1)][1:]  # the first warms up
        for program in programs:
            program.communicate("\n")
        answers = [np.load(Path(folder) / f"{program.pid}.npy") for program in programs]
    report_times(turns)
    return 0 if given.stages else report_answers(*answers)


def report_times(turns: list[list[Turn]]) -> None:
    """Print times, and their ratio."""
    for name in Turn._fields:
        pairs = [[getattr(of_turn, name) for of_turn in pair] for pair in turns]
        old, new = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(new / old for old, new in pairs)
        print(f"{name}: {old:.2f} s before, {new:.2f} s now: x{ratio:.2f}")


def report_answers(before: np.ndarray, now: np.ndarray) -> int:
    """Print the largest difference of the answers, and return the exit status."""
    if before.shape != now.shape:
        print(f"other moments: {before.shape} before, {now.shape} now")
        return 1
    difference = np.abs(before - now).max(axis=1)
    others = int((difference > TOLERANCE).sum())
    same = difference[difference <= TOLERANCE].max(initial=0.0)
    print(f"{len(now)} moments, of which {others} differ by more than {TOLERANCE:g}, the others by {same:.1e} at most")
    return int(others > TIES * len(now))


def start(root: Path, folder: Path) -> subprocess.Popen[str]:
    """Start the child that answers with the code of a checkout."""
    command = [sys.executable, str(HERE), *sys.argv[1:], "--work", str(folder)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    )


def turn(program: subprocess.Popen[str]) -> Turn:
    """Let a child answer once, and return what it took."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("again\n")
    program.stdin.flush()
    return Turn(*json.loads(program.stdout.readline()))


def answer_in_turns(given: argparse.Namespace) -> int:
    """Answer once for each line of the standard input, and save the last moments when there are no more."""
    torch.set_num_threads(given.threads)
    if given.model:
        grounder = Grounder.load(given.model, device="cpu", offline=True)
        files = sorted(path for path in given.features.iterdir() if path.suffix in {".npy", ".npz", ".safetensors"})
    else:
        sizes = {"clip_dim": given.width, "regions": 0} if given.width else {}
        grounder = Grounder(MKTNPredictor(random_model(**sizes)))
        files = [
            write_video(given.work / f"{os.getpid()}-{number}.safetensors", number, **sizes)
            for number in range(given.videos)
        ]
    sentences = given.sentences.read_text(encoding="utf-8").splitlines() if given.sentences else SENTENCES
    videos = list(islice(cycle(files), given.videos))
    moments: list[list[list[Any]]] = []
    for line in sys.stdin:
        if not line.strip():
            break
        cpu, wall = time.process_time(), time.perf_counter()
        moments = answers(grounder, videos, sentences[: given.queries], given)
        print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), flush=True)
    flat = [moment for of_video in moments for of_query in of_video for moment in of_query]
    np.save(given.work / f"{os.getpid()}.npy", np.array(flat))
    return 0


def answers(
    grounder: Grounder, videos: list[Path], sentences: list[str], given: argparse.Namespace
) -> list[list[list[Any]]]:
    """Return the moments of all sentences in each video; with `--stages` of this checkout in the likely ones alone."""
    if not given.stages or Path(mttsg_core.__file__).parents[1] != HERE.parents[1]:
        read = ((with_duration(read_features(path)), sentences) for path in videos)
        return list(grounder.ground_many(read, given.top))
    from mttsg_core.video.discovery import VideoFile
    from mttsg_core.workflows.ground import GroundRun, VideoGrounded
    from mttsg_core.workflows.narrowing import FolderNarrowing

    class CachedRun(GroundRun):
        """Reads feature files in place of the cache."""

        def _batches(self, asked: Any) -> Any:
            some = list(asked)
            for first in range(0, len(some), 16):
                batch = some[first : first + 16]
                yield [(video, with_duration(read_features(video.path))) for video in batch]

    queries = {VideoFile(path, Path(f"{number}")): sentences for number, path in enumerate(videos)}
    run = CachedRun(grounder, given.top, narrowing=FolderNarrowing(grounder, given.top))
    return [[*map(list, each.moments)] for each in run.iter_part(queries) if isinstance(each, VideoGrounded)]


def with_duration(features: VideoFeatures) -> VideoFeatures:
    """Return features with a duration, half a second a clip if their file does not say."""
    return features if features.duration else replace(features, duration=len(features.clips) / 2)


if __name__ == "__main__":
    sys.exit(main())
