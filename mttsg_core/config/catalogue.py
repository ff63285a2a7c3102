"""All settings of a training as one list: for showing them, and for changing one by its name (`TABLE.NAME=VALUE`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from types import MappingProxyType
from typing import Any, NamedTuple

from mttsg_core.config.fields import Limits, Range, check_value
from mttsg_core.config.names import nearest, refuse_unknown, shown
from mttsg_core.config.network import NetworkConfig
from mttsg_core.config.training import LossConfig, TrainingConfig
from mttsg_core.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The tables of a `--config` file and of `config.json`, in the order in which they are shown.
TABLES: Mapping[str, type[Any]] = MappingProxyType(
    {"training": TrainingConfig, "loss": LossConfig, "network": NetworkConfig}
)


@dataclass(frozen=True)
class Setting:
    """A setting, as it is shown.

    Attributes:
        table: `training`, `loss` or `network`.
        name: of the setting.
        default: None if the features decide it and it has none.
        limits: numbers, or names, that it may have; None for switches and other text.
        meaning: one line.
        by_features: whether the features decide it, so that it cannot be chosen.
    """

    table: str
    name: str
    default: bool | int | float | str | None
    limits: Limits | None
    meaning: str
    by_features: bool = False

    @property
    def key(self) -> str:
        """Its name with that of its table, as in `loss.contrast`."""
        return f"{self.table}.{self.name}"

    @property
    def range(self) -> str:
        """What it may be, in words."""
        return "true or false" if self.limits is None else str(self.limits)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        plain = {name: getattr(self, name) for name in ("table", "name", "default", "range", "meaning")}
        return {**plain, "by_features": self.by_features}


class Assignment(NamedTuple):
    """A value for a setting, checked."""

    table: str
    name: str
    value: Any


def all_settings() -> list[Setting]:
    """Return every setting, by table and in the order of its declaration."""
    return [
        Setting(
            table,
            declared.name,
            None if declared.default is MISSING else declared.default,
            _limits(declared),
            declared.metadata["meaning"],
            table == "network" and declared.name in NetworkConfig.OF_FEATURES,
        )
        for table, kind in TABLES.items()
        for declared in fields(kind)
    ]


def _limits(declared: Field[Any]) -> Limits | None:
    limits: Limits = declared.metadata["limits"]
    is_range_of_none = isinstance(declared.default, bool | str) and isinstance(limits, Range)
    return None if is_range_of_none else limits


def parse_assignment(text: str) -> Assignment:
    """Return table, name and value of `TABLE.NAME=VALUE`; values are written as in TOML.

    Raises:
        ConfigError: if there is no such setting (naming the nearest one), or its value is of another type or out of
            range.

    >>> parse_assignment("loss.contrast=0.5")
    Assignment(table='loss', name='contrast', value=0.5)
    """
    key, values = split_assignment(text)
    if len(values) != 1:
        raise ConfigError(f"--set {shown(text)}: one value")
    return assign(key, values[0])


def split_assignment(text: str) -> tuple[str, list[str]]:
    """Return the key of `TABLE.NAME=VALUE,...` and the words of its values.

    Raises:
        ConfigError: if it is not of this form.

    >>> split_assignment("loss.contrast=0.1, 0.5")
    ('loss.contrast', ['0.1', '0.5'])
    """
    key, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise ConfigError(f"--set {shown(text)}: not TABLE.NAME=VALUE, such as loss.contrast=0.5")
    return key.strip(), [value.strip() for value in values.split(",")]


def assign(key: str, word: str) -> Assignment:
    """Return a setting with a value that is written as in TOML. Raises ConfigError as `parse_assignment`."""
    setting = find_setting(key)
    declared = {field.name: field for field in fields(TABLES[setting.table])}[setting.name]
    try:
        value: Any = tomllib.loads(f"value = {word.lower() if word.lower() in ('true', 'false') else word}")["value"]
    except tomllib.TOMLDecodeError as error:
        if declared.type != "str":
            raise ConfigError(f"--set {key}={word[:60]}: not a number, true or false") from error
        value = word
    return Assignment(setting.table, setting.name, check_value(declared, value, key))


def find_setting(key: str) -> Setting:
    """Return a setting that can be chosen by its name, `TABLE.NAME`.

    Raises:
        ConfigError: if there is no such setting, naming the nearest ones, or the features decide it.
    """
    by_key = {setting.key: setting for setting in all_settings()}
    if key not in by_key:
        table, dot, name = key.rpartition(".")
        names = [setting.name for setting in by_key.values()]
        if table in TABLES:  # where the table is right, its own settings come first
            own = [setting.name for setting in by_key.values() if setting.table == table]
            names = own if nearest(name, own) else names
        near = nearest(name, names) if name else None
        meant = [repr(setting.key) for setting in by_key.values() if setting.name == near]
        in_table = [text for text in meant if text.startswith(f"'{nearest(table, TABLES) or table}.")] if dot else []
        hint = f"; did you mean {' or '.join(in_table or meant)}?" if meant else ""
        if not hint:
            refuse_unknown([table] if dot else [], TABLES, "table of settings")
        raise ConfigError(f"unknown setting: {shown(key)}{hint or '; mttsg config lists them'}")
    if by_key[key].by_features:
        raise ConfigError(f"{key}: the features decide it")
    return by_key[key]


def toml_value(value: bool | int | float | str) -> str:
    """Return a value as TOML writes it.

    >>> toml_value(True), toml_value(1e-05), toml_value(12)
    ('true', '1e-05', '12')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)
