"""Damaged containers: no traceback, no hang, and no wrong time without a word.

    python benchmarks/fuzz_containers.py                    # 20,000 files
    python benchmarks/fuzz_containers.py --count 600 --seed 1 --keep faults

Small videos of many containers, whose frame i shows the number i at i / 25 s, are mutated, and read as a user would:
probed, sampled at all their frames, and cut. A time is wrong if it is not that of the number in the picture. What a
mutation of the timestamps themselves says is beyond any reader, and so are pictures that are wrong because frames
before them are damaged: wrong times count as silent only if less than half as many are wrong by FFmpeg's own
timestamps. Not silent are those of a file whose clock was said to start again, as where a block is repeated, or whose
frames are dated by their order (AVI, ASF) and counted as lost. An AVI has no timestamps, so nothing tells that frames
were cut out of it.

The bars: no traceback, hang, crash, silent wrong time or wrong excerpt.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import av.error
import numpy as np
from pebble import ProcessExpired

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mttsg_core.errors import MttsgError  # noqa: E402
from mttsg_core.utils.processes import worker_pool  # noqa: E402
from mttsg_core.video.container import read_packets  # noqa: E402
from mttsg_core.video.probe import probe  # noqa: E402
from mttsg_core.video.rotation import Orientation  # noqa: E402
from mttsg_core.video.sampling import sample  # noqa: E402
from mttsg_core.video.trim import trim  # noqa: E402
from tests.helpers.video_files import read_number, remux, write_video  # noqa: E402

COUNT, RATE = 30, 25
TIME_LIMIT = 60.0  # seconds for one file; a decoder that stalls is given up after 30
TOLERANCE = 1.5 / RATE  # seconds
TOLERANCE_REORDERED = 2.5 / RATE  # likewise, where the order of the frames dates them and lost ones leave it open
MAX_PIXELS = 4_000_000  # of a picture; damaged headers may ask for enormous ones
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "mp4": ("libx264", {"bf": "2", "g": "10"}),
    "mov": ("mpeg4", {"bf": "2", "g": "10"}),
    "mkv": ("libx264", {"bf": "2", "g": "10"}),
    "webm": ("libvpx-vp9", {}),
    "avi": ("libx264", {"bf": "2", "g": "10"}),
    "wmv": ("mpeg4", {"bf": "2", "g": "10"}),
    "ts": ("libx264", {"bf": "2", "g": "10"}),
    "m2ts": ("mpeg2video", {"bf": "2", "g": "10"}),
    "vob": ("mpeg2video", {"bf": "2", "g": "10"}),
    "flv": ("libx264", {"bf": "2", "g": "10"}),
    "nut": ("libx264", {"bf": "0", "g": "5"}),
}


@dataclass(frozen=True)
class Outcome:
    """How a file was read.

    Attributes:
        kind: in a word; see `BARS`.
        detail: what is to be known about a fault.
    """

    kind: str
    detail: str = ""


BARS = ("traceback", "hang", "crash", "silent wrong time", "wrong excerpt")


def make_sources(folder: Path) -> dict[str, bytes]:
    """Return the whole videos: one of each kind, and a recording whose clock starts again."""
    sources = {}
    for suffix, (codec, options) in KINDS.items():
        path = write_video(folder / f"whole.{suffix}", range(COUNT), codec=codec, options=options)
        sources[suffix] = path.read_bytes()
    half = COUNT // 2
    parts = []
    for first in (0, half):
        part = write_video(folder / "part.mp4", range(half), first=first, options={"bf": "2", "g": "5"})
        parts.append(remux(part, folder / "part.ts", shift=5000 - first).read_bytes())
    return {**sources, "joined.ts": b"".join(parts)}


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Return a damaged copy: bytes changed, or a block zeroed, removed, repeated, moved or cut off."""
    damaged = bytearray(data)
    for _ in range(random.integers(1, 4)):
        size = int(2 ** random.uniform(0, np.log2(max(2, len(damaged) / 8))))
        start = int(random.integers(0, max(1, len(damaged) - size)))
        block = damaged[start : start + size]
        match int(random.integers(0, 8)):
            case 0 | 1 | 2:
                for position in random.integers(0, len(damaged), random.integers(1, 12)):
                    damaged[position] = int(random.integers(0, 256))
            case 3:
                damaged[int(random.integers(0, min(len(damaged), 600)))] ^= 1 << int(random.integers(0, 8))
            case 4:
                damaged[start : start + size] = bytes(size)
            case 5:
                del damaged[start : start + size]
            case 6:
                damaged[start:start] = block
            case _:
                del damaged[max(1, len(damaged) - size) :]
    return bytes(damaged)


def read(path: Path) -> Outcome:
    """Read a file as a user would."""
    try:
        info = probe(path)
        if info.width * info.height > MAX_PIXELS:
            return Outcome("too large to try")
        sampling = sample(info, info.frame_times[:200], (64, 48), threads=1)
        frames = [
            (float(moment), read_number(picture))
            for chunk in sampling
            for moment, picture in zip(chunk.times, chunk.frames, strict=True)
        ]
        tolerance = TOLERANCE_REORDERED if path.suffix in (".avi", ".wmv") else TOLERANCE
        wrong = count_wrong(frames, tolerance)
        if wrong and is_turned(path):  # and with the pictures their numbers
            return Outcome("turned")
        if wrong:
            stated = count_wrong(list(stated_frames(path)), tolerance)
            if info.clock_restarts or (sampling.lost and tolerance == TOLERANCE_REORDERED):
                kind = "wrong, but said"
            elif path.suffix == ".avi" and len(info.frame_times) < COUNT:
                kind = "cut AVI"
            else:
                kind = "silent wrong time" if wrong > 2 and 2 * stated < wrong else "as the file states"
            return Outcome(kind, f"{wrong} of {len(frames)} frames, {stated} by FFmpeg's timestamps")
        times = [moment for moment, number in frames if number >= 0]
        if len(times) < 4:
            return Outcome("little left")
        start, end = times[len(times) // 3] + 0.25 / RATE, times[2 * len(times) // 3] + 0.25 / RATE
        excerpt = path.with_suffix(".excerpt.mp4")
        trim(info, start, end, excerpt, threads=1)
        cut = probe(excerpt)
        shown = {read_number(picture) for chunk in sample(cut, cut.frame_times) for picture in chunk.frames}
        low, high = start - 1.5 / RATE, end + 1 / RATE
        allowed = {number for moment, number in frames if low <= moment <= high}
        allowed |= {number for number in range(COUNT) if low <= number / RATE <= high}
        shown = {number for number in shown if 0 <= number < COUNT}
        if sampling.lost == 0 and len(frames) == COUNT and not shown <= allowed:
            return Outcome("wrong excerpt", f"{sorted(shown - allowed)}")
        return Outcome("read" if len(frames) == COUNT else "read in part")
    except MttsgError:
        return Outcome("refused")
    except Exception as error:  # noqa: BLE001 - what the benchmark looks for
        return Outcome("traceback", repr(error))


def count_wrong(frames: list[tuple[float, int]], tolerance: float) -> int:
    """Return how many frames that show a number are not at its time."""
    return sum(0 <= number < COUNT and abs(moment - number / RATE) > tolerance for moment, number in frames)


def is_turned(path: Path) -> bool:
    """Return whether a mutation turned or mirrored the pictures."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        for packet in read_packets(path, container, stream):
            with suppress(av.error.FFmpegError):
                for frame in stream.codec_context.decode(packet):
                    turn = Orientation.from_frame(frame)
                    return turn.transpose or turn.flip_horizontal or turn.flip_vertical
    return False


def stated_frames(path: Path) -> Iterator[tuple[float, int]]:
    """Yield the frames of a plain decode: FFmpeg's timestamps less the container's start time."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        start = (container.start_time or 0) / av.time_base
        for packet in chain(read_packets(path, container, stream), [None]):
            try:
                pictures = stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                continue
            for picture in pictures:
                if picture.pts is not None:
                    rgb = picture.reformat(64, 48, "rgb24").to_ndarray()
                    yield float(picture.pts * stream.time_base) - start, read_number(rgb)


def fuzz(count: int, seed: int, workers: int, keep: Path | None) -> Counter[tuple[str, str]]:
    """Read `count` mutated files and return how many of each kind had which outcome."""
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name, worker_pool(workers) as pool:
        folder = Path(name)
        sources = make_sources(folder)
        kinds = sorted(sources)
        for first in range(0, count, 100):
            pending = []
            for number in range(first, min(count, first + 100)):
                kind = kinds[number % len(kinds)]
                path = folder / f"{number}.{kind.rpartition('.')[2]}"
                path.write_bytes(mutate(sources[kind], np.random.default_rng([seed, number])))
                pending.append((kind, path, pool.schedule(read, args=(path,), timeout=TIME_LIMIT)))
            for kind, path, future in pending:
                try:
                    outcome = future.result()
                except FutureTimeoutError:
                    outcome = Outcome("hang")
                except ProcessExpired:
                    outcome = Outcome("crash")
                outcomes[kind, outcome.kind] += 1
                if outcome.kind in BARS:
                    print(f"{outcome.kind}: {path.name} (seed {seed}): {outcome.detail}", flush=True)
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / path.name).write_bytes(path.read_bytes())
                path.unlink()
    return outcomes


def main() -> None:
    """Fuzz, and print a table; exit with 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="files to read (default 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--keep", type=Path, help="folder for the files that miss a bar")
    options = parser.parse_args()
    start = time.perf_counter()
    outcomes = fuzz(options.count, options.seed, options.workers, options.keep)
    kinds = sorted({kind for kind, _ in outcomes})
    names = sorted({name for _, name in outcomes})
    print(f"{'':20}" + "".join(f"{kind:>10}" for kind in kinds) + f"{'all':>10}")
    for name in names:
        counts = [outcomes[kind, name] for kind in kinds]
        print(f"{name:20}" + "".join(f"{count:10}" for count in (*counts, sum(counts))))
    print(f"{options.count} files in {time.perf_counter() - start:.0f} s, seed {options.seed}")
    sys.exit(any(name in BARS for name in names))


if __name__ == "__main__":
    main()
