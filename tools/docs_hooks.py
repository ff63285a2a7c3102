"""Extensions of the documentation's build, named in mkdocs.yml.

A line `<!-- settings: training -->` of a page becomes the settings of that table, and examples (`>>>`) in
docstrings become blocks of code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

from mttsg_cli.settings_formats import settings_markdown
from mttsg_core.config import all_settings

_SETTINGS = re.compile(r"^<!-- settings: (\w+) -->$", re.MULTILINE)
_EXAMPLE = re.compile(r"^([ \t]*)>>> .*(?:\n[ \t]*\S.*)*", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables of a page; mkdocs calls this for each page before it is rendered."""
    return _SETTINGS.sub(lambda match: _settings_of(match[1]), markdown)


def _settings_of(table: str) -> str:
    return settings_markdown(one for one in all_settings() if one.table == table)


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
