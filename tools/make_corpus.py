"""Write a small synthetic corpus for temporal sentence grounding: real mp4 files plus sentences with times.

    python tools/make_corpus.py corpus --videos 300 --seed 0 --world easy

In each video two to four coloured shapes do something at certain times ("the red circle moves left"), and rest in
between. Everything is planned first and then rendered in parallel: the plan depends on the seed, the world and the
number of videos only, not on the workers or the frame size. A program that imports this file and uses several workers
must call `make_corpus` under `if __name__ == "__main__":`.
"""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import os
import site
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from corpus_plan import (
    COLOURS,
    FPS,
    SPLITS,
    WORLDS,
    Array,
    VideoPlan,
    plan_corpus,
    rows,
    traces,
)

# Part of a `--config` file: a network that is trained on a few videos of the corpus in a second, and learns little.
TINY_NETWORK = """[network]
width = 16
region_width = 8
region_heads = 1
local_layers = 1
head_width = 8
proposal_width = 8
max_clips = 32
"""
# What train and extract read by themselves: drawn shapes need no pretrained encoder.
DEFAULTS = 'encoder = "classic"\ntext_encoder = "hashed"\n'


def _polygon(shape: str) -> Array:
    corners, inner = {"square": (4, 1.0), "triangle": (3, 1.0), "star": (10, 0.42)}[shape]
    angles = 2 * math.pi * np.arange(corners) / corners - (math.pi / 4 if shape == "square" else math.pi / 2)
    radius = np.where(np.arange(corners) % 2 == 0, 1.0, inner)
    return np.stack((radius * np.cos(angles), radius * np.sin(angles)), axis=1)


def mask(shape: str, x: Array, y: Array, radius: float, angle: float = 0.0) -> Array:
    """Return how much of each pixel a shape around (0, 0) covers, by signed distance; x and y are pixel centres."""
    if shape == "circle":
        return np.asarray(np.clip(0.9 * radius - np.hypot(x, y) + 0.5, 0, 1))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    corners = _polygon(shape) @ turn * radius
    ax, ay = corners.T[:, :, None, None]
    bx, by = np.roll(corners, -1, axis=0).T[:, :, None, None]
    ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
    along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
    distance = np.sqrt(((px - along * ex) ** 2 + (py - along * ey) ** 2).min(axis=0))
    crossed = ((ay > y) != (by > y)) & ((ex * py - ey * px > 0) == (by > ay))
    inside = crossed.sum(axis=0) % 2 == 1
    return np.asarray(np.clip(np.where(inside, distance, -distance) + 0.5, 0, 1))


def _background(rng: np.random.Generator, world: str, size: int) -> NDArray[np.float32]:
    """Draw a plain dark grey, or in the hard world a gradient with soft clutter."""
    canvas = np.full((size, size, 3), rng.uniform(25, 90), dtype=np.float32)
    if world == "hard":
        y, x = np.mgrid[0:size, 0:size] / size - 0.5
        way = rng.uniform(0, 2 * math.pi)
        canvas += ((x * math.cos(way) + y * math.sin(way)) * rng.uniform(15, 45))[..., None]
        for _ in range(rng.integers(8, 17)):
            (cx, cy), (w, h) = rng.uniform(-0.5, 0.5, 2), rng.uniform(0.03, 0.2, 2)
            edge = np.clip(np.minimum(w - abs(x - cx), h - abs(y - cy)) * size / 2, 0, 1)
            canvas += edge[..., None] * (rng.uniform(-22, 22) + rng.uniform(-8, 8, 3))
        np.clip(canvas, 10, 120, out=canvas)
    return canvas


def render(plan: VideoPlan, size: int = 128) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video, (height, width, 3) RGB."""
    rng = np.random.default_rng((plan.seed, plan.index, WORLDS.index(plan.world)))
    background = _background(rng, plan.world, size)
    states = traces(plan)
    colours = [np.array(COLOURS[sprite.colour], dtype=np.float32) for sprite in plan.sprites]
    noisy = plan.world == "hard"
    if noisy:  # one large field of sensor noise; each frame takes a random window of it
        noise = rng.normal(0, rng.uniform(4, 8), (2 * size, 2 * size, 3)).astype(np.float32)
        flicker = 1 + 0.01 * rng.normal(size=plan.frames) + 0.02 * np.sin(np.arange(plan.frames) * rng.uniform(0.1, 1))
    clean, frame = background, background.astype(np.uint8)
    for t in range(plan.frames):
        if t == 0 or any((state[t] != state[t - 1]).any() for state in states):
            clean = background.copy()
            for sprite, colour, state in zip(plan.sprites, colours, states, strict=True):
                x, y, scale, angle, visible = state[t].tolist()
                if visible:
                    radius = sprite.radius * scale * size
                    left, right = max(0, int(x * size - radius) - 1), int(x * size + radius) + 2
                    top, bottom = max(0, int(y * size - radius) - 1), int(y * size + radius) + 2
                    patch = clean[top:bottom, left:right]
                    py = np.arange(patch.shape[0])[:, None] + (top + 0.5 - y * size)
                    px = np.arange(patch.shape[1])[None, :] + (left + 0.5 - x * size)
                    patch += mask(sprite.shape, px, py, radius, angle)[..., None] * (colour - patch)
            frame = (clean + 0.5).astype(np.uint8)
        if noisy:
            i, j = rng.integers(0, size + 1, 2)
            shot = clean * np.float32(flicker[t]) + noise[i : i + size, j : j + size]
            frame = np.clip(shot + 0.5, 0, 255).astype(np.uint8)
        yield frame


def write_video(plan: VideoPlan, folder: str, size: int = 128) -> int:
    """Render a video, encode it as H.264, and return its number."""
    path = Path(folder) / plan.name
    part = path.with_suffix(".part.mp4")
    options = {"preset": "veryfast", "crf": "20" if plan.world == "easy" else "24", "threads": "1"}
    with av.open(str(part), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for t, image in enumerate(render(plan, size)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = t, 1 / FPS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    part.replace(path)
    return plan.index


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_corpus(
    folder: str | Path,
    *,
    videos: int = 300,
    seed: int = 0,
    world: str = "easy",
    workers: int | None = None,
    size: int = 128,
    overwrite: bool = False,
    progress: Callable[[int], object] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Write a corpus into a folder; the row files are written last.

    Args:
        folder: new or empty.
        videos: number of videos.
        seed: one seed gives one corpus.
        world: `easy` or `hard`.
        workers: processes; None for one per core.
        size: width and height in pixels.
        overwrite: replace an older corpus.
        progress: called with 1 after each video.

    Returns:
        The rows of each split.

    Raises:
        ValueError: for a number that cannot be used.
        FileExistsError: if the folder is not empty and is not to be overwritten.
    """
    root = Path(folder)
    workers = _cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"the number of workers must be at least 1, not {workers}")
    if size < 64 or size % 2:
        raise ValueError(f"the size must be an even number of at least 64 pixels, not {size}")
    if seed < 0:
        raise ValueError(f"the seed must not be negative: {seed}")
    if root.exists() and not root.is_dir():
        raise FileExistsError(f"{root} is not a folder")
    if root.exists() and any(root.iterdir()) and not overwrite:
        raise FileExistsError(f"{root} is not empty (use --overwrite to replace an older corpus)")
    plans = plan_corpus(videos, seed, world)
    table = rows(plans)
    (root / "videos").mkdir(parents=True, exist_ok=True)
    for old in [*(root / f"{split}.jsonl" for split in SPLITS), *(root / "videos").glob("[0-9][0-9][0-9][0-9]*.mp4")]:
        old.unlink(missing_ok=True)
    for _ in _write_all(plans, str(root), size, min(workers, videos)):
        if progress is not None:
            progress(1)
    (root / "mttsg.toml").write_text(DEFAULTS)
    for split, lines in table.items():
        part = root / f"{split}.part"
        part.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())
        part.replace(root / f"{split}.jsonl")
    return table


def _write_all(plans: list[VideoPlan], folder: str, size: int, workers: int) -> Iterator[int]:
    if workers == 1:
        yield from (write_video(plan, folder, size) for plan in plans)
        return
    # addsitedir lets spawned workers import this file by its name, wherever it was loaded from
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), site.addsitedir, (str(Path(__file__).resolve().parent),)
    )
    try:
        for done in as_completed([pool.submit(write_video, plan, folder, size) for plan in plans]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the corpus (new or empty).")],
    videos: Annotated[int, typer.Option(help="Number of videos.")] = 300,
    seed: Annotated[int, typer.Option(help="Random seed: one seed gives one corpus.")] = 0,
    world: Annotated[str, typer.Option(help="World: easy or hard.")] = "easy",
    workers: Annotated[int | None, typer.Option(help="Number of processes (default: one per core).")] = None,
    size: Annotated[int, typer.Option(help="Width and height in pixels.")] = 128,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the corpus in a non-empty folder.")] = False,
) -> None:
    """Write an example corpus of coloured shapes that move, grow, blink, ... with a sentence for each moment."""
    console = Console(stderr=True)
    columns = (TextColumn("videos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("videos", total=videos)
        make = functools.partial(make_corpus, folder, videos=videos, seed=seed, world=world, workers=workers)
        table = make(size=size, overwrite=overwrite, progress=lambda n: bar.advance(task, n))
    counts = ", ".join(f"{len(lines)} {split}" for split, lines in table.items())
    print(f"wrote {folder}: {videos} videos; sentences: {counts}", file=sys.stderr)


def main() -> int:
    """Run the command; wrong usage ends with one line and exit code 2."""
    try:
        return int(app(standalone_mode=False) or 0)
    except (ValueError, OSError) as error:
        print(f"make_corpus: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("make_corpus: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if not hasattr(error, "format_message"):  # only errors of usage have it
            raise
        print(f"make_corpus: {error.format_message()}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
