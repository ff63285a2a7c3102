"""Kill the program, start it twice at once and feed it damaged files, and count what goes wrong.

    export PYTHONPATH=tools
    python benchmarks/campaign.py                                                    # 60 kills, 60 pairs, 600 files
    python benchmarks/campaign.py --full --journal campaign.jsonl --minutes 30       # again and again until it is done

Kills: `extract`, `train`, `evaluate --out --html` and `ground --clips --out --html` get a signal at a random moment;
the same command again, with --resume where there is a state, must give what an unbroken run gives, to the last bit.
Pairs: two commands on the same folders at once must both be right, or one of them must say who is at work. Files:
videos, features, models, states, annotations, predictions, queries, settings and outputs are damaged at random; the
program may refuse them, in one line.

The bar: nothing wrong, lost or left behind, no traceback and no hang, less than 2 GB of memory.

A trial depends on the seed and its number alone. With `--journal` those that are finished are not run again, so that a
campaign can be done in parts; `--minutes` ends a part.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from campaign_files import file_faults, kind_of, prepare, run_in_fork
from campaign_runs import COMMANDS, END_LIMIT, PAIRS, TIME_LIMIT, Bench, Ended, has_members, kill, pair

FULL = {"kills": 120, "pairs": 200, "files": 20_000}
COLUMNS = ("wrong", "lost", "left behind", "traceback", "hang")
_SECONDS_PER_RUN = 4 * TIME_LIMIT  # that a kill or a pair may take; its commands have limits of their own

Random = np.random.Generator


@dataclass
class Tally:
    """What happened in the trials of one kind. `peak` is in kB."""

    tried: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    peak: int = 0

    def add(self, faults: set[str], peak: int) -> None:
        """Count a trial."""
        self.tried += 1
        self.peak = max(self.peak, peak)
        for fault in faults:
            self.faults[fault] = self.faults.get(fault, 0) + 1


@dataclass
class Trial:
    """One trial.

    Attributes:
        name: of kind and number, the same in every campaign.
        title: the row of the table that it counts for.
        work: what a forked process does in a folder.
        judge: what it did, by the way in which it ended: faults, and kB of memory.
        limit: seconds that the process may take.
    """

    name: str
    title: str
    work: Callable[[Random, Path], None]
    judge: Callable[[Ended, Path], tuple[set[str], int]]
    limit: float


@dataclass
class Running:
    """A trial in a process of its own."""

    trial: Trial
    folder: Path
    process: int
    until: float
    hung: bool = False


def trials_of(bench: Bench, kills: int, pairs: int, files: int) -> Iterator[Trial]:
    """Yield the trials of a campaign, the slow ones first."""
    for number in range(kills):
        command = COMMANDS[number % len(COMMANDS)]
        yield _run_trial(f"kill {number}", f"kill: {command}", partial(kill, bench, command))
    for number in range(pairs):
        names = PAIRS[number % len(PAIRS)]
        yield _run_trial(f"pair {number}", f"pair: {' + '.join(names)}", partial(pair, bench, names))
    for number in range(files):
        kind = kind_of(number)

        def judge(ended: Ended, folder: Path, kind: str = kind) -> tuple[set[str], int]:
            return set(file_faults(kind, ended, folder)), ended.peak

        yield Trial(f"file {number}", f"file: {kind}", partial(run_in_fork, bench, kind), judge, TIME_LIMIT)


def _run_trial(name: str, title: str, run: Callable[[Random, Path], tuple[list[str], int]]) -> Trial:
    """Return a trial whose process runs the program, and leaves its verdict in a file."""

    def work(random: Random, folder: Path) -> None:
        faults, peak = run(random, folder)
        folder.with_suffix(".json").write_text(json.dumps([faults, peak]))

    def judge(ended: Ended, folder: Path) -> tuple[set[str], int]:
        verdict = folder.with_suffix(".json")
        if ended.hung or not verdict.is_file():
            return {"hang" if ended.hung else "wrong"}, 0
        faults, peak = json.loads(verdict.read_text())
        verdict.unlink()
        return set(faults), peak

    return Trial(name, title, work, judge, _SECONDS_PER_RUN)


def start(trial: Trial, seed: int, folder: Path) -> Running:
    """Fork a process that does the work of a trial."""
    process = os.fork()
    if not process:
        try:
            numbers = [seed, *trial.name.encode()]
            trial.work(np.random.default_rng(numbers), folder)
        except BaseException:  # noqa: BLE001 -- an error of the campaign itself
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return Running(trial, folder, process, time.monotonic() + trial.limit)


def end(running: Running) -> Ended | None:
    """Return how the process of a trial ended, or None while it runs. One that takes too long is killed."""
    process, status, usage = os.wait4(running.process, os.WNOHANG)
    if not process:
        if time.monotonic() > running.until:
            running.hung, running.until = True, time.monotonic() + END_LIMIT
            _kill(running.process)
        return None
    out, err = (_text_of(running.folder / name) for name in ("out", "err"))
    hung = running.hung or not _all_gone(running.process)
    return Ended(os.waitstatus_to_exitcode(status), out, err, usage.ru_maxrss, hung)


def _text_of(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _all_gone(group: int) -> bool:
    """Return whether the worker processes of an ended process are gone within seconds; kill them otherwise."""
    until = time.monotonic() + END_LIMIT
    while has_members(group):
        if time.monotonic() > until:
            os.killpg(group, signal.SIGKILL)
            return False
        time.sleep(0.01)
    return True


def _kill(process: int) -> None:
    """Kill a process, with its group if it has one of its own."""
    with suppress(ProcessLookupError):
        if os.getpgid(process) == process:
            os.killpg(process, signal.SIGKILL)
        else:
            os.kill(process, signal.SIGKILL)


class Campaign:
    """Runs trials, some at a time, and counts what goes wrong.

    Args:
        options: of the command line.
        folder: of the bench, because pages name videos relative to their own place; no trial leaves anything in it.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self.tallies: dict[str, Tally] = {}
        self._done: set[str] = set()
        if options.journal is not None and options.journal.is_file():
            for line in options.journal.read_text().splitlines():
                entry = json.loads(line)
                if entry["seed"] == options.seed:
                    self._done.add(entry["trial"])
                    self._count(entry["title"], set(entry["faults"]), entry["peak"])

    def run(self, trials: Iterator[Trial]) -> bool:
        """Run the trials that are not done yet, and return whether all are done in time."""
        options, running, until = self._options, list[Running](), time.monotonic() + 60 * self._options.minutes
        waiting = (trial for trial in trials if trial.name not in self._done)
        following = next(waiting, None)
        while running or following is not None:
            in_time = time.monotonic() < until
            if not (running or in_time):
                return False
            if following is not None and in_time and len(running) < options.jobs:
                place = self._folder / following.name.replace(" ", "-")
                running.append(start(following, options.seed, place))
                following = next(waiting, None)
                continue
            for one in list(running):
                ended = end(one)
                if ended is not None:
                    running.remove(one)
                    self._finish(one, ended)
            time.sleep(0.005)
        return True

    def _finish(self, running: Running, ended: Ended) -> None:
        trial, folder = running.trial, running.folder
        faults, peak = trial.judge(ended, folder)
        self._count(trial.title, faults, peak)
        if self._options.journal is not None:
            entry = {"seed": self._options.seed, "trial": trial.name, "title": trial.title}
            with self._options.journal.open("a") as file:
                file.write(json.dumps({**entry, "faults": sorted(faults), "peak": peak}) + "\n")
        if faults:
            print(f"{trial.name}, {trial.title}: {', '.join(sorted(faults))}", file=sys.stderr, flush=True)
            if self._options.keep is not None and folder.is_dir():
                shutil.copytree(folder, self._options.keep / folder.name, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def _count(self, title: str, faults: set[str], peak: int) -> None:
        self.tallies.setdefault(title, Tally()).add(faults, peak)

    def print_table(self) -> None:
        """Print what happened in all trials so far."""
        print("| what | tried | " + " | ".join(COLUMNS) + " | peak memory |")
        print("| --- |" + " --- |" * (len(COLUMNS) + 2))
        for title, tally in self.tallies.items():
            counts = " | ".join(str(tally.faults.get(column, 0)) for column in COLUMNS)
            print(f"| {title} | {tally.tried:,} | {counts} | {tally.peak / 1000:.0f} MB |")


def main() -> None:
    """Run a campaign, or a part of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("kills", 60), ("pairs", 60), ("files", 600)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--full", action="store_true", help=", ".join(f"{n:,} {name}" for name, n in FULL.items()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time")
    parser.add_argument("--journal", type=Path, help="file of finished trials, which are not run again")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no trial is started")
    parser.add_argument("--keep", type=Path, help="folder for what trials with a fault leave")
    options = parser.parse_args()
    numbers = FULL if options.full else {name: getattr(options, name) for name in FULL}
    with tempfile.TemporaryDirectory() as name:
        campaign = Campaign(options, Path(name))
        bench = Bench(Path(name), options.seed)
        if numbers["files"]:
            prepare(bench, Path(name) / "prepared")
        complete = campaign.run(trials_of(bench, **numbers))
    campaign.print_table()
    if not complete:
        print("not all trials are done; the same command goes on with the journal", file=sys.stderr)
    sys.exit(any(tally.faults for tally in campaign.tallies.values()) or 3 * (not complete))


if __name__ == "__main__":
    main()
