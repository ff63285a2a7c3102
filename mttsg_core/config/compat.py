"""Names that settings had in earlier versions: they are still read, with a note."""

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
