"""Kill the program, start it twice at once and feed it damaged files, and count what goes wrong.

    PYTHONPATH=tools python benchmarks/campaign.py                                  # 60 kills, 60 pairs, 60 files
    PYTHONPATH=tools python benchmarks/campaign.py --kills 300 --pairs 300 --seed 1 --keep faults

Kills: `extract`, `train` and `ground --clips --out` get a signal at a random moment; the same command again, with
--resume where there is a state, must give what an unbroken run gives, to the last bit. Pairs: two commands on the same
folders at once must both be right, or one of them must say who is at work. Files: videos, features, models, states,
annotations, queries and outputs are damaged at random; the program may refuse them, in one line.

The bar: nothing wrong, lost or left behind, no traceback and no hang.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from make_corpus import make_corpus
from mttsg_core.checkpoints.runs import has_state
from mttsg_core.errors import VideoError
from mttsg_core.video.probe import probe

TIME_LIMIT = 180.0  # seconds that a command may take
END_LIMIT = 15.0  # seconds that a command may take to end after a signal
QUERIES = ("the red circle moves left", "the blue star grows")
EPOCHS = 6
TINY = f"""
fps = 1.0
epochs = {EPOCHS}
batch_videos = 2
[network]
width = 16
region_width = 8
region_heads = 1
local_layers = 1
head_width = 8
proposal_width = 8
max_clips = 32
"""
SIGNALS = ("KILL", "KILL", "TERM", "HUP", "INT", "INT INT")


@dataclass
class Tally:
    """What happened in the trials of one kind."""

    tried: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    peak: int = 0  # kB

    def count(self, fault: str) -> None:
        self.faults[fault] = self.faults.get(fault, 0) + 1


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
        while status is None or _has_members(self._process.pid):
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
        self.random = np.random.default_rng(seed)
        self.data = folder / "data"
        make_corpus(self.data, videos=8, size=64, workers=1)
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
        if name == "extract":
            return ["extract", self.videos, "--out", out, "--encoder", "classic", "--fps", "1", "--workers", "2"]
        if name == "train":
            options: list[str | Path] = [
                "--cache",
                self.cache,
                "--encoder",
                "classic",
                "--text-encoder",
                "hashed",
                "--workers",
                "1",
            ]
            resume = ["--resume"] if has_state(out) else []
            return ["train", self.data, "--out", out, "--config", self.config, *options, *resume]
        files: list[str | Path] = ["--clips", out / "clips", "--out", out / "rows.csv", "--top", "4", "--workers", "2"]
        names = ["--clip-name", "{video}_{rank}_{start}-{end}"]
        return ["ground", self.videos, *QUERIES, "--model", self.model, "--cache", self.cache, *files, *names]

    def damage(self, content: bytes) -> bytes:
        """Cut off, overwrite or change some bytes."""
        position = int(self.random.integers(len(content)))
        kind = self.random.integers(4)
        if kind == 0:
            return content[:position]
        if kind == 1:
            return content[:position] + bytes(len(content) - position)
        noise = self.random.bytes(16 if kind == 2 else 1)
        return content[:position] + noise + content[position + len(noise) :]


COMMANDS = ("extract", "train", "ground")


def results(name: str, folder: Path) -> dict[str, bytes]:
    """Return the content of the files that must be equal however often a command was interrupted."""
    patterns = {"extract": "[0-9]*.safetensors", "train": "model.safetensors", "ground": "*.[cm][sp][v4]"}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(patterns[name]))}


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


def kill(bench: Bench, name: str, folder: Path) -> tuple[list[str], int]:
    """Stop a command with a signal, run it again, and return the faults and the peak memory."""
    names = str(bench.random.choice(SIGNALS))
    number = signal.Signals[f"SIG{names.split()[0]}"]
    program = Program(*bench.command(name, folder))
    time.sleep(bench.random.uniform(0.1, bench.seconds[name]))
    program.send(names)
    ended = program.wait(END_LIMIT)
    # A signal may come before Python runs any of our code, or after the work is done.
    faults = list(faults_of(ended, [-number] if names == "KILL" else [128 + number, -number, 0]))
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
    return faults, max(ended.peak, again.peak)


def pair(bench: Bench, names: tuple[str, str], folder: Path) -> tuple[list[str], int]:
    """Run two commands on the same folders at once, and return the faults and the peak memory."""
    first = Program(*bench.command(names[0], folder))
    time.sleep(bench.random.uniform(0.0, 0.5 * bench.seconds[names[0]]))
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
    return faults, max(run.peak for run in ended)


def damaged(bench: Bench, kind: str, folder: Path) -> tuple[list[str], int]:
    """Damage a file of a kind, run a command that reads it, and return the faults and the peak memory."""
    folder.mkdir()
    victims: dict[str, Callable[[], tuple[Path, list[str | Path]]]] = {
        "video": partial(_video, bench, folder),
        "features": partial(_features, bench, folder),
        "model": partial(_model, bench, folder),
        "state": partial(_state, bench, folder),
        "annotations": partial(_annotations, bench, folder),
        "queries": partial(_queries, bench, folder),
        "outputs": partial(_outputs, bench, folder),
    }
    victim, command = victims[kind]()
    victim.write_bytes(bench.damage(victim.read_bytes()))
    ended = Program(*command).wait()
    faults = list(faults_of(ended, [0, 1, 2]))
    if ended.code == 2 and sum(line.startswith("error: ") for line in ended.err.splitlines()) != 1:
        faults.append("wrong")
    if kind == "outputs" and not all(map(_is_playable, (folder / "clips").glob("*.mp4"))):
        faults.append("wrong")
    return [*faults, *left_behind(folder)], ended.peak


def _pick(bench: Bench, folder: Path, pattern: str) -> Path:
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    return paths[int(bench.random.integers(len(paths)))]


def _video(bench: Bench, folder: Path) -> tuple[Path, list[str | Path]]:
    victim = Path(shutil.copy(_pick(bench, bench.videos, "*.mp4"), folder))
    return victim, ["ground", victim, QUERIES[0], "--model", bench.model, "--cache", folder / "cache"]


def _features(bench: Bench, folder: Path) -> tuple[Path, list[str | Path]]:
    shutil.copytree(bench.folder / "extract", folder / "features")
    for path in bench.data.glob("*.jsonl"):
        shutil.copy(path, folder)
    return _pick(bench, folder, "*.safetensors"), ["train", folder, "--out", folder / "m", "--config", bench.config]


def _model(bench: Bench, folder: Path) -> tuple[Path, list[str | Path]]:
    shutil.copytree(bench.model, folder / "m")
    video = _pick(bench, bench.videos, "*.mp4")
    command: list[str | Path] = ["ground", video, QUERIES[0], "--model", folder / "m", "--cache", bench.cache]
    return _pick(bench, folder, str(bench.random.choice(["config.json", "model.safetensors"]))), command


def _state(bench: Bench, folder: Path) -> tuple[Path, list[str | Path]]:
    shutil.copytree(bench.model, folder / "m")
    return folder / "m" / "state" / "training.safetensors", bench.command("train", folder / "m")


def _annotations(bench: Bench, folder: Path) -> tuple[Path, list[str | Path]]:
    victim = Path(shutil.copy(_pick(bench, bench.data, "train.jsonl"), folder))
    return victim, ["check", folder]


def _queries(bench: Bench, folder: Path) -> tuple[Path, list[str | Path]]:
    (folder / "q.jsonl").write_text("".join(json.dumps({"query": query}) + "\n" for query in QUERIES * 5))
    video = _pick(bench, bench.videos, "*.mp4")
    file = folder / "q.jsonl"
    return file, ["ground", video, "--queries", file, "--model", bench.model, "--cache", bench.cache]


def _outputs(bench: Bench, folder: Path) -> tuple[Path, list[str | Path]]:
    shutil.copytree(bench.folder / "ground" / "clips", folder / "clips")
    return _pick(bench, folder, "*.mp4"), bench.command("ground", folder)


def _is_playable(path: Path) -> bool:
    try:
        return probe(path).duration > 0
    except VideoError:
        return False


def _read_and_close(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def _has_members(group: int) -> bool:
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


PAIRS = (
    ("extract", "extract"),
    ("ground", "ground"),
    ("train", "train"),
    ("train", "extract"),
    ("ground", "extract"),
    ("train", "ground"),
)
FILES = ("video", "features", "model", "state", "annotations", "queries", "outputs")
COLUMNS = ("wrong", "lost", "left behind", "traceback", "hang")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("kills", "pairs", "files"):
        parser.add_argument(f"--{name}", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for what trials with a fault leave")
    options = parser.parse_args()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), options.seed)
        trials: list[tuple[str, Callable[[Path], tuple[list[str], int]]]] = []
        for number in range(options.kills):
            command = COMMANDS[number % len(COMMANDS)]
            trials.append((f"kill: {command}", partial(kill, bench, command)))
        for number in range(options.pairs):
            names = PAIRS[number % len(PAIRS)]
            trials.append((f"pair: {' + '.join(names)}", partial(pair, bench, names)))
        for number in range(options.files):
            kind = FILES[number % len(FILES)]
            trials.append((f"file: {kind}", partial(damaged, bench, kind)))
        for number, (title, trial) in enumerate(trials):
            folder = Path(name) / f"trial{number}"
            faults, peak = trial(folder)
            tally = tallies.setdefault(title, Tally())
            tally.tried += 1
            tally.peak = max(tally.peak, peak)
            for fault in set(faults):
                tally.count(fault)
            if faults:
                print(f"{number} {title}: {', '.join(sorted(set(faults)))}", file=sys.stderr, flush=True)
                if options.keep is not None:
                    shutil.copytree(folder, options.keep / f"{number}", symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
    print("| what | tried | " + " | ".join(COLUMNS) + " | peak memory |")
    print("| --- |" + " --- |" * (len(COLUMNS) + 2))
    for title, tally in tallies.items():
        counts = " | ".join(str(tally.faults.get(column, 0)) for column in COLUMNS)
        print(f"| {title} | {tally.tried} | {counts} | {tally.peak / 1000:.0f} MB |")
    sys.exit(any(tally.faults for tally in tallies.values()))


if __name__ == "__main__":
    main()
