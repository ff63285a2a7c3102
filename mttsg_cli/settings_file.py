"""Files of settings (`--config`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from mttsg_core.config import refuse_unknown
from mttsg_core.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES = ("network", "loss", "training")  # of a --config file of the commands that train
_TRAINING_COMMANDS = ("train", "serve")


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the settings of a TOML file the defaults of the other options; its tables go to `context.obj`.

    Raises:
        typer.BadParameter: if the file cannot be read, or has a name that is not an option of the command.
    """
    if path is None or context.resilient_parsing:
        return path
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{path}: {error}") from error
    takes_tables = context.info_name in _TRAINING_COMMANDS
    tables = {name: settings.pop(name) for name in TABLES if takes_tables and isinstance(settings.get(name), dict)}
    parameters: dict[str, str] = {}  # by option, without dashes
    for parameter in context.command.params:
        for option in parameter.opts:
            if option.startswith("--") and parameter.name not in (None, "config", "help"):
                parameters[option[2:].replace("-", "_")] = str(parameter.name)
    try:
        refuse_unknown((key.replace("-", "_") for key in settings), parameters, f"setting in {path}")
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    defaults = {parameters[key.replace("-", "_")]: value for key, value in settings.items()}
    repeatable = {parameter.name for parameter in context.command.params if getattr(parameter, "multiple", False)}
    context.default_map = {
        name: [value] if name in repeatable and not isinstance(value, list) else value
        for name, value in defaults.items()
    }
    context.obj = tables
    return path


def config_tables(context: typer.Context) -> dict[str, dict[str, Any]]:
    """Return the tables of the `--config` file; those that it does not have are empty."""
    tables = context.obj or {}
    return {name: dict(tables.get(name, {})) for name in TABLES}
