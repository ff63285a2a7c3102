"""What is compared: models and files of predictions by name, each with as many runs as there are seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mttsg_core.checkpoints.summary import summarise
from mttsg_core.errors import ConfigError
from mttsg_core.utils.files import is_file
from mttsg_core.workflows.options import AnyPath

Compared: TypeAlias = Mapping[str, AnyPath | Sequence[AnyPath]] | Sequence[AnyPath]
"""Models and files of predictions: by name, with several for several seeds, or in a row without names."""


@dataclass(frozen=True)
class NamedRuns:
    """A system to be compared: its name, and the model or file of predictions of each seed as it was given."""

    name: str
    runs: tuple[AnyPath, ...]


def is_predictions(run: AnyPath) -> bool:
    """Return whether a run is a file of predictions rather than a model."""
    return is_file(Path(run))


def named_runs(systems: Compared) -> list[NamedRuns]:
    """Return the systems with a name each. Those without one are named by their file or folder.

    Raises:
        ConfigError: if there are none, or a system has no runs or one of them twice.
    """
    if not systems:
        raise ConfigError("nothing to compare: name models or files of predictions")
    if not isinstance(systems, Mapping):
        systems = dict(zip(system_names(systems), systems, strict=True))
    found = [
        NamedRuns(name, (runs,) if isinstance(runs, str | Path) else tuple(runs)) for name, runs in systems.items()
    ]
    for system in found:
        if not system.runs:
            raise ConfigError(f"{system.name}: no model and no file of predictions")
        twice = next((run for run, number in Counter(map(str, system.runs)).items() if number > 1), None)
        if twice is not None:
            raise ConfigError(f"{system.name}: {twice} is given twice, and would count as two seeds")
    return found


def system_names(runs: Sequence[AnyPath]) -> list[str]:
    """Return names for models and files: those of the file or folder, or where two have the same, as they were given.

    Raises:
        ConfigError: if one is given twice.
    """
    names = [_short_name(run) for run in runs]
    repeated = {name for name, number in Counter(names).items() if number > 1}
    names = [str(run) if name in repeated else name for name, run in zip(names, runs, strict=True)]
    twice = next((name for name, number in Counter(names).items() if number > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice}: given twice")
    return names


def _short_name(run: AnyPath) -> str:
    path = Path(run)
    if is_predictions(run):
        return path.stem
    return summarise(path).name if path.is_dir() else str(run)
