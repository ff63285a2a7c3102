"""Text and numbers as a page shows them."""

from __future__ import annotations

import re

_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def visible_text(text: str) -> str:
    r"""Return the text with control characters and lone surrogates spelled out (`\x1b`, `\ud800`), in one line.

    Direction marks and joiners are kept, as writing needs them; templates isolate sentences and names with `<bdi>`.
    HTML is not escaped here: the template environment does that.
    """
    return _INVISIBLE.sub(lambda match: _spelled_out(match[0]), text)


def percent(value: float) -> str:
    """Return a percentage with one decimal and without its sign."""
    return f"{value:.1f}"


def clock(seconds: float) -> str:
    """Return a time such as 1:02:03.4, or 2:03.4 below an hour."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{tenths / 10:04.1f}"


def _spelled_out(character: str) -> str:
    if character in "\n\t":
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
