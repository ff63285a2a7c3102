"""The forms of a table of results and of predictions, and which one the name of a file asks for."""

from __future__ import annotations

from pathlib import Path

from mttsg_core.errors import ConfigError

TABLE_FORMATS = ("table", "md", "latex", "csv", "json")
SUBMISSIONS = ("qvhighlights",)  # predictions as the evaluators of benchmarks read them: of a query a row, with its id
PREDICTION_FORMATS = ("jsonl", *SUBMISSIONS)  # our own first, the default
_OF_SUFFIX = {".md": "md", ".markdown": "md", ".tex": "latex", ".csv": "csv", ".json": "json"}


def table_format(given: str | None, out: Path | None, *, as_json: bool) -> str:
    """Return the form of a table.

    Args:
        given: with --format.
        out: the file to write to.
        as_json: whether --json was given.

    Raises:
        ConfigError: if there is no such form, or two are asked for.
    """
    if given is not None and given not in TABLE_FORMATS:
        raise ConfigError(f"--format {given}: not one of {', '.join(TABLE_FORMATS)}")
    if as_json and given not in (None, "json"):
        raise ConfigError(f"--json and --format {given}: give one of them")
    if as_json:
        return "json"
    return given or ("table" if out is None else _OF_SUFFIX.get(out.suffix.lower(), "table"))
