"""Measure what each part of the method brings: train without it, over several seeds, and write a table.

    python tools/ablation.py data/ --split val --seeds 3 --out ablation
    python tools/ablation.py data/ --split rest --share 0.25 --jobs 4 --out few
    python tools/ablation.py data/ --split left --folds 4 --jobs 4 --out folds

Writes OUT/table.md and OUT/table.csv: for each variant the mean over seeds and, of several runs, the standard
deviation, in percent. Finished runs in OUT are kept, so an interrupted ablation continues where it stopped.

With `--share` only some of the training videos are used for training; the others become the split `rest`. With
`--folds` the videos of train and val are divided differently for each run: one fold is the split `left`, which the run
never sees, the next one is val, the others are train, so that no result depends on a single small validation set.
With `--set loss.contrast=0.1,0.6` there is a variant for each of these values too; every setting of the network, the
losses and the training can be varied (see docs/reference.md).
Options after `--` are passed to `mttsg train`, for example `-- --text-encoder glove:vectors.txt --epochs 20`.
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

from mttsg_core.config import LossConfig, NetworkConfig, TrainingConfig, from_mapping, refuse_unknown
from mttsg_core.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIGS: dict[str, type] = {"network": NetworkConfig, "loss": LossConfig, "training": TrainingConfig}
REQUIRED: dict[str, dict[str, int]] = {"network": {"clip_dim": 1, "word_dim": 1}, "loss": {}, "training": {}}
FIGURES = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")
WHOLE, PLAIN = "whole method", "plain network"


def main() -> int:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data folder")
    parser.add_argument("--split", action="append", help="split to evaluate on, repeatable (default: val)")
    parser.add_argument("--seeds", type=int, default=3, help="number of runs of each variant")
    parser.add_argument("--out", type=Path, default=Path("ablation"), help="folder of the runs and the tables")
    few = parser.add_mutually_exclusive_group()
    few.add_argument("--share", type=float, default=1.0, help="share of the training videos to train on")
    few.add_argument(
        "--folds", type=int, default=0, help="number of folds to cross-validate over, each with its own seed"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of runs at a time, with one thread each if several")
    parser.add_argument("--variant", action="append", help="run this variant only, repeatable")
    parser.add_argument(
        "--set", action="append", metavar="TABLE.NAME=VALUE,...", help="add a variant for each value, repeatable"
    )
    words = sys.argv[1:]
    separator = words.index("--") if "--" in words else len(words)
    arguments, train_options = parser.parse_args(words[:separator]), words[separator + 1 :]
    splits = arguments.split or ["val"]
    if arguments.folds in (1, 2):
        parser.error("--folds: at least 3, one to test, one to validate and one to train on")
    try:
        every = {name: without(parts) for name, parts in variants().items()}
        every |= {name: config_options(arguments.out, *value) for name, value in settings(arguments.set or []).items()}
        refuse_unknown(arguments.variant or [], every, "variant")
        require_same_settings(
            arguments.out, [str(arguments.data), str(arguments.share), str(arguments.folds), *train_options]
        )
    except ConfigError as error:
        parser.error(str(error))
    chosen = {name: options for name, options in every.items() if not arguments.variant or name in arguments.variant}
    seeds = range(arguments.folds or arguments.seeds)
    data = dict.fromkeys(seeds, arguments.data)
    if arguments.folds:
        data = {fold: with_fold(arguments.data, arguments.out / f"data-{fold}", fold, len(seeds)) for fold in seeds}
    elif arguments.share < 1:
        data = dict.fromkeys(seeds, with_share(arguments.data, arguments.out / "data", arguments.share))
    runs = {
        (name, seed): [*options, "--seed", str(seed), *train_options]
        for seed in seeds
        for name, options in chosen.items()
    }

    def run_and_report(key: tuple[str, int]) -> dict[str, dict[str, float]]:
        folder = arguments.out / key[0].replace(" ", "-") / str(key[1])
        return run(data[key[1]], folder, splits, runs[key], threads=None if arguments.jobs == 1 else 1)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        reports = dict(zip(runs, pool.map(run_and_report, runs), strict=True))
    rows = [
        {"variant": name, "split": split, **figures([reports[name, seed][split] for seed in seeds])}
        for name in chosen
        for split in splits
    ]
    write_tables(arguments.out, rows)
    print((arguments.out / "table.md").read_text(encoding="utf-8"))
    return 0


def require_same_settings(folder: Path, settings: Sequence[str]) -> None:
    """Note the settings of the runs in a folder, so that runs with other settings are not mixed up with them.

    Raises:
        ConfigError: if the folder has runs with other settings.
    """
    note = folder / "settings.json"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    elif (earlier := json.loads(note.read_text(encoding="utf-8"))) != list(settings):
        raise ConfigError(f"{folder} has runs with other settings ({' '.join(earlier)}): choose another --out")


def variants() -> dict[str, tuple[str, ...]]:
    """Return the parts that each variant is trained without: none, each one, and all but the offsets."""
    modules = tuple(name for name in NetworkConfig.SWITCHES if name != "offsets")
    return {WHOLE: (), **{f"without {name}": (name,) for name in NetworkConfig.SWITCHES}, PLAIN: modules}


def without(names: Sequence[str]) -> list[str]:
    """Return the options of `mttsg train` that leave parts out."""
    return [word for name in names for word in ("--without", name)]


def settings(given: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Return table, name and value of each variant of `--set`.

    Raises:
        ConfigError: if a table or setting does not exist, or a value cannot be used.

    >>> settings(["loss.contrast=0.1,0.6"])
    {'loss.contrast=0.1': ('loss', 'contrast', '0.1'), 'loss.contrast=0.6': ('loss', 'contrast', '0.6')}
    """
    found = {}
    for text in given:
        target, _, values = text.partition("=")
        table, _, name = target.partition(".")
        refuse_unknown([table], CONFIGS, "table of settings")
        for value in values.split(","):
            try:
                parsed = tomllib.loads(f"value = {value}")["value"]
            except tomllib.TOMLDecodeError as error:
                raise ConfigError(f"--set {text}: {value!r} is not a number, true or false") from error
            from_mapping(CONFIGS[table], {**REQUIRED[table], name: parsed})
            found[f"{target}={value}"] = (table, name, value)
    return found


def config_options(folder: Path, table: str, name: str, value: str) -> list[str]:
    """Write a settings file with one setting, and return the options of `mttsg train` that read it."""
    path = folder / "settings" / f"{table}.{name}={value}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[{table}]\n{name} = {value}\n", encoding="utf-8")
    return ["--config", str(path)]


def with_share(data: Path, folder: Path, share: float) -> Path:
    """Write a data folder with a share of the training videos, the others as a split `rest`, and all else unchanged."""
    videos = shuffled_videos(data, ["train"])
    count = round(share * len(videos))
    return with_splits(data, folder, ["train"], {"train": videos[:count], "rest": videos[count:]})


def with_fold(data: Path, folder: Path, fold: int, folds: int) -> Path:
    """Write a data folder whose training and validation videos are divided by fold; see the top of this file."""
    parts = [shuffled_videos(data, ["train", "val"])[first::folds] for first in range(folds)]
    parts = parts[fold:] + parts[:fold]
    splits = {"left": parts[0], "val": parts[1], "train": [video for part in parts[2:] for video in part]}
    return with_splits(data, folder, ["train", "val"], splits)


def shuffled_videos(data: Path, splits: Sequence[str]) -> list[str]:
    """Return the videos of these splits, in a random order that is always the same."""
    videos = sorted({video_of(row) for row in read_rows(data, splits)})
    random.Random(0).shuffle(videos)
    return videos


def read_rows(data: Path, splits: Sequence[str]) -> list[dict[str, Any]]:
    """Return all rows of these splits."""
    lines = (line for name in splits for line in (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return [json.loads(line) for line in lines if line.strip()]


def video_of(row: dict[str, Any]) -> str:
    """Return the video of a row, of our own form or of QVHighlights'."""
    return str(row["vid"] if "video" not in row else row["video"])


def with_splits(data: Path, folder: Path, old: Sequence[str], new: dict[str, list[str]]) -> Path:
    """Write a data folder whose rows of the `old` splits are in the `new` ones, by video; all else is linked."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{name}.jsonl" for name in (*old, *new)}
    for entry in data.iterdir():
        link = folder / entry.name
        if entry.name not in files and not link.exists():
            link.symlink_to(entry.resolve())
    rows = read_rows(data, old)
    for name, videos in new.items():
        chosen = set(videos)
        lines = [json.dumps(row) + "\n" for row in rows if video_of(row) in chosen]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def run(
    data: Path, folder: Path, splits: Sequence[str], options: Sequence[str], *, threads: int | None
) -> dict[str, dict[str, float]]:
    """Train and evaluate one variant with one seed, unless that is done; return the report of each split."""
    if not (folder / "report.json").exists():
        mttsg("train", str(data), "--out", str(folder), "--overwrite", "--quiet", *options, threads=threads)
    reports = {}
    for split in splits:
        path = folder / f"evaluation-{split}.json"
        if not path.exists():
            words = ("evaluate", str(data), "--model", str(folder), "--split", split, "--json", "--quiet")
            report = mttsg(*words, *evaluate_options(options), threads=threads)
            path.write_text(report, encoding="utf-8")
        reports[split] = json.loads(path.read_text(encoding="utf-8"))
    return reports


def evaluate_options(options: Sequence[str]) -> list[str]:
    """Return the options of `mttsg train` that `mttsg evaluate` needs as well."""
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
    """Return mean and standard deviation over seeds, as text."""
    texts = {}
    for name in FIGURES:
        values = [report[name] for report in reports]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        texts[name] = f"{statistics.mean(values):.1f}{spread}"
    return texts


def write_tables(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write the same table as csv and as Markdown."""
    names = list(rows[0])
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(cells) + " |" for cells in (names, ["---"] * len(names), *(r.values() for r in rows))]
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
