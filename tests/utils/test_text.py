"""Numbers with their nouns, and shortened values."""

from __future__ import annotations

import pytest

from mttsg_core.utils.text import count, shorten


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("video",), "0 videos"),
        (1, ("video",), "1 video"),
        (2, ("video",), "2 videos"),
        (1, ("query", "queries"), "1 query"),
        (7, ("query", "queries"), "7 queries"),
    ],
)
def test_one_is_singular(number: int, nouns: tuple[str, ...], text: str) -> None:
    assert count(number, *nouns) == text


@pytest.mark.parametrize(
    "value", ["x" * 1000, "line\nbreak", "\u202e\x1b[31m" * 50, [1] * 1000, {"a": "b" * 1000}, 10**300]
)
def test_a_value_is_shortened_to_one_line(value: object) -> None:
    assert len(shorten(value)) <= 60
    assert shorten(value).isprintable()
