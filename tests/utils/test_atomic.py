"""Atomic writing."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import SafetensorError

from mttsg_core.utils.atomic import write_atomically


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_atomically(path, lambda part: part.write_text("old"))

    def write(part: Path) -> None:
        assert part.parent == path.parent
        part.write_text("new")
        assert path.read_text() == "old"

    write_atomically(path, write)
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SafetensorError("x")])
def test_a_failure_leaves_the_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise error

    with pytest.raises(OSError if isinstance(error, SafetensorError) else type(error)):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    def private(part: Path) -> None:
        part.unlink()
        part.touch(mode=0o600)

    (tmp_path / "new").touch()
    write_atomically(tmp_path / "a", private)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "new").stat().st_mode
