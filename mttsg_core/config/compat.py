"""Settings of earlier versions: names that are still read, with a note, and what settings that are new stood for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# By table of a `--config` file and of `config.json`: old name -> present name.
RENAMED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "network": {"span_width": "proposal_width"},
        "loss": {"span": "proposal", "inside": "foreground"},
        "training": {"cut": "temporal_crop", "join": "temporal_concat", "erase": "remove_moment"},
    }
)

# By table: settings that earlier versions did not have, and the value that does what they did, if not the default.
_BEFORE: Mapping[str, Mapping[str, Any]] = MappingProxyType({"network": {"curve_width": 0}})


def with_earlier_values(table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the settings that a file of an earlier version does not name, where their default does something else.

    >>> with_earlier_values("network", {"width": 64})
    {'curve_width': 0, 'width': 64}
    """
    return {**_BEFORE.get(table, {}), **values}


def upgrade_settings(table: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Rename settings of an earlier version.

    Args:
        table: `network`, `loss` or `training`.
        values: settings by name. Where both the old and the present name are given, the present one counts.

    Returns:
        The settings by their present names, and a note on each renamed one, such as "cut is now temporal_crop".

    >>> upgrade_settings("training", {"cut": 0.5, "lr": 0.001})
    ({'temporal_crop': 0.5, 'lr': 0.001}, ['cut is now temporal_crop'])
    """
    names = RENAMED.get(table, {})
    upgraded: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            upgraded[name] = value
        elif names[name] not in values:
            upgraded[names[name]] = value
    return upgraded, [f"{name} is now {names[name]}" for name in values if name in names]
