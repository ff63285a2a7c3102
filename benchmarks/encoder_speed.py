"""Measure what extraction with a pretrained encoder costs on the CPU: in single precision, and as fast as it goes.

    python benchmarks/encoder_speed.py videos/
    python benchmarks/encoder_speed.py videos/ --encoder dinov2 --onnx     # a trained model; cosines mean something

Without `--encoder` it builds CLIP ViT-B/32 with random weights, which runs as fast as the trained one. Prints, for each
precision, the speed of the bare forward passes on frames that are held in memory and normalised; that of the whole
extraction: starting workers, decoding, resizing, normalising, encoding, pooling, writing; and the least and mean cosine
of its features with those of single precision. All are measured in turns, and the best of each counts; on a busy
machine the CPU time, that of workers included, says more. Loading the model is part of none. `--onnx` adds bare forward
passes of ONNX Runtime with 8-bit weights (needs onnx, onnxscript and onnxruntime). Workers import this file too, so
heavy modules are imported where they are needed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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

SINGLE, FASTEST = "float32", "auto"


def main() -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", type=Path, nargs="+", help="video files, and folders to search for videos")
    parser.add_argument("--encoder", help="a pretrained image encoder; default: CLIP ViT-B/32 with random weights")
    parser.add_argument("--fps", type=float, default=2.0, help="clips per second")
    parser.add_argument("--turns", type=int, default=3, help="number of measurements, of which the best counts")
    parser.add_argument("--workers", type=int, default=default_workers(), help="default: one per core")
    parser.add_argument("--onnx", action="store_true", help="add ONNX Runtime with 8-bit weights")
    arguments = parser.parse_args()
    videos = [video.path for video in find_videos(arguments.videos)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = ExtractionSettings(arguments.encoder or str(_save_clip(folder / "clip")), arguments.fps)
        pixels = _pixels(videos, settings)
        forwards = _forwards(settings, pixels[0], folder if arguments.onnx else None)
        bare: dict[str, list[Cost]] = defaultdict(list)
        whole: dict[str, list[Cost]] = defaultdict(list)
        for turn in range(arguments.turns):
            for variant, forward in forwards.items():
                bare[variant].append(_bare(forward, pixels))
            for precision in (SINGLE, FASTEST):
                chosen = replace(settings, precision=precision)
                whole[precision].append(_whole(videos, chosen, folder / f"{precision}{turn}", arguments.workers))
            print(f"turn {turn + 1} of {arguments.turns}", file=sys.stderr)
        frames = sum(map(len, pixels))
        print(f"{len(videos)} videos, {frames} frames, {arguments.workers} workers")
        for variant, costs in bare.items():
            print(f"bare forward passes, {variant}: {_best(costs, frames, arguments.fps)}")
        for precision, costs in whole.items():
            least, mean = _cosines(folder / f"{SINGLE}0", folder / f"{precision}0")
            print(
                f"whole extraction, {precision}: {_best(costs, frames, arguments.fps)},"
                f" cosine {least:.4f} at least, {mean:.4f} on average"
            )
    return 0


class Cost(NamedTuple):
    """What a measurement took, in seconds."""

    wall: float
    cpu: float

    @classmethod
    def of(cls, work: Callable[[], object]) -> Cost:
        """Do some work, in this process and others that end with it, and return what it took."""
        began, used = time.perf_counter(), os.times()
        work()
        after = os.times()
        return cls(time.perf_counter() - began, sum(after[:4]) - sum(used[:4]))


def _best(costs: list[Cost], frames: int, fps: float) -> str:
    """Return the least of the costs, in words."""
    wall, cpu = (min(seconds) for seconds in zip(*costs, strict=True))
    rate = frames / wall
    return f"{rate:.1f} frames/s, {rate / fps:.1f} x real time, {1000 * cpu / frames:.0f} ms of CPU a frame"


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


def _forwards(
    settings: ExtractionSettings, example: Tensor, onnx_folder: Path | None
) -> Mapping[str, Callable[[Tensor], object]]:
    """Return the forward passes to compare, by name. With a folder to write to, one is that of ONNX Runtime."""
    import torch

    from mttsg_core.encoders.hf_files import find_files
    from mttsg_core.encoders.hf_loading import load_weights
    from mttsg_core.encoders.precision import half_type

    model = load_weights(find_files(settings.encoder), torch.device("cpu"))
    tower = getattr(model, "vision_model", model)
    half = half_type("auto", torch.device("cpu"))

    def in_half(pixels: Tensor) -> object:
        with torch.autocast("cpu", half, enabled=half is not None):
            return tower(pixel_values=pixels)

    forwards: dict[str, Callable[[Tensor], object]] = {SINGLE: lambda pixels: tower(pixel_values=pixels)}
    forwards[FASTEST] = in_half
    if onnx_folder is not None:
        session = _onnx_session(tower, example, onnx_folder)
        forwards["ONNX Runtime int8"] = lambda pixels: session.run(None, {"pixels": pixels.numpy()})
    return forwards


def _onnx_session(tower: Any, example: Tensor, folder: Path) -> Any:
    """Return a session of ONNX Runtime for a model whose matrices are of 8-bit numbers."""
    import onnxruntime
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = tower

        def forward(self, pixels: Tensor) -> Tensor:
            hidden: Tensor = self.tower(pixel_values=pixels).last_hidden_state
            return hidden

    plain, small = folder / "plain.onnx", folder / "int8.onnx"
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        *(Hidden().eval(), (example,), plain),
        input_names=["pixels"],
        dynamic_shapes=(batch,),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    quantize_dynamic(
        plain, small, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(small, options)


def _bare(forward: Callable[[Tensor], object], pixels: list[Tensor]) -> Cost:
    """Return the cost of the forward passes."""
    import torch

    from mttsg_core.utils.devices import all_threads

    def run() -> None:
        with torch.inference_mode(), all_threads():
            for batch in pixels:
                forward(batch)

    return Cost.of(run)


def _whole(videos: list[Path], settings: ExtractionSettings, out: Path, workers: int) -> Cost:
    """Return the cost of the extraction."""
    jobs = [ExtractionJob(video, out / f"{number}.safetensors") for number, video in enumerate(videos)]
    events: list[object] = []
    cost = Cost.of(lambda: events.extend(extract(jobs, settings, workers=workers)))
    for event in events:
        if isinstance(event, ExtractionFailed | ExtractionPassedOver):
            raise SystemExit(f"{event.job.video}: {event.reason}")
    return cost


def _cosines(expected: Path, actual: Path) -> tuple[float, float]:
    """Return the least and the mean cosine between the clip vectors of two folders of features."""
    import numpy as np

    from mttsg_core.features.store import read_features

    cosines = []
    for path in expected.iterdir():
        first, second = (read_features(folder / path.name).clips for folder in (expected, actual))
        norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        cosines.append((first * second).sum(axis=1) / norms)
    together = np.concatenate(cosines)
    return float(together.min()), float(together.mean())


if __name__ == "__main__":
    sys.exit(main())
