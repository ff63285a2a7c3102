"""Folders that can be written, and those that cannot."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_core.utils.writable import check_writable


@pytest.mark.parametrize("name", ["", "new", "new/deep"])
def test_a_folder_that_can_be_written_is_left_as_it_was(name: str, tmp_path: Path) -> None:
    check_writable(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_writable(Path("new"))
    check_writable(Path())


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "file/deep"):
        with pytest.raises(NotADirectoryError):
            check_writable(tmp_path / name)


def test_an_unknown_home_folder() -> None:
    with pytest.raises(OSError, match="the home folder is unknown"):
        check_writable(Path("~/.cache/mttsg"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write to")
def test_a_file_system_that_nobody_can_write_to() -> None:
    with pytest.raises(OSError, match="/proc"):
        check_writable(Path("/proc/new"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        check_writable(tmp_path / "new")


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_without_space(tmp_path: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from mttsg_core.utils.writable import check_writable
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    check_writable(Path({str(tmp_path)!r}))
except OSError as error:
    print(error.errno)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(errno.EFBIG)
