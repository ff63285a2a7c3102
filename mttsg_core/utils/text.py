"""Short texts for messages."""

from __future__ import annotations

_LENGTH = 60
MAX_WORDS, MAX_CHARACTERS = 1000, 10_000  # of a sentence


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun in singular or plural.

    Args:
        number: how many.
        noun: in the singular.
        plural: of the noun; default: the singular with an s.

    >>> count(1, "video"), count(2, "video"), count(0, "query", "queries")
    ('1 video', '2 videos', '0 queries')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def shorten(value: object) -> str:
    """Return a value as messages show it: in one line of at most 60 characters.

    >>> shorten("opens door"), shorten(3.5), shorten([1, 2])
    ("'opens door'", '3.5', 'a list')
    >>> len(shorten("x" * 1000))
    60
    """
    if isinstance(value, list | tuple | dict):
        return "a list" if not isinstance(value, dict) else "an object"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"


def sentence_fault(text: str) -> str | None:
    """Return why a text is too long for one sentence, or None. Time and memory grow with its words and their letters.

    >>> sentence_fault("person opens door")
    >>> sentence_fault("a " * 1001)
    'the sentence has 1001 words, at most 1000 are possible'
    """
    if len(text) > MAX_CHARACTERS:
        return f"the sentence has {len(text)} characters, at most {MAX_CHARACTERS} are possible"
    words = len(text.split())
    return f"the sentence has {words} words, at most {MAX_WORDS} are possible" if words > MAX_WORDS else None
