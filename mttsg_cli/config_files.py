"""The files of `--config`: those of users, and the recipes for published data sets that come with the package."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from mttsg_cli.console import Reporter
from mttsg_core.config import TABLES, TrainingConfig, refuse_unknown
from mttsg_core.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_COMMANDS = ("check", "train", "evaluate", "compare", "ablate")  # that read a data folder
_WITH_TRAINING = ("train", "ablate", "serve")  # commands that take settings of the training
_RECIPE = "recipe"  # the prefix that names a recipe, and the table in which a file describes itself
_RECIPES = Path(__file__).with_name("recipes")


def recipe_names() -> list[str]:
    """Return the names of the recipes."""
    return sorted(path.stem for path in _RECIPES.glob("*.toml"))


def read_settings(path: Path) -> dict[str, Any]:
    """Read a TOML file, or the recipe that `recipe:NAME` names.

    Raises:
        typer.BadParameter: if it does not exist or cannot be read.
    """
    path = _find(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{path}: {error}") from error


def settings_of_command(
    context: typer.Context, settings: Mapping[str, Any], path: Path, command: Any = None
) -> dict[str, Any]:
    """Return what a file says to a command.

    A file may be for several commands: each has a table of its name, and what is outside of these tables is for every
    command that has such an option. What the file says of itself is kept for `say_recipe`.

    Args:
        context: of the command that runs.
        settings: content of the file.
        path: of the file, for messages.
        command: that the settings are for; default: the one that runs.

    Raises:
        typer.BadParameter: if a name is an option of none of these commands.
    """
    settings = dict(settings)
    described = settings.pop(_RECIPE, None)
    own = {name: settings.pop(name) for name in _COMMANDS if isinstance(settings.get(name), dict)}
    if isinstance(described, dict):
        context.meta[_RECIPE] = f"{described.get('name', path)}: {described.get('note', '')}"
    elif not own:
        return settings
    command = command or context.command
    training = (*TABLES, *(field.name for field in fields(TrainingConfig)))
    group: Any = context.parent.command if context.parent is not None else None
    commands = [command] if group is None else [group.get_command(context.parent, name) for name in _COMMANDS]
    known = dict.fromkeys((*training, *(option for one in commands for option in options_of(one))), "")
    refuse_unknown_options(settings, known, path)
    accepted = {*options_of(command), *(training if command.name in _WITH_TRAINING else ())}
    shared = {key: value for key, value in settings.items() if key.replace("-", "_") in accepted}
    return {**shared, **own.get(str(command.name), {})}


def recipe_line(context: typer.Context) -> str:
    """Return what the `--config` file tells of its data set and its conventions; empty if it tells nothing."""
    return str(context.meta.get(_RECIPE, ""))


def say_recipe(context: typer.Context, reporter: Reporter) -> None:
    """Say what the `--config` file tells of its data set and its conventions, if it tells anything."""
    if line := recipe_line(context):
        reporter.say(line)


def options_of(command: Any) -> dict[str, str]:
    """Return the parameters of a command by the names of their options, without dashes."""
    return {
        option[2:].replace("-", "_"): str(parameter.name)
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and parameter.name not in (None, "config", "help")
    }


def refuse_unknown_options(settings: Mapping[str, Any], parameters: Mapping[str, str], path: Path) -> None:
    """Raise typer.BadParameter if a file has a name that is not an option."""
    try:
        refuse_unknown((key.replace("-", "_") for key in settings), parameters, f"setting in {path}")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def _find(path: Path) -> Path:
    """Return the file that `--config` names. Raises typer.BadParameter for a recipe that does not exist."""
    kind, colon, name = str(path).partition(":")
    if kind != _RECIPE or not colon or path.exists():
        return path
    try:
        refuse_unknown([name], recipe_names(), _RECIPE)
    except ConfigError as error:
        raise typer.BadParameter(f"{error}; recipes: {', '.join(recipe_names())}") from error
    return _RECIPES / f"{name}.toml"
