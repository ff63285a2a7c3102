"""Numbered training runs in the user's data folder, and the newest of them."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path

from mttsg_core.errors import ModelError

_APP = "mttsg"


def runs_folder() -> Path:
    """The folder of numbered training runs."""
    return user_data_path(_APP, appauthor=False) / "runs"


def numbered_runs() -> list[Path]:
    """The numbered runs, oldest first."""
    folder = runs_folder()
    found = [run for run in folder.iterdir() if run.name.isdecimal() and run.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda run: int(run.name))


def new_run() -> Path:
    """A new numbered run, made so that no other process gets the same."""
    runs = numbered_runs()
    number = int(runs[-1].name) + 1 if runs else 1
    while True:
        run = runs_folder() / f"{number:04d}"
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return run


def find_model(folder: str | Path | None) -> Path:
    """The folder named, or the newest finished run when none is.

    Raises:
        ModelError: if no run is finished yet.
    """
    found = newest_run() if folder is None else Path(folder)
    if found is None:
        raise ModelError("no model yet: train one with 'mttsg train DATA', or name one with --model DIR")
    return found


def newest_run() -> Path | None:
    """The newest finished numbered run, if there is one."""
    return next((run for run in reversed(numbered_runs()) if (run / "report.json").is_file()), None)


def unfinished_run() -> Path:
    """The newest numbered run, if it was stopped.

    Raises:
        ModelError: if there is none, or it is finished.
    """
    runs = [run for run in numbered_runs() if (run / "config.json").is_file()]  # others never began
    if not runs or (runs[-1] / "report.json").is_file():
        raise ModelError("no stopped run to resume: name its folder with --out DIR")
    return runs[-1]
