"""A video of three hours with one moment near its end: is it found, how long does it take, and how much memory?

    python benchmarks/long_video.py MODEL              # of the example corpus, as `make demo` trains one
    python benchmarks/long_video.py MODEL --hours 1 --size 480

The time of `mttsg ground`, with nothing cached, is set against a bare PyAV decode loop over the same file, in turns.
The bars: at most 1.2 times the decode loop, less than 1 GB of memory, and the moment found at IoU >= 0.7.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import chain, islice, repeat
from pathlib import Path

import av

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from corpus_plan import FPS, Moment, VideoPlan, plan_video  # noqa: E402
from make_corpus import render  # noqa: E402

EVERY = 2  # of the frames of the corpus: 6.25 a second
SEED = 1000  # of a video that no corpus has


def make_video(path: Path, plan: VideoPlan, hours: float, size: int) -> float:
    """Hours in which nothing moves, then a video of the corpus, as H.264; returns the second at which that begins."""
    rate = FPS / EVERY
    scene = list(islice(render(plan, size), 0, None, EVERY))
    still = round(hours * 3600 * rate) - len(scene)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for number, image in enumerate(chain(repeat(scene[0], still), scene)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return float(Fraction(still) / rate)


def decode(path: Path) -> None:
    """Decode all frames and look at none."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for _ in container.decode(stream):
            pass


def run(*command: str) -> tuple[str, float, float]:
    """What a program prints, its seconds, and the most memory that it held, in MB."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    printed = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} ended with {child.returncode}")
    return printed, time.monotonic() - began, used.ru_maxrss / 1024


def iou(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Intersection over union of two spans."""
    shared = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    return shared / (first[1] - first[0] + second[1] - second[0] - shared)


def measure(model: Path, hours: float, size: int, repeats: int) -> dict[str, object]:
    """All figures of one video."""
    plan = plan_video(0, "train", "easy", SEED)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "long.mp4"
        begins = make_video(video, plan, hours, size)
        decoding, grounding, memory = [], [], []
        for turn in range(repeats):
            decoding.append(run(__file__, "--decode", str(video))[1])
            asked = ["-m", "mttsg_cli", "ground", str(video), *(moment.query for moment in plan.moments)]
            asked += ["--model", str(model), "--cache", f"{folder}/{turn}", "--format", "tsv", "--quiet"]
            printed, seconds, megabytes = run(*asked)
            grounding.append(seconds)
            memory.append(megabytes)
        _, again, again_megabytes = run(*asked)
        rows = list(csv.DictReader(printed.splitlines(), delimiter="\t"))
        found = {row["query"]: (float(row["start"]), float(row["end"])) for row in rows}
    overlaps = {moment.query: iou(found[moment.query], times(moment, begins)) for moment in plan.moments}
    return {
        "hours": hours,
        "decode, s": round(min(decoding), 1),
        "ground, s": round(min(grounding), 1),
        "ratio": round(min(grounding) / min(decoding), 2),
        "memory, MB": round(max(memory)),
        "ground again, s": round(again, 1),
        "memory again, MB": round(again_megabytes),
        "IoU": {query: round(overlap, 2) for query, overlap in overlaps.items()},
        "found": f"{sum(overlap >= 0.7 for overlap in overlaps.values())} of {len(overlaps)}",
    }


def times(moment: Moment, begins: float) -> tuple[float, float]:
    """Seconds of a moment of the plan in the long video."""
    return begins + float(moment.first / FPS), begins + float(moment.end / FPS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="model folder")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=96, help="width and height in pixels")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.decode:
        decode(given.decode)
    elif given.model:
        print(json.dumps(measure(given.model, given.hours, given.size, given.repeats), indent=2))
    else:
        parser.error("name a model folder")
