"""The files of a model folder, by name, and those of them that are JSON. Light: nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mttsg_core.errors import ModelError, error_summary
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.json_lines import parse_json

CONFIG, WEIGHTS, WORDS, REPORT = "config.json", "model.safetensors", "words.safetensors", "report.json"
PROVENANCE, FAMILIARITY = "run.json", "familiarity.json"
RECORD_SUFFIX = ".provenance.json"  # of the file beside predictions that says where they come from
_MAX_JSON_BYTES = 4 << 20


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as readable JSON, in one step."""
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"), durable=True)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: if it cannot be read, is too large, or is not an object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_JSON_BYTES + 1)
        if len(content) > _MAX_JSON_BYTES:
            raise ModelError(f"{path}: larger than {_MAX_JSON_BYTES >> 20} MiB")
        if not content.strip():
            raise ModelError(f"{path}: empty")
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: {error_summary(error)}") from error
    value, fault = parse_json(text)
    if fault is not None or not isinstance(value, dict):
        raise ModelError(f"{path}: {fault or 'not a JSON object'}")
    return value


def read_json_if_any(path: Path) -> dict[str, Any]:
    """Return what `read_json` does, or an empty object for a file that is missing or cannot be read."""
    try:
        return read_json(path)
    except ModelError:
        return {}
