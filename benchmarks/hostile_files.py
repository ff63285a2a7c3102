"""Hostile files: feature files, models, encoders and queries of strangers cost one line each, and no memory.

    python benchmarks/hostile_files.py                      # 2,000 files
    python benchmarks/hostile_files.py --count 200 --seed 1 --keep faults

Each file is made by a seeded generator (`hostile_generators`) and used through the public API, in a process of its own
with a limit of memory and of time. A tenth of the files are good. The bars: good files give the answer of the
undamaged ones; a file that must be refused is refused, any other is refused or answered with valid moments; a refusal
is one short line; no traceback, crash or hang; nothing that a file contains is ever run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from hostile_cases import ANSWERED, QUERIES, REFUSED, Case, make_base, make_good  # noqa: E402
from hostile_generators import GENERATORS  # noqa: E402

from mttsg_core import Grounder  # noqa: E402
from mttsg_core.data.queries import parse_queries  # noqa: E402
from mttsg_core.encoders.hf_files import find_files  # noqa: E402
from mttsg_core.errors import MttsgError  # noqa: E402
from mttsg_core.features.store import VideoFeatures, read_features  # noqa: E402

MEMORY, CPU_SECONDS, SECONDS = 1 << 30, 20, 120.0  # that a file may take
LONGEST_LINE = 1000


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `refused`, `answered` or a kind of fault; a message; and bytes of memory."""

    kind: str
    message: str
    memory: int = 0


def main() -> int:
    """Make and use the files of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="files, of all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for copies of the files with faults")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder).resolve(), arguments.count, arguments.seed, arguments.keep)


def run(folder: Path, count: int, seed: int, keep: Path | None) -> int:
    """Make and use the files; print every fault and a table. Returns the exit code."""
    keep = None if keep is None else keep.resolve()
    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    base = make_base(folder / "base")
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    faults: list[str] = []
    answers = {kind: use_in_process(USES[kind], make_good(base, kind), base) for kind in GENERATORS}
    for number in range(count):
        kind = list(GENERATORS)[number % len(GENERATORS)]
        random = np.random.default_rng([seed, number])
        place = folder / "case"
        place.mkdir()
        case = GENERATORS[kind](random, base, place) if random.random() > 0.1 else make_good(base, kind)
        outcome = judge(case, use_in_process(USES[kind], case, base), answers[kind])
        if (folder / "PWNED").exists():
            outcome = Outcome("code ran", outcome.message)
            (folder / "PWNED").unlink()
        outcomes[kind].append(outcome)
        if outcome.kind not in (REFUSED, ANSWERED):
            faults.append(f"{number} {kind}: {case.what}: {outcome.kind}: {outcome.message}")
            print(faults[-1], file=sys.stderr, flush=True)
            if keep is not None and (case.path.is_dir() or case.path.is_file()):
                keep.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if case.path.is_dir() else shutil.copy
                copy(case.path, keep / f"{number}-{case.path.name}")
        shutil.rmtree(place)
    report(outcomes)
    return 1 if faults else 0


def report(outcomes: dict[str, list[Outcome]]) -> None:
    """Print the table of a run."""
    names = [REFUSED, ANSWERED, "wrong", "traceback", "hang", "crash", "code ran"]
    print("| files | number | " + " | ".join(names) + " | largest memory |")
    print("|---|" + "---:|" * (len(names) + 2))
    for kind, made in outcomes.items():
        counts = Counter(outcome.kind for outcome in made)
        memory = max(outcome.memory for outcome in made) / 2**20
        cells = [f"{len(made):,}", *(f"{counts[name]:,}" for name in names), f"{memory:.0f} MiB"]
        print(f"| {kind} | " + " | ".join(cells) + " |")


def judge(case: Case, outcome: Outcome, good: Outcome) -> Outcome:
    """Turn an outcome that the case must not have into the fault `wrong`."""
    if outcome.kind == REFUSED and ("\n" in outcome.message or len(outcome.message) > LONGEST_LINE):
        return Outcome("wrong", f"the message has {len(outcome.message)} characters: {outcome.message[:200]!r}")
    is_same = outcome.kind == good.kind and outcome.message == good.message
    if (case.expected == REFUSED and outcome.kind == ANSWERED) or (case.expected == ANSWERED and not is_same):
        return Outcome("wrong", f"{outcome.kind}: {outcome.message[:200]}", outcome.memory)
    return outcome


def use_in_process(use: Callable[[Path, Path], str], case: Case, base: Path) -> Outcome:
    """Use a file in a process with limits of memory and time."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            _use(use, case.path, base, writer)
        finally:
            os._exit(0)
    os.close(writer)
    content = b""
    end = time.monotonic() + SECONDS
    while (rest := end - time.monotonic()) > 0 and select.select([reader], [], [], rest)[0]:
        block = os.read(reader, 1 << 16)
        if not block:
            break
        content += block
    os.close(reader)
    if rest <= 0:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if rest <= 0 or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return Outcome("hang", f"not done after {CPU_SECONDS} s of the processor, or {SECONDS:.0f} s")
    return Outcome(**json.loads(content)) if content else Outcome("crash", f"status {status}")


def _use(use: Callable[[Path, Path], str], path: Path, base: Path, writer: int) -> None:
    """Use a file in this process, and write what became of it."""
    memory = memory_in("VmRSS")
    limit = memory_in("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    try:
        kind, message = ANSWERED, use(path, base)
    except MttsgError as error:
        kind, message = REFUSED, str(error)
    except BaseException as error:  # noqa: BLE001 -- whatever it is, it is reported
        kind, message = "traceback", f"{type(error).__name__}: {error}"[:500]
    result = {"kind": kind, "message": message, "memory": memory_in("VmHWM") - memory}
    os.write(writer, json.dumps(result).encode())


def memory_in(name: str) -> int:
    """Return bytes of memory of this process, by their name in /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def use_features(path: Path, base: Path) -> str:
    """Ground sentences in a feature file."""
    return _ground(base / "model", read_features(path, "video"), QUERIES)


def use_model(path: Path, base: Path) -> str:
    """Ground sentences with a model."""
    return _ground(path, read_features(base / "good.safetensors"), QUERIES)


def use_encoder(path: Path, base: Path) -> str:
    """Find the files of an encoder."""
    return find_files(str(path), offline=True).id


def use_queries(path: Path, base: Path) -> str:
    """Ground the sentences of a file."""
    queries, _ = parse_queries(path, path.read_bytes())
    return _ground(base / "model", read_features(base / "good.safetensors"), [query.text for query in queries])


def _ground(model: Path, features: VideoFeatures, queries: list[str]) -> str:
    """Ground sentences, and return the moments as text. Raises AssertionError if they are not valid."""
    duration = features.timeline.duration
    answers = Grounder.load(model, device="cpu", offline=True).ground_features(features, queries, top=3)
    for moments in answers:
        valid = [features.start <= m.start < m.end <= features.start + duration + 1e-6 for m in moments]
        if not valid or not all(valid) or not all(0 < m.score <= 1 for m in moments):
            raise AssertionError(f"moments {moments} of a video of {duration} s")
    return json.dumps(answers[:20])


USES: dict[str, Callable[[Path, Path], str]] = {
    "features": use_features,
    "models": use_model,
    "encoders": use_encoder,
    "queries": use_queries,
}

if __name__ == "__main__":
    sys.exit(main())
