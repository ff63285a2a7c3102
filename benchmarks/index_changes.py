"""Change the videos of an index, and kill `mttsg index` at random moments: only changes are done, and nothing is lost.

    PYTHONPATH=.:tools:benchmarks python benchmarks/index_changes.py MODEL --videos 1000 --changed 10
    PYTHONPATH=.:tools:benchmarks python benchmarks/index_changes.py MODEL --videos 6 --kills 50

The videos last two seconds, and each has a content of its own. First all of them are indexed, then some are written
again, and the time and the numbers of both runs are printed. With `--kills`, a video is written again before every run,
which is killed; after each the index must hold nothing wrong: every video with all of its vectors, those that its
features make. After every tenth an unbroken run must find all videos. Exit status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from campaign_runs import Program, faults_of

from mttsg_core.features.store import read_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.index_folder import is_index
from mttsg_core.search.lance_index import LanceIndex
from mttsg_core.search.spaces import clip_space

FRAMES, SECONDS, SIZE = 25, 2, 64  # a second, the number of seconds, and pixels
TOLERANCE = 2e-3  # of a number of a vector, which is kept in half precision
BETWEEN = 10  # killed runs before an unbroken one


class Bench:
    """A folder of videos, and their index."""

    def __init__(self, folder: Path, model: Path, videos: int) -> None:
        self.videos, self.index, self.cache, self.model = folder / "videos", folder / "index", folder / "cache", model
        self.videos.mkdir()
        self.grounder = Grounder.load(model, cache=self.cache, device="cpu", offline=True)
        space = clip_space(self.grounder)
        if space is None:
            raise RuntimeError("the model has no space of clips and sentences")
        self.space = space
        self.number, self.contents = videos, 0
        self.written: set[str] = set()  # since the last unbroken run
        self.pattern = make_video(folder / "pattern.mp4")
        for number in range(videos):
            self.write(number)
        self.written.clear()

    def write(self, number: int) -> None:
        """Give a video a content that no other has had: a box of no meaning at its end."""
        self.contents += 1
        text = self.contents.to_bytes(64, "big") * 64
        path = self.videos / f"{number:04}.mp4"
        self.written.add(path.name)
        path.write_bytes(self.pattern + (8 + len(text)).to_bytes(4, "big") + b"free" + text)

    def run(self) -> Program:
        """Start the command."""
        words = ["--index", self.index, "--model", self.model, "--cache", self.cache, "--workers", "1", "--json"]
        return Program("index", self.videos, *words)

    def faults(self) -> list[str]:
        """Return what is wrong in the index: videos without all of their vectors, or with others than their own."""
        if not is_index(self.index):
            return []
        table = LanceIndex(self.index, self.space.fingerprint, self.space.dim, self.space.widths)
        clips = table.clips()
        wrong = []
        for video in table.videos():
            expected = self.space.clips(read_features(self.cache / video.features)).vectors
            found = clips.get(video.identity)
            if found is None or found.shape != expected.shape or np.abs(found - expected).max() > TOLERANCE:
                wrong.append(f"{video.name}: its vectors are not those of its features")
            if video.identity != self.grounder.cache_path(video.path).stem and not self.may_be_old(video.path):
                wrong.append(f"{video.name}: indexed with a content that it never had")
        return wrong

    def may_be_old(self, path: Path) -> bool:
        """Return whether a video was written again since the last unbroken run."""
        return path.name in self.written

    def lost(self) -> list[str]:
        """Return what an unbroken run has not found."""
        table = LanceIndex(self.index, self.space.fingerprint, self.space.dim, self.space.widths)
        held = {video.path: video.identity for video in table.videos()}
        files = sorted(self.videos.glob("*.mp4"))
        missing = [str(path) for path in files if held.get(path) != self.grounder.cache_path(path).stem]
        if table.identities() != set(held.values()):
            missing.append("vectors that no video needs are left")
        return missing + [str(path) for path in held.keys() - set(files)]


def main() -> int:
    """Measure, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="a trained model")
    parser.add_argument("--videos", type=int, default=1000, help="number of videos")
    parser.add_argument("--changed", type=int, default=10, help="how many of them are written again")
    parser.add_argument("--kills", type=int, default=0, help="killed runs, in place of that")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given.model, given.videos)
        return kill(bench, given.kills, given.seed) if given.kills else change(bench, given.changed)


def change(bench: Bench, changed: int) -> int:
    """Index all videos, change some, and index them again."""
    seconds, report = timed(bench)
    print(f"{bench.number} videos: {seconds:.1f} s, {report}", flush=True)
    for number in range(0, bench.number, max(1, bench.number // changed)):
        bench.write(number)
    files = set(bench.cache.rglob("*.safetensors"))
    seconds, report = timed(bench)
    new = len(set(bench.cache.rglob("*.safetensors")) - files)
    print(f"{len(bench.written)} changed: {seconds:.1f} s, {report}, {new} feature files more", flush=True)
    wrong = [*bench.faults(), *bench.lost()]
    print("\n".join(wrong) or "nothing is wrong or lost")
    return int(bool(wrong) or report["added"] != len(bench.written) or new != len(bench.written))


def kill(bench: Bench, kills: int, seed: int) -> int:
    """Kill runs at random moments."""
    random = np.random.default_rng(seed)
    wrong: list[str] = []
    longest, _ = timed(bench)
    in_work = 0
    for number in range(1, kills + 1):
        bench.write(int(random.integers(bench.number)))
        program = bench.run()
        time.sleep(random.uniform(0.1, longest))
        program.send("KILL")
        ended = program.wait()
        in_work += ended.code != 0
        wrong += [f"kill {number}: {fault}" for fault in [*bench.faults(), *faults_of(ended, [-9, 0])]]
        if number % BETWEEN == 0 or number == kills:
            longest, _ = timed(bench)
            wrong += [f"after {number} kills: {fault}" for fault in [*bench.faults(), *bench.lost()]]
            bench.written.clear()
            print(f"{number} kills, {in_work} of runs that were not done, {len(wrong)} faults", flush=True)
    print("\n".join(wrong) or "nothing is wrong or lost")
    return int(bool(wrong))


def timed(bench: Bench) -> tuple[float, dict[str, int]]:
    """Run the command to its end; return the seconds, and its report."""
    began = time.monotonic()
    ended = bench.run().wait(limit=3600)
    if ended.code != 0:
        raise RuntimeError(ended.err)
    return time.monotonic() - began, json.loads(ended.out)


def make_video(path: Path) -> bytes:
    """Return a film of a moving square."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=FRAMES)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for number in range(FRAMES * SECONDS):
            picture = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
            picture[20:40, number % 40 : number % 40 + 20] = 255
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
    return path.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
