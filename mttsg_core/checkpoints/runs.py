"""Runs: the lock and the state of a training in its folder, and the numbered runs in the user's data folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from platformdirs import user_data_path

from mttsg_core.errors import BusyError, ModelError
from mttsg_core.utils.locks import hold_lock
from mttsg_core.utils.paths import user_folder

STATE = Path("state") / "training.safetensors"
PREVIOUS = STATE.with_name("previous.safetensors")  # the state before, for when the newest is damaged
LOCK = STATE.with_name("lock")


def runs_folder() -> Path:
    """Return the folder of numbered training runs."""
    return user_folder(user_data_path) / "runs"


def numbered_runs() -> list[Path]:
    """Return the numbered runs, oldest first."""
    folder = runs_folder()
    if not folder.is_dir():
        return []
    runs = [run for run in folder.iterdir() if run.name.isdecimal() and run.is_dir()]
    return sorted(runs, key=lambda run: int(run.name))


def new_run() -> Path:
    """Create a new numbered run, which no other process gets."""
    runs = numbered_runs()
    number = int(runs[-1].name) + 1 if runs else 1
    while True:
        run = run_folder(number)
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return run


def run_folder(number: int) -> Path:
    """Return the folder that a numbered run has, whether it exists or not."""
    return runs_folder() / f"{number:04d}"


def has_state(folder: Path) -> bool:
    """Return whether the folder holds the state of a training."""
    return any((folder / name).is_file() for name in (STATE, PREVIOUS))


def lock_run(folder: Path) -> AbstractContextManager[None]:
    """Return a context in which no other training can work in the folder. It frees itself when the process ends.

    Raises:
        BusyError: on entering, if another training is at work in the folder.
        OSError: on entering, if nothing can be written to the folder.
    """
    return hold_lock(folder / LOCK, f"{folder}: another training")


def lock_unfinished_run(stack: ExitStack) -> Path:
    """Lock the newest stopped run until `stack` is closed, and return it. Runs at work and those without a state are
    skipped.

    Raises:
        ModelError: if the newest run that is left is finished, or none is left.
        BusyError: if there are runs to resume, and all are at work.
    """
    busy = None
    for run in reversed(numbered_runs()):
        if not has_state(run):
            continue
        try:
            with ExitStack() as attempt:
                attempt.enter_context(lock_run(run))
                if (run / "report.json").is_file():
                    break
                stack.push(attempt.pop_all())
                return run
        except BusyError as error:
            busy = busy or error
    raise busy or ModelError("no stopped run to resume: name its folder with --out DIR")
