"""Numbers of things, in words."""

from __future__ import annotations


def count(number: int, thing: str, things: str | None = None) -> str:
    """`1 video`, `2 videos`; `things` is the plural where that takes more than an s."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"


def shorten(value: object) -> str:
    """A value as it is shown in a message: one line, at most 60 characters."""
    if isinstance(value, list | tuple | dict):
        return "a list" if not isinstance(value, dict) else "an object"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
