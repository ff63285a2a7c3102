"""Numbers of things, in words."""

from __future__ import annotations

import pytest

from mttsg_core.utils.text import count


@pytest.mark.parametrize(
    ("number", "things", "text"),
    [
        (0, ("video",), "0 videos"),
        (1, ("video",), "1 video"),
        (2, ("video",), "2 videos"),
        (1, ("query", "queries"), "1 query"),
        (7, ("query", "queries"), "7 queries"),
    ],
)
def test_one_is_singular(number: int, things: tuple[str, ...], text: str) -> None:
    assert count(number, *things) == text
