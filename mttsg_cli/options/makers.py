"""What many options are made of."""

from __future__ import annotations

from typing import Any

import typer


def check_seed(seed: int) -> int:
    """Return the seed. Raises typer.BadParameter if it is out of range; a range of typer's would fill the help."""
    if not 0 <= seed < 2**63:
        raise typer.BadParameter(f"{seed} is not between 0 and 2^63 - 1")
    return seed


def rate(meaning: str) -> Any:
    """Return an option for features per second."""
    return typer.Option("--fps", min=0.01, max=120, metavar="F", help=meaning)


def folder(name: str, help_text: str, *short: str) -> Any:
    """Return an option for a folder."""
    return typer.Option(name, *short, metavar="DIR", help=help_text)


def file(name: str, help_text: str, *short: str) -> Any:
    """Return an option for a file."""
    return typer.Option(name, *short, metavar="FILE", help=help_text)
