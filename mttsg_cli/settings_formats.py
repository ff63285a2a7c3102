"""Settings as text: a table for a terminal, a TOML file that `--config` reads, and Markdown for the documentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from mttsg_cli.terminal import printable, table_console
from mttsg_core.config.catalogue import Setting, toml_value

if TYPE_CHECKING:
    from mttsg_core.workflows.settings_in_force import SettingInForce, SettingsInForce

_HEADINGS = {
    "training": "how a network is trained",
    "loss": "weights and constants of the losses",
    "network": "the network",
}
_FEATURES = "features"  # stands for a value that they decide
_OPTIONS = ("encoder", "text_encoder", "fps", "reader")  # of a data folder, which a --config file of `train` can have


def print_settings(shown: SettingsInForce, form: str) -> None:
    """Print settings on standard output. `form` is a key of `SETTINGS_FORMATS`."""
    console = table_console()
    if form != "table":
        console.print(Text(SETTINGS_FORMATS[form](shown)), soft_wrap=True, end="")
        return
    for name, value in shown.options.items():
        console.print(Text(printable(f"{name}: {value}")), soft_wrap=True)
    for table, values in groupby(shown.values, lambda one: one.setting.table):
        console.print(Text(f"[{table}]  {_HEADINGS[table]}", style="bold"))
        console.print(_table(list(values), with_source=shown.place is not None or _are_changed(shown)))


def _are_changed(shown: SettingsInForce) -> bool:
    return any(one.source != "default" for one in shown.values)


def _table(values: Iterable[SettingInForce], *, with_source: bool) -> Table:
    """Return a table of settings: with ranges, or where values have a place, with where they come from."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", *(("value", "default", "from") if with_source else ("default", "range"))):
        table.add_column(heading, no_wrap=heading != "range")
    table.add_column("meaning", overflow="fold")
    for one in values:
        default = short_value(one.setting.default)
        value = short_value(one.value) if one.value is not None else _FEATURES
        middle = [value, default, one.source] if with_source else [default, one.setting.range]
        style = "bold" if with_source and one.value != one.setting.default and not one.setting.by_features else ""
        table.add_row(
            *(Text(printable(cell)) for cell in (one.setting.name, *middle, one.setting.meaning)), style=style
        )
    return table


def short_value(value: bool | int | float | str | None) -> str:
    """Return a value as a table shows it: a third is not seventeen digits long.

    >>> short_value(1 / 3), short_value(True), short_value(None)
    ('0.333333', 'true', 'features')
    """
    if value is None:
        return _FEATURES
    return f"{value:.6g}" if isinstance(value, float) else toml_value(value).strip('"')


def settings_markdown(settings: Iterable[Setting]) -> str:
    """Return a Markdown table of settings: name, default, range and meaning."""
    rows = ["| setting | default | range | meaning |", "| --- | --- | --- | --- |"]
    for one in settings:
        default = "of the features" if one.by_features else f"`{short_value(one.default)}`"
        rows.append(f"| `{one.name}` | {default} | {one.range} | {one.meaning} |")
    return "\n".join(rows)


def _as_markdown(shown: SettingsInForce) -> str:
    if shown.place is None and not _are_changed(shown):
        parts = groupby((one.setting for one in shown.values), lambda one: one.table)
        return "\n\n".join(f"## [{table}]\n\n{settings_markdown(part)}" for table, part in parts) + "\n"
    lines = []
    for table, part in groupby(shown.values, lambda one: one.setting.table):
        lines += [f"## [{table}]", "", "| setting | value | default | from |", "| --- | --- | --- | --- |"]
        for one in part:
            value, default = short_value(one.value), short_value(one.setting.default)
            lines.append(f"| `{one.setting.name}` | {value} | {default} | {one.source} |")
        lines.append("")
    return "\n".join(lines)


def _as_toml(shown: SettingsInForce) -> str:
    """Return a file that `mttsg train --config` reads; what the features decide is left out."""
    return "\n".join(_toml_lines(shown)) + "\n"


def _toml_lines(shown: SettingsInForce) -> Iterator[str]:
    if shown.is_model:
        yield from (f"# {name}: {printable(str(value))}" for name, value in shown.options.items())
    else:
        yield from (f"{name} = {toml_value(shown.options[name])}" for name in _OPTIONS if name in shown.options)
    for table, values in groupby(shown.values, lambda one: one.setting.table):
        yield from ("", f"[{table}]  # {_HEADINGS[table]}")
        for one in values:
            setting = one.setting
            if one.value is None or setting.by_features:
                continue
            source = "" if one.source == "default" else f"; from {one.source}"
            limits = "" if setting.limits is None else f" ({setting.range})"
            yield f"{setting.name} = {toml_value(one.value)}  # {setting.meaning}{limits}{source}"


def _as_json(shown: SettingsInForce) -> str:
    report: Mapping[str, Any] = shown.as_dict()
    return json.dumps(report, indent=2) + "\n"


SETTINGS_FORMATS: Mapping[str, Callable[[SettingsInForce], str]] = {
    "table": str,
    "toml": _as_toml,
    "json": _as_json,
    "md": _as_markdown,
}
