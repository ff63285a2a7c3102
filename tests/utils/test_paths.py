"""The user's own folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.utils import paths
from mttsg_core.utils.writable import check_writable


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    return tmp_path / "cache"


def test_a_folder_is_remembered_until_it_is_gone(tmp_path: Path) -> None:
    assert paths.remembered_folder("id") is None
    (tmp_path / "encoder").mkdir()
    paths.remember_folder("id", tmp_path / "encoder")
    assert paths.remembered_folder("id") == (tmp_path / "encoder").resolve()
    (tmp_path / "encoder").rmdir()
    assert paths.remembered_folder("id") is None


def test_a_cache_that_cannot_be_written_is_ignored(tmp_path: Path, user_cache: Path) -> None:
    user_cache.write_text("a file, not a folder")
    paths.remember_folder("id", tmp_path)
    assert paths.remembered_folder("id") is None


def test_without_a_home_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory for '~/.cache'")

    monkeypatch.setattr(paths, "user_cache_path", unknown)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="the home folder is unknown"):
        check_writable(paths.default_cache())
    paths.remember_folder("id", tmp_path)
    assert paths.remembered_folder("id") is None
    assert list(tmp_path.iterdir()) == []
