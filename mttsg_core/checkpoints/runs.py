"""Numbered training runs in the user's data folder, and the newest of them."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_data_path

from mttsg_core.errors import ModelError

_APP = "mttsg"


def runs_folder() -> Path:
    """Return the folder of numbered training runs."""
    return user_data_path(_APP, appauthor=False) / "runs"


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
        run = runs_folder() / f"{number:04d}"
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return run


def find_model(folder: str | Path | None) -> Path:
    """Return the given folder, or that of the newest finished run.

    Raises:
        ModelError: if no folder is given and no run is finished.
    """
    found = newest_run() if folder is None else Path(folder)
    if found is None:
        raise ModelError("no model yet: train one with 'mttsg train DATA', or name one with --model DIR")
    return found


def newest_run() -> Path | None:
    """Return the newest finished numbered run, or None."""
    return next((run for run in reversed(numbered_runs()) if (run / "report.json").is_file()), None)


def unfinished_run() -> Path:
    """Return the newest numbered run, if it was stopped.

    Raises:
        ModelError: if there is none, or it is finished.
    """
    started = [run for run in numbered_runs() if (run / "config.json").is_file()]
    if not started or (started[-1] / "report.json").is_file():
        raise ModelError("no stopped run to resume: name its folder with --out DIR")
    return started[-1]
