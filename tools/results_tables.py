"""Make the tables of results in README.md and docs/results.md again, each by the `mttsg compare` that stands above it.

    python tools/results_tables.py --data FOLDER

A table stands between two comments, and is exactly what the command in the first one prints:

    <!-- results: mttsg compare charades "MKTN=runs/mktn-*" others.jsonl --split val --format md -->
    ...
    <!-- end of results -->

Commands run in FOLDER, where their data folders, models and files of predictions are.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
_BLOCK = re.compile(
    r"(?P<begin><!-- results: (?P<command>[^\n]*?) -->\n)(?P<table>.*?)(?P<end><!-- end of results -->)", re.S
)
_START, _FORM = ["mttsg", "compare"], ["--format", "md"]


class Block(NamedTuple):
    """A table of a page, with the words of the command that makes it."""

    words: list[str]
    table: str


def blocks_of(text: str) -> list[Block]:
    """Return the tables of a page.

    Raises:
        ValueError: if a command is not an `mttsg compare` that prints Markdown.
    """
    return [Block(_words(match["command"]), match["table"].strip("\n") + "\n") for match in _BLOCK.finditer(text)]


def renewed(text: str, data: Path) -> str:
    """Return a page with its tables made again.

    Args:
        text: of the page.
        data: the folder in which the commands run.

    Raises:
        ValueError: as `blocks_of`.
        subprocess.CalledProcessError: if a command fails.
    """
    return _BLOCK.sub(lambda match: f"{match['begin']}\n{_run(_words(match['command']), data)}\n{match['end']}", text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in which the commands run")
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES, help="README.md and docs/results.md")
    options = parser.parse_args(arguments)
    for page in options.pages:
        text = page.read_text(encoding="utf-8")
        page.write_text(renewed(text, options.data), encoding="utf-8")
        print(f"{page}: {len(blocks_of(text))} tables")


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    form = any(words[at : at + 2] == _FORM for at in range(len(words)))
    if words[:2] != _START or not form:
        raise ValueError(f"{command}: not an 'mttsg compare' with --format md")
    return words


def _run(words: Sequence[str], data: Path) -> str:
    """Return what a command prints."""
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "mttsg_cli", *words[1:], "--quiet"]
    own = {**os.environ, "PYTHONPATH": search}
    return subprocess.run(command, cwd=data, env=own, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout


if __name__ == "__main__":
    main()
