"""Numbers with their nouns, shortened values, and words in any script."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.utils.text import count, find_words, normalise, shorten


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


@given(st.text(alphabet=st.characters(exclude_categories=("Mn", "Mc", "Cs"), exclude_characters="\u200c\u200d")))
def test_words_without_marks_are_runs_of_letters(text: str) -> None:
    """The vectors of models that exist depend on it."""
    assert find_words(text) == re.findall(r"\w+(?:'\w+)?", text)


@given(st.text(alphabet="पतीताeé\u0301\u093e' .-", max_size=20))
def test_a_mark_belongs_to_the_letter_before_it(text: str) -> None:
    words = find_words(text)
    assert all(not unicodedata.category(word[0]).startswith("M") for word in words)
    letters = re.findall(r"\w[\u0301\u093e\u0940]*", text)
    assert "".join(words).replace("'", "") == "".join(letters)


def test_joints_and_letters_are_chosen() -> None:
    assert find_words("a_b", r"[^\W_]") == ["a", "b"]
    assert find_words("rock'n’roll", joints="'’", joined="*") == ["rock'n’roll"]
    assert find_words("rock'n'roll") == ["rock'n", "roll"]


def test_equal_texts_are_equal_strings() -> None:
    assert normalise("Tu\u0308r") == normalise("T\u00fcr") == "T\u00fcr"
