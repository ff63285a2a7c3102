"""Measure time and memory of sampling a long video, against a bare PyAV decode loop over the same file.

    python benchmarks/video_reading.py                 # 10 minutes of 1080p H.264, 2 frames/s at 224 x 224
    python benchmarks/video_reading.py --minutes 1 --repeats 5

Each measurement runs in its own process, and all back ends take turns, so that they meet the same load. The goals: the
reader's wall time (probe and sampling) is at most 1.15 times that of the bare loop, its peak memory below 400 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, RATE, SEGMENT = 1920, 1080, 30, 300  # a segment is encoded once and repeated
SIZE = (224, 224)


def make_video(path: Path, minutes: float) -> None:
    """Write H.264 with B-frames: a moving textured pattern, repeated until the video is long enough."""
    import av

    segment = path.with_name("segment.mp4")
    noise = np.random.default_rng(0).integers(0, 60, (HEIGHT * 2, WIDTH * 2), dtype=np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    with av.open(str(segment), "w") as writer:
        stream = writer.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(SEGMENT):
            x, y = 3 * number % WIDTH, 2 * number % HEIGHT
            texture = noise[y : y + HEIGHT, x : x + WIDTH]
            wave = ((rows + columns + 5 * number) // 4 % 190).astype(np.uint8)
            grey = wave + texture
            frame = av.VideoFrame.from_ndarray(np.stack([grey, grey[::-1], wave], axis=2), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    with av.open(str(path), "w") as writer:
        copy = None
        for turn in range(max(1, round(minutes * 60 * RATE / SEGMENT))):
            with av.open(str(segment)) as reader:
                source = reader.streams.video[0]
                copy = copy or writer.add_stream_from_template(source)
                shift = round(turn * SEGMENT / RATE / source.time_base)
                for packet in reader.demux(source):
                    if packet.pts is not None and packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                        writer.mux(packet)


def bare_loop(path: Path, fps: float, threads: int) -> int:
    """Decode all frames without using them, and return their number."""
    import av

    frames = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        for _ in container.decode(stream):
            frames += 1
    return frames


def read_with(reader: str) -> Callable[[Path, float, int], int]:
    """Return a measurement of `mttsg_core.video` with a back end: probe, then all samples."""

    def run(path: Path, fps: float, threads: int) -> int:
        from mttsg_core.video.probe import probe
        from mttsg_core.video.sampling import sample

        info = probe(path)
        times = np.arange(0.5 / fps, info.duration, 1 / fps)
        return sum(len(chunk.indices) for chunk in sample(info, times, SIZE, reader=reader, threads=threads))

    return run


def probe_only(path: Path, fps: float, threads: int) -> int:
    """Measure the probe alone: all packets, one frame."""
    from mttsg_core.video.probe import probe

    return len(probe(path).frame_times)


MEASUREMENTS: dict[str, Callable[[Path, float, int], int]] = {
    "bare PyAV loop": bare_loop,
    "mttsg pyav (auto)": read_with("pyav"),
    "mttsg decord": read_with("decord"),
    "mttsg probe": probe_only,
}


def measure(name: str, path: Path, fps: float, threads: int) -> dict[str, float]:
    """Run one measurement in a new process; seconds are NaN if it fails."""
    command = [sys.executable, __file__, "--run", name, "--video", str(path)]
    command += ["--fps", str(fps), "--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if result.returncode:
        return {"seconds": float("nan"), "megabytes": float("nan"), "frames": 0}
    measured: dict[str, float] = json.loads(result.stdout)
    return measured


def run_here(name: str, path: Path, fps: float, threads: int) -> None:
    """Measure in this process, and print wall seconds, peak memory and number of frames as JSON."""
    start = time.perf_counter()
    frames = MEASUREMENTS[name](path, fps, threads)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "megabytes": peak_memory(), "frames": frames}))


def peak_memory() -> float:
    """Return the peak memory of this process in megabytes.

    On Linux `getrusage` may include the parent's peak, so /proc is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Write the video, measure in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="length of the generated video (default 10)")
    parser.add_argument("--fps", type=float, default=2, help="frames to sample per second (default 2)")
    parser.add_argument("--threads", type=int, default=4, help="decoder threads (default 4)")
    parser.add_argument("--repeats", type=int, default=3, help="turns, of which the median is shown (default 3)")
    parser.add_argument("--video", type=Path, help="measure on this file instead of a generated one")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, help="run these measurements only")
    parser.add_argument("--run", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_here(options.run, options.video, options.fps, options.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or Path(folder) / "video.mp4"
        if not options.video:
            make_video(video, options.minutes)
        print(f"{video.name}: {video.stat().st_size / 1e6:.0f} MB, {options.threads} threads, {options.repeats} turns")
        names = options.only or list(MEASUREMENTS)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(options.repeats):
            for name in names:
                runs[name].append(measure(name, video, options.fps, options.threads))
    base = runs.get("bare PyAV loop")
    print(f"{'':20}{'seconds':>9}{'ratio':>8}{'ratios of the turns':>32}{'peak MB':>9}{'frames':>8}")
    for name, turns in runs.items():
        seconds = statistics.median(turn["seconds"] for turn in turns)
        peak = max(turn["megabytes"] for turn in turns)
        ratios = [turn["seconds"] / bare["seconds"] for turn, bare in zip(turns, base or turns, strict=True)]
        shown = " ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"{name:20}{seconds:9.2f}{statistics.median(ratios):8.3f}{shown:>32}{peak:9.0f}{turns[0]['frames']:8.0f}")


if __name__ == "__main__":
    main()
