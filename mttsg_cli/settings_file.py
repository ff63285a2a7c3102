"""Settings of a training: from a file (`--config`), by name (`--set`) and by options of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

from mttsg_cli.config_files import options_of, read_settings, refuse_unknown_options, settings_of_command
from mttsg_cli.console import Reporter
from mttsg_core.config import (
    TABLES,
    Assignment,
    NetworkConfig,
    TrainingConfig,
    parse_assignment,
    upgrade_settings,
)
from mttsg_core.config.catalogue import assign, split_assignment
from mttsg_core.errors import ConfigError

_WITH_TABLES = ("train", "ablate", "serve")  # commands whose --config file may have tables of settings
_TAKING_FILES_OF_TRAIN = ("ablate", "serve")


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the settings of a TOML file the defaults of the other options; its tables go to `context.obj`.

    Raises:
        typer.BadParameter: if the file cannot be read, or has a name that is not an option of the command.
    """
    if path is None or context.resilient_parsing:
        return path
    settings = settings_of_command(context, read_settings(path), path)
    tables = _pop_tables(settings) if context.info_name in _WITH_TABLES else {}
    parameters = options_of(context.command)
    if context.info_name in _TAKING_FILES_OF_TRAIN:
        _move_training(settings, tables, except_for=parameters)
    refuse_unknown_options(settings, parameters, path)
    defaults = {parameters[key.replace("-", "_")]: value for key, value in settings.items()}
    repeatable = {parameter.name for parameter in context.command.params if getattr(parameter, "multiple", False)}
    context.default_map = {
        name: [value] if name in repeatable and not isinstance(value, list) else value
        for name, value in defaults.items()
    }
    context.obj = tables
    return path


def load_training_settings(context: typer.Context, path: Path | None) -> Path | None:
    """Read the `--config` file of a training for its settings alone; they go to `context.obj`.

    Raises:
        typer.BadParameter: as `load_config` of `train`.
    """
    if path is None or context.resilient_parsing or context.parent is None:
        return path
    train: Any = context.parent.command
    command = train.get_command(context.parent, "train")
    values = settings_of_command(context, read_settings(path), path, command)
    tables = _pop_tables(values)
    refuse_unknown_options(values, options_of(command), path)
    _move_training(values, tables)
    context.obj = tables
    return path


def config_tables(context: typer.Context) -> dict[str, dict[str, Any]]:
    """Return the tables of the `--config` file; those that it does not have are empty."""
    tables = context.obj or {}
    return {name: dict(tables.get(name, {})) for name in TABLES}


def parse_settings(texts: Iterable[str]) -> list[Assignment]:
    """Return the settings of `--set`.

    Raises:
        ConfigError: if one does not exist, cannot have that value, or is given two values.
    """
    given: dict[str, Assignment] = {}
    for text in texts:
        one = parse_assignment(text)
        if given.setdefault(f"{one.table}.{one.name}", one) != one:
            raise ConfigError(f"--set {one.table}.{one.name}: given twice, as {given[f'{one.table}.{one.name}'].value}")
    return list(given.values())


def parse_variations(texts: Iterable[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Return the settings of `--set` that have one value, as they are, and the values of those that have several.

    Raises:
        ConfigError: if a setting does not exist, cannot have a value, or is varied twice.
    """
    fixed: list[str] = []
    varied: dict[str, list[Any]] = {}
    for text in texts:
        key, values = split_assignment(text)
        if len(values) == 1:
            fixed.append(text)
        elif key in varied:
            raise ConfigError(f"--set {key}: given twice")
        else:
            varied[key] = [assign(key, value).value for value in values]
    return fixed, varied


def merge_settings(
    context: typer.Context,
    training: Mapping[str, Any],
    without: Sequence[str],
    assigned: Sequence[Assignment],
    reporter: Reporter,
    network: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    """Return the settings that are given, by argument of the workflow: --set and options win over the --config file.

    Args:
        context: of the command.
        training: settings of the training that have an option of their own, as given or from the file.
        without: parts to leave out.
        assigned: from `--set`.
        reporter: told of parts that were renamed.
        network: settings of the network that have an option of their own.

    Raises:
        ConfigError: for an unknown part, or if an option and `--set` contradict each other.
    """
    tables = config_tables(context)
    switches, notes = upgrade_settings("network", dict.fromkeys(without, False))
    if notes:
        reporter.say(f"renamed parts: {'; '.join(notes)}")
    tables["training"] |= training
    tables["network"] |= {**network, **NetworkConfig.switched_off(switches)}
    typed = {("training", name): name for name in training} | {("network", name): name for name in network}
    typed |= {("network", name): "without" for name in switches}
    for table, name, value in assigned:
        parameter = typed.get((table, name))
        if parameter is not None and is_typed(context, parameter) and tables[table][name] != value:
            option = f"--{parameter.replace('_', '-')}"
            raise ConfigError(f"--set {table}.{name}: contradicts {option}; give one of them")
        tables[table][name] = value
    return {"config": tables["training"], "network": tables["network"], "loss": tables["loss"]}


def settings_layers(
    context: typer.Context, assigned: Sequence[Assignment]
) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """Return the settings of the --config file and of `--set`, by table, those that are given."""
    tables: dict[str, dict[str, Any]] = {}
    for table, name, value in assigned:
        tables.setdefault(table, {})[name] = value
    return [(name, layer) for name, layer in (("--config", context.obj or {}), ("--set", tables)) if layer]


def is_typed(context: typer.Context, parameter: str) -> bool:
    """Return whether an option was given on the command line, and not by a file."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _pop_tables(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Take the tables of settings out of the content of a file."""
    return {name: settings.pop(name) for name in TABLES if isinstance(settings.get(name), dict)}


def _move_training(
    settings: dict[str, Any], tables: dict[str, dict[str, Any]], except_for: Collection[str] = ()
) -> None:
    """Move settings of the training that a file has outside of its tables into their table."""
    names = {field.name for field in fields(TrainingConfig)} - set(except_for)
    found = {key: key.replace("-", "_") for key in settings if key.replace("-", "_") in names}
    tables["training"] = {**tables.get("training", {}), **{name: settings.pop(key) for key, name in found.items()}}
