"""Finished runs: the numbered ones and those in folders of their own, and which of them fits which videos.

Each finished run leaves a small file in the user's data folder, which says where the model is and which folders its
videos were in. A file whose model has been removed, moved or replaced since does not count. There is one file per model
folder, so that trainings that end at the same time do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mttsg_core.checkpoints.files import PROVENANCE, REPORT, read_json_if_any, write_json
from mttsg_core.checkpoints.runs import numbered_runs, run_folder, runs_folder
from mttsg_core.errors import ModelError
from mttsg_core.utils.files import is_file, real_path

LAST = "last"
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class FinishedRun:
    """A trained model on this computer.

    Attributes:
        folder: of the model.
        roots: folders that its videos, or their features, are below; empty if that is not recorded.
    """

    folder: Path
    roots: tuple[Path, ...] = ()

    @property
    def number(self) -> int | None:
        """Its number, if it is a numbered run."""
        return run_number(self.folder)

    @cached_property
    def finished(self) -> float:
        """When its training ended, in seconds since 1970; 0 if it is gone."""
        try:
            return (self.folder / REPORT).stat().st_mtime
        except OSError:
            return 0.0

    def fits(self, paths: Iterable[Path]) -> bool:
        """Return whether every one of some videos, or folders, is below a folder that it was trained on."""
        places = [real_path(path) for path in paths]
        return bool(places) and all(
            place is not None and any(place.is_relative_to(root) for root in self.roots) for place in places
        )


def run_number(folder: Path) -> int | None:
    """Return the number of a run, or None for any other folder."""
    return int(folder.name) if _NUMBER.fullmatch(folder.name) and folder.parent == runs_folder() else None


def remember_run(folder: Path, roots: Iterable[Path]) -> bool:
    """Record a finished run, so that it can be the default model.

    Args:
        folder: of the model.
        roots: folders that its videos and features are below.

    Returns:
        Whether it could be recorded.
    """
    places = [os.fspath(root) for root in map(real_path, roots) if root is not None]
    entry = {"folder": os.fspath(folder.resolve()), "roots": places, "started": _started(folder)}
    try:
        write_json(_entry_of(folder), entry)
    except OSError:
        return False
    return True


def finished_runs() -> list[FinishedRun]:
    """Return the trained models on this computer, the newest first: numbered runs, and recorded ones elsewhere."""
    runs = {run.folder: run for run in _recorded_runs()}
    for folder in numbered_runs():
        if is_file(folder / REPORT):
            own = runs.pop(folder.resolve(), FinishedRun(folder))
            runs[folder] = FinishedRun(folder, own.roots)
    return sorted(runs.values(), key=lambda run: (run.finished, run.number or 0), reverse=True)


def roots_of(folder: Path) -> tuple[Path, ...]:
    """Return the folders that the videos and features of a model on this computer are below; () if not recorded."""
    entry = read_json_if_any(_entry_of(folder))
    roots = entry.get("roots")
    if not isinstance(roots, list) or _started(folder) != entry.get("started"):
        return ()
    return tuple(Path(root) for root in roots if isinstance(root, str))


def fitting_run(*alternatives: Sequence[Path]) -> FinishedRun | None:
    """Return the newest finished run that was trained on videos below the same folder, or None.

    Args:
        alternatives: videos or folders, such as the videos to ask, or the folder of their features. All of one of them
            must fit.
    """
    return next((run for run in finished_runs() if any(map(run.fits, alternatives))), None)


def find_model(name: str | Path) -> Path:
    """Return the folder of a model by its name: a folder that exists, `last`, or the number of a run.

    Any other name is returned as it is: a folder that does not exist.

    Raises:
        ModelError: if no run has that number, or none is finished.
    """
    path, text = Path(name), str(name)
    if path.exists():
        return path
    if text == LAST:
        newest = next(iter(finished_runs()), None)
        if newest is None:
            raise ModelError("no model yet: train one with 'mttsg train DATA'")
        return newest.folder
    if _NUMBER.fullmatch(text):
        run = run_folder(int(text))
        if not run.is_dir():
            raise ModelError(f"no run {text}, and no folder of that name; 'mttsg models' lists the models")
        return run
    return path


def _recorded_runs() -> Iterator[FinishedRun]:
    """Yield the recorded runs whose model is still the one that was recorded, wherever it is."""
    files: list[Path] = []
    with suppress(OSError):
        files = sorted(_entries().glob("*.json"))
    for file in files:
        entry = read_json_if_any(file)
        folder, roots = entry.get("folder"), entry.get("roots")
        if not isinstance(folder, str) or not isinstance(roots, list):
            continue
        path = Path(folder)
        if is_file(path / REPORT) and _started(path) == entry.get("started"):
            yield FinishedRun(path, tuple(Path(root) for root in roots if isinstance(root, str)))


def _started(folder: Path) -> object:
    """Return when the training of a model started, which tells a model from another one in the same folder."""
    return read_json_if_any(folder / PROVENANCE).get("started")


def _entries() -> Path:
    return runs_folder().parent / "models"


def _entry_of(folder: Path) -> Path:
    digest = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=12).hexdigest()
    return _entries() / f"{digest}.json"
