"""Text and numbers as they stand in a page."""

from __future__ import annotations

import html


def clean(text: str) -> str:
    """Text that stays text wherever it stands: escaped, with control characters and half surrogates made visible.

    Direction marks and the like are kept, as writing needs them; who puts a sentence into a page isolates it (`<bdi>`).
    """
    return html.escape("".join(_visible(character) for character in text), quote=True)


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return " "
    if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in (0xFFFE, 0xFFFF):
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def percent(value: float) -> str:
    """A figure with one decimal, without its sign."""
    return f"{value:.1f}"


def clock(seconds: float) -> str:
    """1:02:03.4, or 2:03.4 below an hour."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{tenths / 10:04.1f}"
