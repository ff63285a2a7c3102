"""Runs of the program for the campaign: killed and run again, two at once, each compared with an unbroken run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from make_corpus import TINY_NETWORK, make_corpus
from mttsg_core.checkpoints.runs import has_state

TIME_LIMIT = 180.0  # seconds that a command may take
END_LIMIT = 15.0  # seconds that a command may take to end after a signal
QUERIES = ("the red circle moves left", "the blue star grows")
EPOCHS = 6
TINY = f"fps = 1.0\nepochs = {EPOCHS}\nbatch_videos = 2\n{TINY_NETWORK}"
SIGNALS = ("KILL", "KILL", "TERM", "HUP", "INT", "INT INT")
PAIRS = (
    ("extract", "extract"),
    ("ground", "ground"),
    ("train", "train"),
    ("evaluate", "evaluate"),
    ("train", "extract"),
    ("ground", "extract"),
    ("train", "ground"),
    ("evaluate", "ground"),
)


@dataclass
class Ended:
    """How a command ended. `peak` is in kB."""

    code: int
    out: str
    err: str
    peak: int
    hung: bool = False


class Program:
    """A run of the command line, in a process group of its own."""

    def __init__(self, *arguments: str | Path) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 -- pipes could fill
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mttsg_cli", *map(str, arguments)],
            stdout=self._files[0],
            stderr=self._files[1],
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )

    def send(self, names: str) -> None:
        for name in names.split():
            os.kill(self._process.pid, signal.Signals[f"SIG{name}"])
            time.sleep(0.1)

    def wait(self, limit: float = TIME_LIMIT) -> Ended:
        """Wait for the program and its workers; they are killed, and count as hung, after `limit` seconds."""
        until, status, peak, hung = time.monotonic() + limit, None, 0, False
        while status is None or has_members(self._process.pid):
            if status is None:
                pid, code, usage = os.wait4(self._process.pid, os.WNOHANG)
                if pid:
                    status, peak = os.waitstatus_to_exitcode(code), usage.ru_maxrss
                    until = min(until, time.monotonic() + END_LIMIT)
            if time.monotonic() > until:
                hung, until = True, time.monotonic() + END_LIMIT
                os.killpg(self._process.pid, signal.SIGKILL)
            time.sleep(0.01)
        self._process.returncode = status
        out, err = map(_read_and_close, self._files)
        return Ended(status, out, err, peak, hung)


class Bench:
    """A corpus, and what unbroken runs make of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.data = folder / "data"
        make_corpus(self.data, videos=8, seed=seed, size=64, workers=1)
        self.config = folder / "tiny.toml"
        self.config.write_text(TINY)
        self.videos = self.data / "videos"
        self.cache, self.model = folder / "cache", folder / "model"
        self.seconds: dict[str, float] = {}
        self.expected: dict[str, dict[str, bytes]] = {}
        for name in COMMANDS:
            start = time.monotonic()
            ended = Program(*self.command(name, folder / name)).wait()
            if ended.code != 0:
                raise RuntimeError(ended.err)
            self.seconds[name] = time.monotonic() - start
            if name == "train":
                shutil.copytree(folder / name, self.model)
            self.expected[name] = results(name, folder / name)

    def command(self, name: str, out: Path) -> list[str | Path]:
        """Return the arguments of a command whose results are in `out`."""
        cache: list[str | Path] = ["--cache", self.cache]
        if name == "extract":
            return ["extract", self.videos, "--out", out, "--encoder", "classic", "--fps", "1", "--workers", "2"]
        if name == "train":
            options = ["--encoder", "classic", "--text-encoder", "hashed", "--workers", "1"]
            resume = ["--resume"] if has_state(out) else []
            return ["train", self.data, "--out", out, "--config", self.config, *cache, *options, *resume]
        page: list[str | Path] = ["--html", out / f"{name}.html"]
        if name == "evaluate":
            rows: list[str | Path] = ["--out", out / "predictions.jsonl", "--overwrite"]
            return ["evaluate", self.data, "--split", "val", "--model", self.model, *cache, *rows, *page]
        files: list[str | Path] = ["--clips", out / "clips", "--out", out / "rows.csv", "--top", "4", "--workers", "2"]
        names = ["--clip-name", "{video}_{rank}_{start}-{end}"]
        return ["ground", self.videos, *QUERIES, "--model", self.model, *cache, *files, *names, *page]


COMMANDS = ("extract", "train", "ground", "evaluate")
PATTERNS = {
    "extract": ("[0-9]*.safetensors",),
    "train": ("model.safetensors",),
    "ground": ("ground.html", "rows.csv", "*.mp4"),
    "evaluate": ("evaluate.html", "predictions.jsonl", "predictions.provenance.json"),
}
TIMES = re.compile(rb'Made [0-9T:+-]+|"(started|seconds)": [^,\n]+')  # when a command ran, and how long it took


def results(name: str, folder: Path) -> dict[str, bytes]:
    """Return the content of the files that must be equal however often a command was interrupted, without times."""
    paths = [path for pattern in PATTERNS[name] for path in sorted(folder.rglob(pattern))]
    contents = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return {
        file: TIMES.sub(b"", content) if file.endswith((".html", ".json")) else content
        for file, content in contents.items()
    }


def faults_of(ended: Ended, codes: Sequence[int]) -> Iterator[str]:
    """Yield what is wrong with the way in which a command ended."""
    if ended.hung:
        yield "hang"
    elif ended.code not in codes:
        yield "wrong"
    if "Traceback" in ended.err or "resource_tracker" in ended.err:
        yield "traceback"


def left_behind(folder: Path) -> Iterator[str]:
    if next(folder.rglob(".*.part"), None) is not None or next(folder.rglob("state/lock"), None) is not None:
        yield "left behind"


def kill(bench: Bench, name: str, random: np.random.Generator, folder: Path) -> tuple[list[str], int]:
    """Stop a command with a signal, run it again, and return the faults and the peak memory."""
    names = str(random.choice(SIGNALS))
    number = signal.Signals[f"SIG{names.split()[0]}"]
    program = Program(*bench.command(name, folder))
    time.sleep(random.uniform(0.1, bench.seconds[name]))
    program.send(names)
    ended = program.wait(END_LIMIT)
    # A signal may come before Python runs any of our code, or after the work is done.
    faults = list(faults_of(ended, [-number, 0] if names == "KILL" else [128 + number, -number, 0]))
    if names != "KILL":
        faults += left_behind(folder)
    kept = results(name, folder) if name == "extract" else {}
    again = Program(*bench.command(name, folder)).wait()
    faults += faults_of(again, [0, 2] if ended.code == 0 and name == "train" else [0])
    faults += left_behind(folder)
    if results(name, folder) != bench.expected[name]:
        faults.append("wrong")
    if any(bench.expected[name].get(file) != content for file, content in kept.items()):
        faults.append("wrong")
    if name == "train" and len((folder / "log.jsonl").read_text().splitlines()) != EPOCHS:
        faults.append("lost")
    return _with_output(faults, folder, [ended, again])


def pair(bench: Bench, names: tuple[str, str], random: np.random.Generator, folder: Path) -> tuple[list[str], int]:
    """Run two commands on the same folders at once, and return the faults and the peak memory."""
    first = Program(*bench.command(names[0], folder))
    time.sleep(random.uniform(0.0, 0.5 * bench.seconds[names[0]]))
    second = Program(*bench.command(names[1], folder))
    ended = [first.wait(), second.wait()]
    faults = [fault for run in ended for fault in faults_of(run, [0, 2])]
    refused = [run for run in ended if run.code == 2]
    # The second training may also find the finished model of the first.
    if len(refused) == 2 or not all("at work" in run.err or "already has" in run.err for run in refused):
        faults.append("lost")
    faults += left_behind(folder)
    for name in set(names):
        if results(name, folder) != bench.expected[name]:
            faults.append("wrong")
    if "train" in names and len((folder / "log.jsonl").read_text().splitlines()) != EPOCHS:
        faults.append("wrong")
    return _with_output(faults, folder, ended)


def _with_output(faults: list[str], folder: Path, runs: Sequence[Ended]) -> tuple[list[str], int]:
    """Return faults and peak memory of runs, after keeping what they said beside what they left, if there are any."""
    if faults:
        (folder / "said.txt").write_text("\n---\n".join(f"exit {run.code}\n{run.out}{run.err}" for run in runs))
    return faults, max(run.peak for run in runs)


def _read_and_close(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def has_members(group: int) -> bool:
    """Return whether a process group has members that are not dead."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False
