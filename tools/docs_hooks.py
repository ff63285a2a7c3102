"""Hooks of the documentation's build: tables of settings, written from the configuration classes themselves.

A line `<!-- settings: TrainingConfig -->` of a page becomes a table of that class's settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import mttsg_core.config

_MARK = re.compile(r"^<!-- settings: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables of a page; called by mkdocs for each page before it is rendered."""
    return _MARK.sub(lambda match: settings_table(getattr(mttsg_core.config, match[1])), markdown)


def settings_table(config: type[Any]) -> str:
    """Return a Markdown table of the settings of a class: name, default, range and meaning."""
    rows = ["| setting | default | range | meaning |", "| --- | --- | --- | --- |"]
    for field in fields(config):
        metadata: Mapping[str, Any] = field.metadata
        default = "required" if field.default is MISSING else f"`{_text(field.default)}`"
        limits = "" if isinstance(field.default, bool) else str(metadata["limits"])
        rows.append(f"| `{field.name}` | {default} | {limits} | {metadata['meaning']} |")
    return "\n".join(rows)


def _text(default: object) -> str:
    """Write a default as in a TOML file, where `true` is lower case and a third is not seventeen digits long."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:.3g}" if isinstance(default, float) else str(default)
