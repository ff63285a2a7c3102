"""Names and paths from untrusted files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.utils.files import is_file, real_path, unsafe_path_reason, without_suffix


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "\\share", "C:\\a", "c:/a", "..", "../a", "a/../../b", "a\\..\\b", "a\0b"]
)
def test_unsafe_names(name: str) -> None:
    assert unsafe_path_reason(name) is not None


@pytest.mark.parametrize("name", ["a", "a/b.mp4", "a..b", "...", ""])
def test_safe_names(name: str) -> None:
    assert unsafe_path_reason(name) is None


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.mp4", "a"), ("a.MP4", "a"), ("a.b.mp4", "a.b"), ("a.b", "a.b"), (".mp4", ".mp4"), ("a/.mp4", "a/.mp4")],
)
def test_without_suffix(name: str, stem: str) -> None:
    assert without_suffix(name, [".mp4"]) == stem


def test_names_that_no_file_system_accepts_are_not_files(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert is_file(tmp_path / "a")
    assert not any(is_file(tmp_path / name) for name in ("b", "", "x" * 5000, "a\0b", "a/b"))


def test_a_link_to_itself_has_no_real_path_or_is_left_as_it_is(tmp_path: Path) -> None:
    link = tmp_path / "link"
    try:
        link.symlink_to(link)
    except OSError:
        pytest.skip("this system cannot create links")
    assert real_path(link) in (None, link)  # depends on the version of Python
    assert real_path(tmp_path / "a\0b") is None
