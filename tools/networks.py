"""Measure what the co-training brings to each network: train every one plain and co-trained, and write a table.

    python tools/networks.py charades/ --share 0.25 --seeds 3 --out networks/charades
    python tools/networks.py qvh/ --share 0.25 --networks span --out networks/qvh -- --text-encoder all-MiniLM-L6-v2

Plain is `mttsg train --network NAME` without all parts of the co-training: the encoders, and the network over them.
Options after `--` are passed to `mttsg train`. With `--share` only some of the training videos are used for training;
the others become the split `rest`, on which both are tested.

Every run is kept in OUT: a stopped one is resumed, and the same command does what is left. `--table` only writes the
table of the seeds that are done for both. OUT/table.md has mean and standard deviation over seeds in percent, and the
difference, co-trained less plain: values of a sentence are averaged over seeds, and the interval is a paired bootstrap
over videos.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import ablation

from mttsg_core.checkpoints.runs import has_state
from mttsg_core.config import NETWORKS, NetworkConfig, refuse_unknown
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.predictions import read_predictions
from mttsg_core.errors import ConfigError, MttsgError
from mttsg_core.evaluation.comparison import System
from mttsg_core.evaluation.evaluator import Evaluation, score

PLAIN, CO_TRAINED = "plain", "co-trained"


class Run(NamedTuple):
    """A training: of a network, plain or co-trained, with a seed."""

    network: str
    kind: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Return the folder of its model."""
        return out / self.network / self.kind / str(self.seed)


def main() -> int:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder")
    others = [name for name in NETWORKS if name != NetworkConfig.network]
    parser.add_argument("--networks", nargs="+", default=others, metavar="NAME", help=f"default: {' '.join(others)}")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, with the seeds 0, 1, ...")
    parser.add_argument("--share", type=float, default=1.0, help="share of the training videos to train on")
    parser.add_argument("--split", help="split to test on (default: rest with a --share, else val)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, with one thread each")
    parser.add_argument("--out", type=Path, default=Path("networks"), help="folder of the runs and the table")
    parser.add_argument("--table", action="store_true", help="write the table of what is done, and train nothing")
    words = sys.argv[1:]
    separator = words.index("--") if "--" in words else len(words)
    arguments, options = parser.parse_args(words[:separator]), words[separator + 1 :]
    split = arguments.split or ("rest" if arguments.share < 1 else "val")
    runs = [
        Run(network, kind, seed)  # seed by seed, so that a stopped series has a whole table of fewer seeds
        for seed in range(arguments.seeds)
        for network in arguments.networks
        for kind in (PLAIN, CO_TRAINED)
    ]
    try:
        refuse_unknown(arguments.networks, NETWORKS, "network")
        ablation.require_same_settings(arguments.out, [str(arguments.data), str(arguments.share), *options])
        data = arguments.data
        if arguments.share < 1:
            data = ablation.with_share(arguments.data, arguments.out / "data", arguments.share)
        if not arguments.table:
            with ThreadPoolExecutor(arguments.jobs) as pool:
                list(pool.map(lambda run: train_and_answer(run, data, split, arguments.out, options), runs))
        table = write_table(arguments.out, data, split, runs)
    except ConfigError as error:
        parser.error(str(error))
    except MttsgError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table)
    return 0


def train_and_answer(run: Run, data: Path, split: str, out: Path, options: Sequence[str]) -> None:
    """Train a run and answer the sentences of the split, as far as that is not done."""
    folder, answers = run.folder(out), answers_of(run, out, split)
    if answers.exists():
        return
    if not (folder / "report.json").exists():
        parts = ablation.without(ablation.variants()[ablation.PLAIN]) if run.kind == PLAIN else []
        start = ["--resume"] if has_state(folder) else ["--overwrite"]
        ablation.mttsg(
            *("train", str(data), "--out", str(folder), "--quiet", "--network", run.network, *parts),
            *("--seed", str(run.seed), *start, *options),
            threads=1,
        )
    ablation.mttsg(
        *("evaluate", str(data), "--model", str(folder), "--split", split, "--out", str(answers), "--quiet"),
        *ablation.evaluate_options(options),
        threads=1,
    )


def answers_of(run: Run, out: Path, split: str) -> Path:
    """Return the file of a run's answers."""
    return run.folder(out) / f"{split}.jsonl"


def write_table(out: Path, data: Path, split: str, runs: Sequence[Run]) -> str:
    """Write and return the table of the seeds that are done both plain and co-trained.

    Raises:
        ConfigError: if there are none.
    """
    lines = [
        f"| network ({split}) | seeds | " + " | ".join(ablation.FIGURES) + " |",
        "| --- | --- |" + " --- |" * len(ablation.FIGURES),
    ]
    for network in dict.fromkeys(run.network for run in runs):
        seeds = [
            seed
            for seed in dict.fromkeys(run.seed for run in runs)
            if all(answers_of(Run(network, kind, seed), out, split).exists() for kind in (PLAIN, CO_TRAINED))
        ]
        if not seeds:
            continue
        plain, trained = (
            System(
                kind, [evaluate_file(answers_of(Run(network, kind, seed), out, split), data, split) for seed in seeds]
            )
            for kind in (PLAIN, CO_TRAINED)
        )
        rows = {f"{network}, {system.name}": figures(system) for system in (plain, trained)}
        rows["difference"] = differences(plain, trained)
        lines += [f"| {name} | {len(seeds)} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    if len(lines) == 2:
        raise ConfigError(f"{out}: no seed is done both {PLAIN} and {CO_TRAINED} yet")
    table = "\n".join(lines) + "\n"
    (out / "table.md").write_text(table, encoding="utf-8")
    return table


def evaluate_file(path: Path, data: Path, split: str) -> Evaluation:
    """Score a file of answers."""
    pairs = DataFolder.open(data).split(split, require_moment=True, check_videos=False).pairs
    matched = read_predictions(path).match(pairs)
    return score(split, pairs, matched.moments, "predictions")


def figures(system: System) -> list[str]:
    """Return mean and standard deviation over seeds of each figure."""
    values = [system.metrics[name] for name in ablation.FIGURES]
    return [f"{mean:.1f}" + ("" if spread is None else f" ± {spread:.1f}") for mean, spread in values]


def differences(plain: System, trained: System) -> list[str]:
    """Return by how much the second is ahead in each figure, with its interval."""
    found = trained.against(plain)
    return [f"{found[name].value:+.1f} [{found[name].low:+.1f}, {found[name].high:+.1f}]" for name in ablation.FIGURES]


if __name__ == "__main__":
    sys.exit(main())
