"""Short texts for messages, and what a word is in any script."""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache

_LENGTH = 60
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
MAX_WORDS, MAX_CHARACTERS = 1000, 10_000  # of a sentence
_JOINERS = "\u200c\u200d"  # they shape words in Indic scripts and Persian, and belong to them
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)  # marks too, but of pictures rather than of letters


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


def format_bytes(size: int) -> str:
    """Return a number of bytes in the unit that suits it.

    >>> format_bytes(0), format_bytes(168_000), format_bytes(605_157_884), format_bytes(2_400_000_000)
    ('0 kB', '168 kB', '605 MB', '2.4 GB')
    """
    if size < 1_000_000:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.0f} MB" if size < 1_000_000_000 else f"{size / 1e9:.1f} GB"


def format_clock(seconds: float) -> str:
    """Return seconds as minutes and seconds, with hours if there are any.

    >>> format_clock(7.9), format_clock(750), format_clock(3723)
    ('0:07', '12:30', '1:02:03')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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


def os_reason(error: OSError) -> str:
    """Return why a file cannot be used, in the words of the operating system if it has any.

    >>> os_reason(FileNotFoundError(2, "No such file or directory", "a.mp4")), os_reason(OSError("not a zip file"))
    ('No such file or directory', 'not a zip file')
    """
    return error.strerror or str(error)


def describe_os_error(error: OSError) -> str:
    """Return which file cannot be used, if the error names one, and why.

    >>> describe_os_error(FileNotFoundError(2, "No such file or directory", "a.mp4"))
    'a.mp4: No such file or directory'
    """
    file = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return file + os_reason(error)


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


def normalise(text: str) -> str:
    r"""Return a text in Unicode's composed form (NFC), in which equal texts are equal strings.

    >>> normalise("Tu\u0308r") == "Tür"
    True
    """
    return unicodedata.normalize("NFC", text)


def find_words(text: str, letter: str = r"\w", joints: str = "'", *, joined: str = "?") -> list[str]:
    """Return the words of a text: letters with their combining marks, and parts that joints such as ' connect.

    Python's `\\w` leaves out combining marks, and would cut a Hindi or Thai word at every vowel sign.

    Args:
        text: in composed form, see `normalise`.
        letter: a regular expression of one letter.
        joints: characters that may connect parts of a word.
        joined: how often they may: a quantifier of regular expressions.

    >>> find_words("the man's dog, पीता है")
    ['the', "man's", 'dog', 'पीता', 'है']
    """
    return _word_pattern(_marks(text), letter, joints, joined).findall(text)


def visible_text(text: str) -> str:
    r"""Return the text with control characters and lone surrogates spelled out (`\x1b`, `\ud800`), in one line.

    Direction marks and joiners are kept, as writing needs them; templates isolate sentences and names with `<bdi>`.
    Markup is not escaped here: whoever writes it does that.
    """
    return _INVISIBLE.sub(lambda match: _spelled_out(match[0]), text)


def _marks(text: str) -> str:
    """Return the combining marks in a text, each once."""
    if text.isascii():
        return ""
    return "".join(sorted({char for char in text if _is_mark(char)}))


def _is_mark(char: str) -> bool:
    if char in _JOINERS:
        return True
    return unicodedata.category(char) in ("Mn", "Mc") and ord(char) not in _VARIATION_SELECTORS


@lru_cache(maxsize=256)
def _word_pattern(marks: str, letter: str, joints: str, joined: str) -> re.Pattern[str]:
    part = f"(?:{letter}[{marks}]*)+" if marks else f"{letter}+"
    return re.compile(f"{part}(?:[{joints}]{part}){joined}")


def _spelled_out(character: str) -> str:
    if character in "\n\t":
        return " "
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
