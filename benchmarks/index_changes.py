"""Change the videos of an index, and kill `mttsg index` at random moments: only changes are done, and nothing is lost.

    PYTHONPATH=.:tools:benchmarks python benchmarks/index_changes.py MODEL --videos 1000 --changed 10
    PYTHONPATH=.:tools:benchmarks python benchmarks/index_changes.py MODEL --videos 6 --kills 50

The videos last a second, and each has a content of its own. First all of them are indexed, then some are written again,
and the time and the numbers of both runs are printed. With `--kills`, a video is written again before every run, which is
killed; after each the index must hold nothing wrong: every video with all of its vectors, those that an unbroken run
makes of the same content. After every tenth an unbroken run must find all videos. Exit status 1 if anything is wrong.
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
from campaign_runs import Ended, Program, faults_of

from mttsg_core.search.index_folder import IndexFolder, is_index
from mttsg_core.search.lance_index import LanceIndex
from mttsg_core.workflows.library import VideoLibrary

FRAMES, SIZE = 25, 64
BETWEEN = 10  # killed runs before an unbroken one


class Bench:
    """A folder of videos, and their index."""

    def __init__(self, folder: Path, model: Path, videos: int) -> None:
        self.videos, self.index, self.cache, self.model = folder / "videos", folder / "index", folder / "cache", model
        self.videos.mkdir()
        self.contents = 0
        self.number = videos
        self.pattern = make_video(folder / "pattern.mp4")
        for number in range(videos):
            self.write(number)

    def write(self, number: int) -> None:
        """Give a video a content that no other has had: a box of no meaning at its end."""
        self.contents += 1
        text = self.contents.to_bytes(64, "big") * 64
        path = self.videos / f"{number:04}.mp4"
        path.write_bytes(self.pattern + (8 + len(text)).to_bytes(4, "big") + b"free" + text)

    def run(self) -> Program:
        """Start the command."""
        words = ["--index", self.index, "--model", self.model, "--cache", self.cache, "--workers", "1", "--json"]
        return Program("index", self.videos, *words)

    def open(self) -> LanceIndex:
        """Return the tables of the index."""
        [model] = IndexFolder.read(self.index).models
        table = next(path for path in self.index.iterdir() if path.name.startswith("clips-"))
        dim = LanceIndex.width(table)
        return LanceIndex(self.index, model.fingerprint, dim, (1,))
