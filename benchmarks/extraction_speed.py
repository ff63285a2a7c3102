"""Measure how extraction scales with worker processes: `classic` features of a folder of videos.

    python benchmarks/extraction_speed.py videos/

Prints the time of one process with one decoder thread, its CPU time for an hour of video, the time of one worker per
core, and the speed-up relative to the number of workers (1.0 is linear). Starting the workers is part of their time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from mttsg_core.encoders import build_encoder
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionJob,
    ExtractionSettings,
    default_workers,
    encode_video,
    extract,
)
from mttsg_core.features.frame_stream import read_clips
from mttsg_core.video.discovery import find_videos


def main() -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path, nargs="+", help="video files, and folders to search for videos")
    parser.add_argument("--workers", type=int, default=default_workers(), help="default: one per core")
    arguments = parser.parse_args()
    settings = ExtractionSettings()
    encoder = build_encoder(settings.encoder)
    videos = [video.path for video in find_videos(arguments.videos)]
    began, spent = time.perf_counter(), time.process_time()
    seconds = sum(encode_video(video, encoder, settings, threads=1).duration or 0.0 for video in videos)
    alone, spent = time.perf_counter() - began, time.process_time() - spent
    reading = time.process_time()
    for video in videos:
        deque(read_clips(video, settings.frame_spec(encoder, threads=1))[1], maxlen=0)
    reading = time.process_time() - reading
    with tempfile.TemporaryDirectory() as folder:
        jobs = [ExtractionJob(video, Path(folder) / f"{number}.safetensors") for number, video in enumerate(videos)]
        began = time.perf_counter()
        done = sum(isinstance(event, Extracted) for event in extract(jobs, settings, workers=arguments.workers))
        together = time.perf_counter() - began
    if done != len(videos):
        print(f"{len(videos) - done} videos failed", file=sys.stderr)
        return 1
    print(f"{len(videos)} videos of {seconds:.0f} s in all")
    print(f"1 process: {alone:.1f} s, {seconds / alone:.0f} x real time")
    an_hour = 3600 / seconds
    print(f"CPU time for an hour of video: {an_hour * spent:.1f} s, of which {an_hour * reading:.1f} s to read it")
    print(f"{arguments.workers} workers: {together:.1f} s, {seconds / together:.0f} x real time")
    print(f"speed-up {alone / together:.2f}, {alone / together / arguments.workers:.2f} x linear")
    return 0


if __name__ == "__main__":
    sys.exit(main())
