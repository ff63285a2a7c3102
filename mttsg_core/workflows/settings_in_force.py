"""The settings that a training would have in a data folder, or that a model has, and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from mttsg_core.checkpoints.files import CONFIG
from mttsg_core.config import TABLES, Setting, all_settings, refuse_unknown, upgrade_settings
from mttsg_core.config.fields import check_value
from mttsg_core.data.folder_defaults import DEFAULTS_FILE, read_defaults
from mttsg_core.errors import ConfigError
from mttsg_core.workflows.options import AnyPath

Tables: TypeAlias = Mapping[str, Mapping[str, Any]]
DEFAULT = "default"


@dataclass(frozen=True)
class SettingInForce:
    """A setting with its value.

    Attributes:
        setting: what it is.
        value: None where the features decide it and they are not known.
        source: `default`, `mttsg.toml`, `config.json`, or the name of a layer.
    """

    setting: Setting
    value: bool | int | float | str | None
    source: str = DEFAULT

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**self.setting.as_dict(), "value": self.value, "from": self.source}


@dataclass(frozen=True)
class SettingsInForce:
    """All settings, as they are somewhere.

    Attributes:
        place: the data folder or the model folder; None for the defaults.
        is_model: whether the place is a model.
        options: what the place says of encoders and clip rate.
        values: every setting, by table.
    """

    place: Path | None
    is_model: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    values: Sequence[SettingInForce] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        place = {} if self.place is None else {"model" if self.is_model else "data": str(self.place)}
        return {**place, "options": dict(self.options), "settings": [one.as_dict() for one in self.values]}


def settings_in_force(
    place: AnyPath | None = None, layers: Sequence[tuple[str, Tables]] = (), *, offline: bool = False
) -> SettingsInForce:
    """Return every setting with its value and where that comes from.

    Args:
        place: a data folder, or a model (its folder, the number of a run, `last`, or `user/name` on the Hugging Face
            Hub); None for the defaults.
        layers: names and settings, by table, that count more than the data folder does; later ones count most.
        offline: use a model of the hub only if it was downloaded before.

    Raises:
        ConfigError: if a setting is not known or its value cannot be used, or if layers are given for a model.
        DataError: if the defaults of the data folder cannot be read.
        ModelError: if there is no such model.
    """
    path = None if place is None else Path(place)
    if path is None or (path.is_dir() and not (path / CONFIG).exists()):
        options: Mapping[str, Any] = {}
        if path is not None:
            defaults = read_defaults(path)
            options, layers = defaults.features, [(DEFAULTS_FILE, defaults.tables), *layers]
        return SettingsInForce(path, is_model=False, options=options, values=_in_layers(layers))
    if layers:
        raise ConfigError(f"{place}: a model, whose settings are what they are: no --config, no --set")
    return _of_model(path, offline=offline)


def _of_model(name: Path, *, offline: bool) -> SettingsInForce:
    """Return the settings of a model; those that its version did not have are at their defaults."""
    from mttsg_core.checkpoints.checkpoint import read_description
    from mttsg_core.checkpoints.hub import find_model

    folder = find_model(name, offline=offline)
    described = read_description(folder)
    training = {name: value for name, value in described["training"].items() if name != "loss"}
    tables = {"training": training, "loss": described["training"].get("loss", {}), "network": described["network"]}
    known: dict[str, dict[str, Any]] = {table: {} for table in TABLES}
    for setting in all_settings():
        upgraded, _ = upgrade_settings(setting.table, tables[setting.table])
        if setting.name in upgraded:
            known[setting.table][setting.name] = upgraded[setting.name]
    options = {**described["features"], "text_encoder": described["text_encoder"]}
    return SettingsInForce(folder, is_model=True, options=options, values=_in_layers([(CONFIG, known)]))


def _in_layers(layers: Sequence[tuple[str, Tables]]) -> list[SettingInForce]:
    given: dict[str, tuple[Any, str]] = {}
    for source, tables in layers:
        for table, values in tables.items():
            for name, value in _checked(table, values, source).items():
                given[f"{table}.{name}"] = (value, source)
    return [SettingInForce(one, *given.get(one.key, (one.default, DEFAULT))) for one in all_settings()]


def _checked(table: str, values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return settings by their present names. Raises ConfigError for one that is not known or cannot be used."""
    declared = {one.name: one for one in fields(TABLES[table])}
    upgraded, _ = upgrade_settings(table, values)
    refuse_unknown(upgraded, declared, f"setting in [{table}] of {source}")
    return {name: check_value(declared[name], value, f"{source}: {name}") for name, value in upgraded.items()}
