"""Reading JSON documents, and telling from the first characters of one what it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from mttsg_core.errors import DataError

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?|[\[\]{}]')
_MAX_DEPTH = 5  # of the nesting that tells formats apart


class Members(list[tuple[str, object]]):
    """The members of a JSON object in order, repeated names included: a video may have several entries."""


def parse_document(path: Path, content: bytes) -> object:
    """Return a JSON value, with objects as `Members`.

    Raises:
        DataError: if it is not JSON; the message names the line of the damage.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=Members)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: invalid JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise DataError(f"{path}:1: invalid JSON: nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{path}:1: invalid JSON: {error}") from error


def as_record(value: object) -> dict[str, object] | None:
    """Return a JSON object as a dictionary, or None if the value is not an object."""
    return dict(value) if isinstance(value, Members) else None


def keys_by_nesting(head: str) -> Mapping[str, set[str]]:
    """Return the keys at the start of a JSON document, by the brackets around them; the document may be cut off.

    >>> keys = keys_by_nesting('[{"video": "a", "moments": [{"start": 1, "end')
    >>> sorted(keys["[{"]), sorted(keys["[{[{"])
    (['moments', 'video'], ['start'])
    """
    keys: dict[str, set[str]] = {}
    brackets: list[str] = []
    for match in _TOKEN.finditer(head):
        token = match[0]
        if token in "[{":
            brackets.append(token)
        elif token in "]}":
            if brackets:
                brackets.pop()
        elif match[1] is not None and len(brackets) <= _MAX_DEPTH:
            keys.setdefault("".join(brackets), set()).add(token[1 : token.rindex('"')])
    return keys
