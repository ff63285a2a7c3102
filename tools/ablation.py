"""What each part of the method brings: train with parts switched off, over several seeds, and write a table.

    python tools/ablation.py data/ --split val --seeds 3 --out ablation
    python tools/ablation.py data/ --split rest --share 0.25 --jobs 4 --out few
    python tools/ablation.py data/ --split left --folds 4 --jobs 4 --out folds

Writes OUT/table.md and OUT/table.csv: for each variant the mean and the standard deviation over seeds (of one run the
mean alone), in percent. Finished runs in OUT are kept, so an interrupted ablation goes on where it stopped. With
`--share` only some of the training videos are trained on; the others are the split `rest`. With `--folds` the videos of
train and val are divided anew for every run: one fold is the split `left`, which the run never sees, the next is val,
the others are train. The noise of a small validation set then decides nothing. Options after `--` go to `mttsg train`,
for example `-- --text-encoder glove:vectors.txt --epochs 20`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mttsg_core.config import NetworkConfig, refuse_unknown
from mttsg_core.errors import ConfigError

FIGURES = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")
WHOLE, PLAIN = "whole method", "plain network"


def main() -> int:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder")
    parser.add_argument("--split", action="append", help="split to evaluate on, repeatable (default: val)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--out", type=Path, default=Path("ablation"), help="folder of the runs and the table")
    few = parser.add_mutually_exclusive_group()
    few.add_argument("--share", type=float, default=1.0, help="of the training videos that are trained on")
    few.add_argument("--folds", type=int, default=0, help="cross-validate over so many, each with its own seed")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, with one thread each if several")
    parser.add_argument("--variant", action="append", help="only these variants, repeatable")
    words = sys.argv[1:]
    mark = words.index("--") if "--" in words else len(words)
    arguments, training = parser.parse_args(words[:mark]), words[mark + 1 :]
    splits = arguments.split or ["val"]
    if arguments.folds in (1, 2):
        parser.error("--folds: at least 3, one to test, one to validate and one to train on")
    try:
        refuse_unknown(arguments.variant or [], variants(), "variant")
        settle(arguments.out, [str(arguments.data), str(arguments.share), str(arguments.folds), *training])
    except ConfigError as error:
        parser.error(str(error))
    chosen = {name: off for name, off in variants().items() if not arguments.variant or name in arguments.variant}
    seeds = range(arguments.folds or arguments.seeds)
    data = dict.fromkeys(seeds, arguments.data)
    if arguments.folds:
        data = {fold: folded(arguments.data, arguments.out / f"data-{fold}", fold, len(seeds)) for fold in seeds}
    elif arguments.share < 1:
        data = dict.fromkeys(seeds, fewer(arguments.data, arguments.out / "data", arguments.share))
    runs = {
        (name, seed): [*without(off), "--seed", str(seed), *training] for seed in seeds for name, off in chosen.items()
    }

    def report(key: tuple[str, int]) -> dict[str, dict[str, float]]:
        folder = arguments.out / key[0].replace(" ", "-") / str(key[1])
        return run(data[key[1]], folder, splits, runs[key], threads=None if arguments.jobs == 1 else 1)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        reports = dict(zip(runs, pool.map(report, runs), strict=True))
    rows = [
        {"variant": name, "split": split, **figures([reports[name, seed][split] for seed in seeds])}
        for name in chosen
        for split in splits
    ]
    write_tables(arguments.out, rows)
    print((arguments.out / "table.md").read_text(encoding="utf-8"))
    return 0


def settle(folder: Path, settings: Sequence[str]) -> None:
    """Keep what the runs in a folder are made with, so that none is taken for one of other settings.

    Raises:
        ConfigError: if the folder holds runs of others.
    """
    kept = folder / "settings.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    elif (before := json.loads(kept.read_text(encoding="utf-8"))) != list(settings):
        raise ConfigError(f"{folder} holds runs with other settings ({' '.join(before)}): choose another --out")


def variants() -> dict[str, tuple[str, ...]]:
    """Name and parts switched off: the whole method, each part missing, and none of the paper's modules."""
    modules = tuple(name for name in NetworkConfig.SWITCHES if name != "offsets")
    return {WHOLE: (), **{f"without {name}": (name,) for name in NetworkConfig.SWITCHES}, PLAIN: modules}


def without(names: Sequence[str]) -> list[str]:
    """The options of `mttsg train` that switch parts off."""
    return [word for name in names for word in ("--without", name)]


def fewer(data: Path, folder: Path, share: float) -> Path:
    """A data folder with that share of the training videos, the others as a split `rest`, and all else as it is."""
    videos = shuffled_videos(data, ["train"])
    kept = round(share * len(videos))
    return divided(data, folder, ["train"], {"train": videos[:kept], "rest": videos[kept:]})


def folded(data: Path, folder: Path, fold: int, folds: int) -> Path:
    """A data folder whose training and validation videos are divided anew; see the top of this file."""
    parts = [shuffled_videos(data, ["train", "val"])[first::folds] for first in range(folds)]
    parts = parts[fold:] + parts[:fold]
    splits = {"left": parts[0], "val": parts[1], "train": [video for part in parts[2:] for video in part]}
    return divided(data, folder, ["train", "val"], splits)


def shuffled_videos(data: Path, splits: Sequence[str]) -> list[str]:
    """The videos of these splits, in an order that is always the same."""
    videos = sorted({row["video"] for row in rows_of(data, splits)})
    random.Random(0).shuffle(videos)
    return videos


def rows_of(data: Path, splits: Sequence[str]) -> list[dict[str, Any]]:
    """All rows of these splits."""
    lines = (line for name in splits for line in (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return [json.loads(line) for line in lines if line.strip()]


def divided(data: Path, folder: Path, old: Sequence[str], new: dict[str, list[str]]) -> Path:
    """A data folder in which the rows of the `old` splits stand in `new` ones, by their video; the rest is linked."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{name}.jsonl" for name in (*old, *new)}
    for entry in data.iterdir():
        link = folder / entry.name
        if entry.name not in files and not link.exists():
            link.symlink_to(entry.resolve())
    rows = rows_of(data, old)
    for name, videos in new.items():
        kept = set(videos)
        lines = [json.dumps(row) + "\n" for row in rows if row["video"] in kept]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def run(
    data: Path, folder: Path, splits: Sequence[str], options: Sequence[str], *, threads: int | None
) -> dict[str, dict[str, float]]:
    """Train and evaluate one variant with one seed, unless that is done; returns the report of each split."""
    if not (folder / "report.json").exists():
        mttsg("train", str(data), "--out", str(folder), "--overwrite", "--quiet", *options, threads=threads)
    reports = {}
    for split in splits:
        kept = folder / f"evaluation-{split}.json"
        if not kept.exists():
            words = ("evaluate", str(data), "--model", str(folder), "--split", split, "--json", "--quiet")
            said = mttsg(*words, *shared(options), threads=threads)
            kept.write_text(said, encoding="utf-8")
        reports[split] = json.loads(kept.read_text(encoding="utf-8"))
    return reports


def shared(options: Sequence[str]) -> list[str]:
    """Those of the options of `mttsg train` that `mttsg evaluate` needs too."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--features", "--cache", "--device", "--workers"):
        parser.add_argument(name)
    parser.add_argument("--offline", action="store_true")
    known, _ = parser.parse_known_args(list(options))
    given = {f"--{name}": value for name, value in vars(known).items() if value}
    return [word for name, value in given.items() for word in ((name,) if value is True else (name, value))]


def mttsg(*words: str, threads: int | None) -> str:
    """Run a command of mttsg, and return its standard output."""
    print("mttsg", *words, file=sys.stderr)
    environment = os.environ if threads is None else {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "mttsg_cli", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


def figures(reports: Sequence[dict[str, float]]) -> dict[str, str]:
    """Mean and standard deviation over seeds, as text."""
    found = {}
    for name in FIGURES:
        values = [report[name] for report in reports]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        found[name] = f"{statistics.mean(values):.1f}{spread}"
    return found


def write_tables(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    """The same table as csv and as markdown."""
    names = list(rows[0])
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(cells) + " |" for cells in (names, ["---"] * len(names), *(r.values() for r in rows))]
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
