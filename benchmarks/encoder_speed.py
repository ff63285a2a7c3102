"""Measure what `extract` costs beyond the pretrained encoder itself, on the CPU.

    python benchmarks/encoder_speed.py videos/

Builds CLIP ViT-B/32 with random weights, which runs as fast as the trained one. Prints the time of its bare forward
passes on the frames of the videos, held in memory and normalised, and the time of the whole extraction: starting
workers, decoding, resizing, normalising, encoding, pooling, writing. Both are measured in turns, and the best of each
counts. Loading the model is part of neither. Workers import this file too, so heavy modules are imported where they are
needed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mttsg_core.features.extraction import (
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
    ExtractionSettings,
    default_workers,
    extract,
)
from mttsg_core.features.frame_stream import read_clips
from mttsg_core.video.discovery import find_videos

if TYPE_CHECKING:
    from torch import Tensor


def main() -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path, nargs="+", help="video files, and folders to search for videos")
    parser.add_argument("--fps", type=float, default=2.0, help="clips per second")
    parser.add_argument("--turns", type=int, default=3, help="number of measurements, of which the best counts")
    parser.add_argument("--workers", type=int, default=default_workers(), help="default: one per core")
    arguments = parser.parse_args()
    videos = [video.path for video in find_videos(arguments.videos)]
    with tempfile.TemporaryDirectory() as folder:
        model = _save_clip(Path(folder) / "clip")
        settings = ExtractionSettings(str(model), arguments.fps)
        pixels = _pixels(videos, settings)
        bare, whole = [], []
        for turn in range(arguments.turns):
            bare.append(_bare(model, pixels))
            whole.append(_whole(videos, settings, Path(folder) / str(turn), arguments.workers))
            print(f"turn {turn + 1}: bare {bare[-1]:.1f} s, whole {whole[-1]:.1f} s", file=sys.stderr)
    print(f"{len(videos)} videos, {sum(map(len, pixels))} frames")
    print(f"bare forward passes: {min(bare):.1f} s")
    print(f"whole extraction, {arguments.workers} workers: {min(whole):.1f} s")
    print(f"ratio {min(whole) / min(bare):.3f}")
    return 0


def _save_clip(folder: Path) -> Path:
    """Write CLIP ViT-B/32, which is the default configuration, and its image processor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


def _pixels(videos: list[Path], settings: ExtractionSettings) -> list[Tensor]:
    """Return the frames as the model reads them, in batches (B, 3, H, W)."""
    import torch

    from mttsg_core.encoders.hf_files import find_files
    from mttsg_core.encoders.image_preprocessing import ImagePreprocessing

    encoder = settings.build_encoder()
    preprocessing = ImagePreprocessing.from_files(find_files(settings.encoder))
    pieces = [piece for video in videos for piece in read_clips(video, settings.frame_spec(encoder))[1]]
    return [preprocessing.normalise(torch.from_numpy(piece.frames)).flatten(0, 1).contiguous() for piece in pieces]


def _bare(model: Path, pixels: list[Tensor]) -> float:
    """Return the seconds of the forward passes."""
    import torch

    from mttsg_core.encoders.hf_files import find_files
    from mttsg_core.encoders.hf_loading import load_weights
    from mttsg_core.utils.devices import all_threads

    network = load_weights(find_files(str(model)), torch.device("cpu"))
    began = time.perf_counter()
    with torch.inference_mode(), all_threads():
        for batch in pixels:
            network.get_image_features(batch)
    return time.perf_counter() - began


def _whole(videos: list[Path], settings: ExtractionSettings, out: Path, workers: int) -> float:
    """Return the seconds of the extraction."""
    jobs = [ExtractionJob(video, out / f"{number}.safetensors") for number, video in enumerate(videos)]
    began = time.perf_counter()
    events = list(extract(jobs, settings, workers=workers))
    seconds = time.perf_counter() - began
    for event in events:
        if isinstance(event, ExtractionFailed | ExtractionPassedOver):
            raise SystemExit(f"{event.job.video}: {event.reason}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
