"""Names of videos as annotations write them, and those that can only be meant."""

from __future__ import annotations

import unicodedata

import pytest

from mttsg_core.data.name_index import NameIndex, loose_name, name_forms, trailing_parts


def test_an_exact_name_comes_first() -> None:
    index: NameIndex[int] = NameIndex()
    for number, name in enumerate(["a.mp4", "A.mp4", "Other.mp4"]):
        index.add(name, number)
    assert (index.find("a.mp4"), index.find("A.mp4")) == ([0], [1])
    assert index.find("a.MP4") == [0, 1]  # both may be meant
    assert index.find("other.mp4") == [2]
    assert index.find("none") == []


def test_an_item_is_found_once() -> None:
    index: NameIndex[int] = NameIndex()
    for name in ("A", "a", "A"):
        index.add(name, 1)
    assert index.find("a") == index.find("A") == [1]


def test_unicode_forms_are_one_name() -> None:
    name = "Videos/Tür à Gauche.MP4"
    forms = {unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)}
    assert len(forms) == 2
    assert {loose_name(form) for form in forms} == {"videos/tür à gauche.mp4"}


def test_separators_are_one() -> None:
    assert loose_name("videos\\sub\\Win.mp4") == loose_name("./videos//sub/win.mp4") == "videos/sub/win.mp4"


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("a", ["a"]),
        ("videos/k/a.mp4", ["videos/k/a.mp4", "k/a.mp4", "k/a"]),
        ("Videos\\k\\a.mp4", ["Videos\\k\\a.mp4", "Videos/k/a.mp4", "k/a.mp4", "k/a"]),
        ("vid0_0.0_150.0", ["vid0_0.0_150.0"]),
        ("-abc123", ["-abc123"]),
        ("v_N7ppHQNikv8.mp4", ["v_N7ppHQNikv8.mp4", "v_N7ppHQNikv8", "N7ppHQNikv8"]),
        ("v_0004", ["v_0004", "0004"]),
        ("k/v_0004", ["k/v_0004"]),
    ],
)
def test_forms_of_a_name(name: str, forms: list[str]) -> None:
    assert name_forms(name) == forms


def test_parts_of_a_path() -> None:
    assert trailing_parts("a") == ["a"]
    assert trailing_parts("/v//x/a.mp4") == ["/v/x/a.mp4", "v/x/a.mp4", "x/a.mp4", "a.mp4"]
