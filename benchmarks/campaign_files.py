"""Damaged files for the campaign: each is used by a command in a process that is forked from a warm interpreter.

The fork has the modules of the program, and nothing that a command left; it runs the same `main` as the command line,
with its output in files. So a file costs the time of the command, not that of starting Python and importing torch.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from campaign_runs import QUERIES, Bench, Ended, faults_of, left_behind

from mttsg_core.errors import VideoError
from mttsg_core.video.probe import probe

Arguments = list[str | Path]
Random = np.random.Generator
_TRAINED = 0.02  # of the damaged features are used by `train`, which takes longer


def prepare(bench: Bench, folder: Path) -> None:
    """Import, in this process, every module that the commands of all kinds of files import."""
    torch.set_num_threads(1)
    for number, kind in enumerate(KINDS):
        place = folder / kind
        child = os.fork()
        if not child:
            run_in_fork(bench, kind, np.random.default_rng(number), place, (place / "modules.json").write_text)
        os.waitpid(child, 0)
        for name in json.loads((place / "modules.json").read_text()):
            if name != "mttsg_cli.__main__" and not name.startswith("__"):
                with suppress(ImportError):  # some are made by others, and have no file
                    importlib.import_module(name)
        shutil.rmtree(place)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it


def run_in_fork(
    bench: Bench, kind: str, random: Random, folder: Path, tell_modules: Callable[[str], object] | None = None
) -> None:
    """Damage a file and run a command that reads it; the main function of a forked process, which ends with it.

    Args:
        bench: where the undamaged files are.
        kind: one of `KINDS`.
        random: of the trial.
        folder: for all files of the trial; made here.
        tell_modules: called with a JSON list of the names of the modules that are loaded in the end.
    """
    os.setsid()  # its worker processes can be killed with it
    folder.mkdir(parents=True)
    victim, command = KINDS[kind](bench, random, folder)
    victim.write_bytes(damage(random, victim.read_bytes()))
    (folder / "victim").write_text(f"{victim}\n{command}\n")
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = _main([str(argument) for argument in command])
    if tell_modules is not None:
        tell_modules(json.dumps(sorted(sys.modules)))
    os._exit(code)


def _main(arguments: list[str]) -> int:
    """Run the program as `python -m mttsg_cli` does, and return its exit code."""
    program = importlib.import_module("mttsg_cli.__main__")
    sys.modules["__main__"] = program  # what its worker processes import
    sys.argv = ["mttsg", *arguments]
    try:
        program.main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 -- as the interpreter does
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    return 0


def file_faults(kind: str, ended: Ended, folder: Path) -> Iterator[str]:
    """Yield what is wrong with the way in which a command dealt with a damaged file."""
    yield from faults_of(ended, [0, 1, 2])
    if ended.code == 2 and not (kind == "config" and "Invalid value for '--config'" in ended.err):
        victim = (folder / "victim").read_text().splitlines()[0]
        errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        if not errors or any(victim not in error for error in errors[:-1]):  # what failed, then what follows from it
            yield "wrong"
    if kind == "outputs" and not all(map(_is_playable, (folder / "clips").glob("*.mp4"))):
        yield "wrong"
    yield from left_behind(folder)


def damage(random: Random, content: bytes) -> bytes:
    """Cut off, overwrite or change some bytes."""
    position = int(random.integers(len(content)))
    kind = random.integers(4)
    if kind == 0:
        return content[:position]
    if kind == 1:
        return content[:position] + bytes(len(content) - position)
    noise = random.bytes(16 if kind == 2 else 1)
    return content[:position] + noise + content[position + len(noise) :]


def _pick(random: Random, folder: Path, pattern: str) -> Path:
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    return paths[int(random.integers(len(paths)))]


def _ground(bench: Bench, video: Path, *options: str | Path) -> Arguments:
    return ["ground", video, QUERIES[0], "--model", bench.model, *options]


def _video(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    victim = Path(shutil.copy(_pick(random, bench.videos, "*.mp4"), folder))
    return victim, _ground(bench, victim, "--cache", folder / "cache")


def _features(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    features = Path(shutil.copytree(bench.folder / "extract", folder / "features"))
    for path in bench.data.glob("*.jsonl"):
        shutil.copy(path, folder)
    victim, use = _pick(random, features, "*.safetensors"), random.random()
    if use < _TRAINED:
        return victim, ["train", folder, "--out", folder / "m", "--config", bench.config, "--workers", "1"]
    if use < 0.5:
        return victim, ["check", folder]
    return victim, _ground(bench, bench.videos / f"{victim.stem}.mp4", "--features", features)


def _model(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    shutil.copytree(bench.model, folder / "m")
    video = _pick(random, bench.videos, "*.mp4")
    command: Arguments = ["ground", video, QUERIES[0], "--model", folder / "m", "--cache", bench.cache]
    return _pick(random, folder, str(random.choice(["config.json", "model.safetensors"]))), command


def _state(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    shutil.copytree(bench.model, folder / "m")
    return folder / "m" / "state" / "training.safetensors", bench.command("train", folder / "m")


def _annotations(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    return Path(shutil.copy(_pick(random, bench.data, "train.jsonl"), folder)), ["check", folder]


def _predictions(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    victim = Path(shutil.copy(bench.folder / "evaluate" / "predictions.jsonl", folder))
    return victim, ["evaluate", bench.data, "--split", "val", "--predictions", victim, "--cache", bench.cache]


def _queries(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    victim = folder / "q.jsonl"
    victim.write_text("".join(json.dumps({"query": query}) + "\n" for query in QUERIES * 5))
    video = _pick(random, bench.videos, "*.mp4")
    return victim, ["ground", video, "--queries", victim, "--model", bench.model, "--cache", bench.cache]


def _config(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    victim = Path(shutil.copy(bench.config, folder))
    return victim, ["check", bench.data, "--config", victim]


def _outputs(bench: Bench, random: Random, folder: Path) -> tuple[Path, Arguments]:
    shutil.copytree(bench.folder / "ground", folder, dirs_exist_ok=True)
    return _pick(random, folder, "*.*"), bench.command("ground", folder)


KINDS: dict[str, Callable[[Bench, Random, Path], tuple[Path, Arguments]]] = {
    "video": _video,
    "features": _features,
    "model": _model,
    "state": _state,
    "annotations": _annotations,
    "predictions": _predictions,
    "queries": _queries,
    "config": _config,
    "outputs": _outputs,
}
SLOW_KINDS = ("state", "outputs")  # that start worker processes or train
FAST_KINDS = tuple(kind for kind in KINDS if kind not in SLOW_KINDS)


def kind_of(number: int) -> str:
    """Return the kind of a file by its number: one of twenty is of a slow kind."""
    if number % 20 == 19:
        return SLOW_KINDS[number // 20 % len(SLOW_KINDS)]
    return FAST_KINDS[number % len(FAST_KINDS)]


def _is_playable(path: Path) -> bool:
    try:
        return probe(path).duration > 0
    except VideoError:
        return False
