"""Extensions of the documentation's build, named in mkdocs.yml.

A line `<!-- settings: TrainingConfig -->` of a page becomes a table of that class's settings, and examples (`>>>`) in
docstrings become blocks of code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import griffe

import mttsg_core.config

_SETTINGS = re.compile(r"^<!-- settings: (\w+) -->$", re.MULTILINE)
_EXAMPLE = re.compile(r"^([ \t]*)>>> .*(?:\n[ \t]*\S.*)*", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables of a page; mkdocs calls this for each page before it is rendered."""
    return _SETTINGS.sub(lambda match: settings_table(getattr(mttsg_core.config, match[1])), markdown)


def settings_table(config: type[Any]) -> str:
    """Return a Markdown table of the settings of a class: name, default, range and meaning."""
    rows = ["| setting | default | range | meaning |", "| --- | --- | --- | --- |"]
    for field in fields(config):
        metadata: Mapping[str, Any] = field.metadata
        default = "required" if field.default is MISSING else f"`{_text(field.default)}`"
        limits = "" if isinstance(field.default, bool) else str(metadata["limits"])
        rows.append(f"| `{field.name}` | {default} | {limits} | {metadata['meaning']} |")
    return "\n".join(rows)


class Examples(griffe.Extension):
    """Turns the examples of every docstring into blocks of code."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Change the docstring of an object; griffe calls this for each object that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = fence_examples(obj.docstring.value)


def fence_examples(text: str) -> str:
    """Put the examples in a docstring, each up to the next blank line, into fences.

    >>> print(fence_examples("Return one.\\n\\n>>> one()\\n1").replace("`", "'"))
    Return one.
    <BLANKLINE>
    '''pycon
    >>> one()
    1
    '''
    """
    return _EXAMPLE.sub(lambda match: f"{match[1]}```pycon\n{_without_flags(match[0])}\n{match[1]}```", text)


def _without_flags(example: str) -> str:
    """Remove what only doctest reads."""
    return re.sub(r"[ \t]*# doctest: \+\w+", "", example)


def _text(default: object) -> str:
    """Write a default as in a TOML file, where `true` is lower case and a third is not seventeen digits long."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:.3g}" if isinstance(default, float) else str(default)
