"""The documentation says what the code does: names, options, settings, links, and the programs in it."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import docs_hooks
import pytest
import typer

import mttsg_core
from mttsg_cli.app import app
from mttsg_core import config
from mttsg_core.encoders.known import KNOWN

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
COMMANDS = (
    *("ground", "serve", "search", "train", "ablate", "evaluate", "compare", "extract", "index", "check"),
    *("models", "config", "setup", "doctor", "cache"),
)


def test_reference_holds_every_public_name() -> None:
    names = re.findall(r"^::: mttsg_core\.(\w+)$", (DOCS / "reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(names) == sorted(set(mttsg_core.__all__) - {"__version__"})


def _is_shown(parameter: Any) -> bool:
    return parameter.param_type_name == "option" and not parameter.hidden


@pytest.mark.parametrize("name", COMMANDS)
def test_guide_of_a_command_holds_every_option(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    shown = [parameter for parameter in command.params if _is_shown(parameter)]
    options = {max(names, key=len) for each in shown for names in (each.opts, each.secondary_opts) if names}
    rows = re.findall(r"^\|.*\|$", (DOCS / "guide" / f"{name}.md").read_text(encoding="utf-8"), re.MULTILINE)
    documented = {option for row in rows for option in re.findall(r"`(--[a-z-]+)", row.split(" | ")[0])}
    assert options - {"--help"} == documented


@pytest.mark.parametrize(("table", "kind"), config.TABLES.items())
def test_tables_of_settings_hold_every_setting(table: str, kind: type) -> None:
    marker = f"<!-- settings: {table} -->"
    page = docs_hooks.on_page_markdown(f"before\n\n{marker}\n\nafter")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [field.name for field in fields(kind)]
    assert page.startswith("before\n") and page.endswith("\nafter")
    assert marker in (DOCS / "settings.md").read_text(encoding="utf-8")


def test_examples_of_docstrings_become_blocks_of_code() -> None:
    text = "Return one.\n\n    >>> one()  # doctest: +SKIP\n    1\n\nArgs:\n    x: two."
    fenced = "Return one.\n\n    ```pycon\n    >>> one()\n    1\n    ```\n\nArgs:\n    x: two."
    assert docs_hooks.fence_examples(text) == fenced
    assert docs_hooks.fence_examples("No example.") == "No example."


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_python_in_the_pages_uses_names_that_exist(page: Path) -> None:
    for source in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module == "mttsg_core":
                assert {alias.name for alias in node.names} <= set(mttsg_core.__all__)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_linked_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


def test_readme_is_short_and_names_the_commands_that_set_everything_up() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert "make test" in text and "make demo" in text


def test_the_table_of_encoders_holds_every_short_name() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| (.*?) \|", (DOCS / "guide" / "encoders.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = {name: model.strip("`") for name, model in rows if model != "built in"}
    assert documented == {name: known.repo for name, known in KNOWN.items()}
