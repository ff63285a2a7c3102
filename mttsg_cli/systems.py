"""What is compared, as words: `model`, `theirs.jsonl`, `ours=run1,run2,run3`, `"ours=runs/*"`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mttsg_core.checkpoints.files import RECORD_SUFFIX
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.utils.named_paths import expand_pattern, find_path, is_pattern, missing_reason, shown_path

_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv")  # of files of predictions


def read_systems(words: Sequence[str]) -> dict[str, list[Path]]:
    """Return models and files of predictions by name.

    A word that exists is a path, whatever characters it has. Else what is before its first `=` is a name, commas divide
    several runs, and a pattern such as `runs/*` stands for what it matches.

    Raises:
        DataError: if a file of predictions does not exist, or a pattern matches nothing.
        ConfigError: if two have the same name, or nothing is named.
    """
    from mttsg_core.workflows.compared import system_names

    read = [_read(word) for word in words]
    names = iter(system_names([runs[0] for name, runs in read if not name]))
    systems: dict[str, list[Path]] = {}
    for name, runs in read:
        name = name or next(names)
        if name in systems:
            raise ConfigError(f"{name}: two have this name; name each, as in NAME=MODEL")
        systems[name] = runs
    return systems


def _read(word: str) -> tuple[str, list[Path]]:
    """Return the name that a word gives, if any, and the runs."""
    path = find_path(word)
    if path is not None:
        return "", [path]
    name, equals, rest = word.partition("=")
    if not equals:
        name, rest = "", word
    elif not (name.strip() and rest.strip()):
        raise ConfigError(f"{word!r}: not of the form NAME=MODEL or NAME=FILE")
    runs = [run for part in ([rest] if find_path(rest) else rest.split(",")) for run in _find(part)]
    if not runs:
        raise ConfigError(f"{word!r}: names no model and no file of predictions")
    return name.strip() or (rest if len(runs) > 1 else ""), runs


def _find(part: str) -> list[Path]:
    """Return what a part of a word names: a path, what it matches as a pattern, or a model by another name."""
    path = find_path(part)
    if path is not None:
        return [path]
    if is_pattern(part) or Path(part).suffix.lower() in _SUFFIXES:
        matches = [path for path in expand_pattern(part) if not path.name.endswith(RECORD_SUFFIX)]
        if not matches:
            raise DataError(f"{shown_path(part)}: {missing_reason(part)}")
        return matches
    return [Path(part)] if part.strip() else []
