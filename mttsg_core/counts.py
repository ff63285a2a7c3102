"""Numbers of things, in words."""

from __future__ import annotations


def count(number: int, thing: str, things: str | None = None) -> str:
    """`1 video`, `2 videos`; `things` is the plural where that takes more than an s."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"
