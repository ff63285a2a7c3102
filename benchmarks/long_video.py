"""Measure accuracy, time and memory of grounding in a video of three hours with one scene at its end.

    export PYTHONPATH=tools
    python benchmarks/long_video.py MODEL              # trained on the easy example corpus, as by `make demo`
    python benchmarks/long_video.py MODEL --hours 1
    python benchmarks/long_video.py MODEL --still      # tiny frames, few of them, nothing moves: nothing to decode

The time of `mttsg ground`, with nothing cached, is compared with a bare PyAV decode loop over the same file, in turns.
The goals: at most 1.2 times the decode loop, less than 1 GB of memory, and the moments found at IoU >= 0.7.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, count, cycle, islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from corpus_plan import FPS, Moment, VideoPlan, plan_video
from make_corpus import render

SEED = 1000  # of videos that are in no corpus
STRETCH = 120  # seconds before the scene that are encoded; their packets are repeated


@dataclass(frozen=True)
class Kind:
    """A kind of long video.

    Attributes:
        width: in pixels.
        height: in pixels.
        rate: frames per second.
        noise: standard deviation of the noise of each frame, 0..255.
        still: whether nothing moves before the scene; otherwise other objects move all the time.
        preset: of the H.264 encoder.
    """

    width: int
    height: int
    rate: Fraction
    noise: float
    still: bool
    preset: str


ORDINARY = Kind(320, 180, Fraction(25), 6.0, still=False, preset="veryfast")
STILL = Kind(96, 96, Fraction(25, 4), 0.0, still=True, preset="ultrafast")


def make_video(path: Path, plan: VideoPlan, hours: float, kind: Kind) -> float:
    """Write hours of other videos and then one of the corpus, as H.264; return the second at which that begins."""
    scene = frames(plan, kind)
    before = scene[:1] if kind.still else frames(others(plan), kind)
    stretch = round(STRETCH * kind.rate)
    part = path.with_name(f"part{path.suffix}")
    encode(part, chain(islice(cycle(before), stretch), scene), kind, keyframe=stretch)
    repeats = max(1, round((hours * 3600 * kind.rate - len(scene)) / stretch))
    repeat_packets(part, path, stretch / kind.rate, repeats)
    part.unlink()
    return float(stretch * repeats / kind.rate)


def others(plan: VideoPlan) -> VideoPlan:
    """Return a video of the corpus with none of the objects of this one."""
    colours = {sprite.colour for sprite in plan.sprites}
    plans = (plan_video(index, "train", plan.world, plan.seed) for index in count(plan.index + 1))
    return next(other for other in plans if not colours & {sprite.colour for sprite in other.sprites})


def frames(plan: VideoPlan, kind: Kind) -> list[NDArray[np.uint8]]:
    """Return the frames (height, height, 3) of a video of the corpus at a frame rate, without noise."""
    pictures = list(render(plan, kind.height))
    return [pictures[int(number * FPS / kind.rate)] for number in range(int(len(pictures) * kind.rate / FPS))]


def encode(path: Path, pictures: Iterator[NDArray[np.uint8]], kind: Kind, keyframe: int) -> None:
    """Write frames with noise, stretched to the width. Frame number `keyframe` does not depend on those before it."""
    rng = np.random.default_rng(SEED)
    noise = rng.normal(0, kind.noise, (2 * kind.height, 2 * kind.height, 3)).astype(np.float32)
    with av.open(str(path), "w") as container:
        options = {"preset": kind.preset, "crf": "23", "forced-idr": "1"}
        stream = container.add_stream("libx264", rate=kind.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        for number, picture in enumerate(pictures):
            down, right = rng.integers(0, kind.height, 2)
            noisy = picture + noise[down : down + kind.height, right : right + kind.height]
            image = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(kind.width, kind.height, "yuv420p")
            frame.pts, frame.time_base = number, 1 / kind.rate
            frame.pict_type = av.video.frame.PictureType.I if number == keyframe else av.video.frame.PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def repeat_packets(source: Path, target: Path, seconds: Fraction, repeats: int) -> None:
    """Copy a video with its first seconds repeated."""
    with av.open(str(target), "w") as writer:
        copy = None
        for turn in range(repeats):
            with av.open(str(source)) as reader:
                stream = reader.streams.video[0]
                copy = copy or writer.add_stream_from_template(stream)
                length = int(seconds / (stream.time_base or 1))
                for packet in reader.demux(stream):
                    if packet.pts is None or packet.dts is None or (turn < repeats - 1 and packet.pts >= length):
                        continue
                    packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                    packet.stream = copy
                    writer.mux(packet)


def decode(path: Path) -> None:
    """Decode all frames without using them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for _ in container.decode(stream):
            pass


def run(*command: str) -> tuple[str, float, float]:
    """Run a Python program; return what it prints, its seconds, and its peak memory in MB."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    printed = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} ended with {child.returncode}")
    return printed, time.monotonic() - began, used.ru_maxrss / 1024


def iou(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return the intersection over union of two spans."""
    shared = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    return shared / (first[1] - first[0] + second[1] - second[0] - shared)


def measure(model: Path, hours: float, kind: Kind, repeats: int) -> dict[str, object]:
    """Return all figures of one video."""
    plan = plan_video(0, "train", "easy", SEED)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "long.mp4"
        begins = make_video(video, plan, hours, kind)
        decoding, grounding, memory = [], [], []
        for turn in range(repeats):
            decoding.append(run(__file__, "--decode", str(video))[1])
            command = ["-m", "mttsg_cli", "ground", str(video), *(moment.query for moment in plan.moments)]
            command += ["--model", str(model), "--cache", f"{folder}/{turn}", "--format", "tsv", "--quiet"]
            printed, seconds, megabytes = run(*command)
            grounding.append(seconds)
            memory.append(megabytes)
        _, cached_seconds, cached_megabytes = run(*command)
        size = video.stat().st_size
        rows = list(csv.DictReader(printed.splitlines(), delimiter="\t"))
        answers = {row["query"]: (float(row["start"]), float(row["end"])) for row in rows}
    overlaps = {moment.query: iou(answers[moment.query], seconds_of(moment, begins)) for moment in plan.moments}
    return {
        "video": f"{hours:g} hours, {kind.width}x{kind.height}, {float(kind.rate):g} frames/s, {size / 1e6:.0f} MB",
        "decode, s": spread(decoding),
        "ground, s": spread(grounding),
        "ratio": spread([ground / bare for ground, bare in zip(grounding, decoding, strict=True)], 2),
        "memory, MB": round(max(memory)),
        "ground again, s": round(cached_seconds, 1),
        "memory again, MB": round(cached_megabytes),
        "IoU": {query: round(overlap, 2) for query, overlap in overlaps.items()},
        "found": f"{sum(overlap >= 0.7 for overlap in overlaps.values())} of {len(overlaps)}",
    }


def spread(values: list[float], decimals: int = 1) -> dict[str, float]:
    """Return the minimum and the median of repeated measurements."""
    return {"min": round(min(values), decimals), "median": round(statistics.median(values), decimals)}


def seconds_of(moment: Moment, begins: float) -> tuple[float, float]:
    """Return the start and end of a planned moment in the long video."""
    return begins + float(moment.first / FPS), begins + float(moment.end / FPS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="model folder")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the video (default %(default)s)")
    parser.add_argument("--still", action="store_true", help="small frames and nothing that moves before the scene")
    parser.add_argument("--repeats", type=int, default=3, help="number of turns (default %(default)s)")
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.decode:
        decode(given.decode)
    elif given.model:
        kind = STILL if given.still else ORDINARY
        print(json.dumps(measure(given.model, given.hours, kind, given.repeats), indent=2))
    else:
        parser.error("a model folder is required")
