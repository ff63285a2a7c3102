"""Kill one of two processes that train together at random moments, resume, and compare with an unbroken run.

    python benchmarks/rank_kills.py [--trials 20] [--seed 0]

So many times each: rank 1 is killed, rank 0 is killed, and rank 0 is killed between the parts of a checkpoint (before
or after one of the files of an epoch is put in place). Each time the other rank has to end by itself within a minute
with one error, and the run, resumed by two ranks, has to end with the weights and the log of the unbroken run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from mttsg_core.errors import ConfigError, ModelError, MttsgError, ToldError
from mttsg_core.training.run import TrainingRun
from mttsg_core.workflows.options import FeatureOptions, TrainOptions
from mttsg_core.workflows.train import train

LONGEST = 60.0  # seconds until the other rank has to have ended
CONFIG: dict[str, Any] = {"epochs": 4, "batch_videos": 4, "patience": 9.0, "calibration_sentences": 6}
NETWORK: dict[str, Any] = {"width": 16, "local_layers": 1, "head_width": 8, "proposal_width": 8}
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["mttsg_core.workflows.train", "mttsg_core.training.trainer"])


@dataclass(frozen=True)
class Kill:
    """When a rank kills itself.

    Attributes:
        rank: which one.
        after: seconds after its first step; None: never.
        replaced: number of files that it puts in place before, or None.
        before: whether it dies before the last of these is in place, or after.
    """

    rank: int
    after: float | None = None
    replaced: int | None = None
    before: bool = False


def main() -> None:
    """Run all trials; exit with 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=20, help="number of kills of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_data(folder / "data")
        start = time.monotonic()
        if any(run_ranks(folder, "unbroken", None)[0]):
            raise SystemExit("the unbroken run failed")
        seconds = json.loads((folder / "unbroken" / "report.json").read_text())["seconds"]
        print(f"unbroken: {time.monotonic() - start:.0f} s, of them {seconds:.1f} s of training")
        for number in range(arguments.trials):
            for kind, kill in (
                ("rank 1", Kill(1, after=draw.uniform(0, seconds))),
                ("rank 0", Kill(0, after=draw.uniform(0, seconds))),
                ("checkpoint", Kill(0, replaced=draw.randint(1, 8), before=draw.random() < 0.5)),
            ):
                problem, ended = trial(folder, kill)
                failed += bool(problem)
                outcome = f"{problem or 'equal'} ({kill}, the other ended {ended:.1f} s later)"
                print(f"{number + 1} {kind}: {outcome}", flush=True)
    print(f"{failed} of {3 * arguments.trials} failed")
    sys.exit(failed > 0)


def trial(folder: Path, kill: Kill) -> tuple[str, float]:
    """Kill and resume once; return what went wrong, or nothing, and how many seconds later the other rank ended."""
    shutil.rmtree(folder / "m", ignore_errors=True)
    errors, ended = run_ranks(folder, "m", kill)
    lines = [error for error in errors if error and error != "told"]
    finished = (folder / "m" / "report.json").is_file()
    if errors[1 - kill.rank] == "" and not finished:
        return "the other rank ended without an error", ended
    if len(lines) > 1:
        return f"several errors: {lines}", ended
    if ended > LONGEST:
        return "the other rank took too long", ended
    resumes = any((folder / "m" / "state").glob("*.safetensors"))
    again, _ = run_ranks(folder, "m", None, resume=resumes)
    if any(again):
        return f"cannot go on: {again}", ended
    first, second = ((folder / run / "model.safetensors").read_bytes() for run in ("m", "unbroken"))
    if first != second:
        return "model.safetensors differs", ended
    return ("" if losses(folder / "m") == losses(folder / "unbroken") else "log.jsonl differs"), ended


def losses(run: Path) -> list[dict[str, float]]:
    """Return the losses of all epochs of a run."""
    return [json.loads(line)["losses"] for line in (run / "log.jsonl").read_text().splitlines()]


def run_ranks(folder: Path, out: str, kill: Kill | None, *, resume: bool = False) -> tuple[list[str], float]:
    """Train with two ranks.

    Returns:
        The error of each: nothing, the text, or `told` if the other one tells it; and the seconds between their ends.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    started = []
    for rank in range(2):
        receiver, sender = context.Pipe(duplex=False)
        given = sender, rank, store.port, folder, out, kill, resume
        process = context.Process(target=work, args=given, daemon=True)
        process.start()
        sender.close()
        started.append((process, receiver))
    running = [process.sentinel for process, _ in started]
    ends = []
    while running:
        for sentinel in multiprocessing.connection.wait(running):
            running.remove(sentinel)  # type: ignore[arg-type]
            ends.append(time.monotonic())
    errors = []
    for process, receiver in started:
        try:
            errors.append(receiver.recv())
        except EOFError:
            errors.append("")
        process.join()
    return errors, ends[1] - ends[0]


def work(sender: Any, rank: int, port: int, folder: Path, out: str, kill: Kill | None, resume: bool) -> None:
    """Train as one of two ranks, and die as told."""
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, TORCHELASTIC_USE_AGENT_STORE="True")
    if kill is not None and kill.rank == rank:
        prepare(kill)
    options = TrainOptions(device="cpu", resume=resume, overwrite=not resume, remember=False)
    features = FeatureOptions(text_encoder=None if resume else "hashed")
    config, network = (None, None) if resume else (CONFIG, NETWORK)
    try:
        train(folder / "data", folder / out, config=config, network=network, features=features, options=options)
        sender.send("")
    except ToldError:
        sender.send("told")
    except (MttsgError, ConfigError, ModelError) as error:
        sender.send(str(error))


def prepare(kill: Kill) -> None:
    """Let this process kill itself."""
    step, replace = TrainingRun._step, Path.replace
    begun = threading.Event()
    replaced = 0

    def first_step(run: TrainingRun, *arguments: Any) -> None:
        if kill.after is not None and not begun.is_set():
            timer = threading.Timer(kill.after, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()
        begun.set()
        step(run, *arguments)

    def counted(path: Path, target: Any) -> Path:
        nonlocal replaced
        replaced += begun.is_set()
        is_last = begun.is_set() and replaced == kill.replaced
        if is_last and kill.before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = replace(path, target)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(TrainingRun, "_step", first_step)  # noqa: B010
    setattr(Path, "replace", counted)  # noqa: B010


def make_data(folder: Path) -> None:
    """Write a small data folder with features."""
    generator = np.random.default_rng(0)
    (folder / "features").mkdir(parents=True)
    marks = generator.normal(scale=3, size=(6, 8))
    for split, videos in (("train", 14), ("val", 5)):
        rows = []
        for number in range(videos):
            clips = int(generator.integers(12, 25))
            vectors = generator.normal(scale=0.3, size=(clips, 8))
            for half, kind in enumerate(generator.choice(6, 2, replace=False)):
                first = half * clips // 2 + int(generator.integers(1, 3))
                last = min(clips, first + int(generator.integers(2, 5)))
                vectors[first:last] += marks[kind]
                query = f"thing {kind} of video {number}"
                times = {"start": first / 2, "end": last / 2, "duration": clips / 2}
                rows.append({"video": f"{split}{number}", "query": query, **times})
            np.save(folder / "features" / f"{split}{number}.npy", vectors.astype(np.float32))
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
