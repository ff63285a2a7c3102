"""Atomic writing, and the parts of processes that died while they wrote."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from mttsg_core.utils import atomic
from mttsg_core.utils.atomic import collect_parts, create_part, write_atomically


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


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """Each has a part of its own while both are writing; the file is one of the two as a whole."""
    both = threading.Barrier(2)
    parts = []

    def write(text: str) -> None:
        def fill(part: Path) -> None:
            parts.append(part)
            part.write_text(text[:1])
            both.wait(timeout=30)
            part.write_text(text)

        write_atomically(tmp_path / "a.txt", fill)

    writers = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(set(parts)) == 2
    assert (tmp_path / "a.txt").read_text() in ("a" * 1000, "b" * 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_planted_link_is_neither_followed_nor_reused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "a").symlink_to(victim)
    write_atomically(tmp_path / "a", lambda part: part.write_text("new"))
    assert victim.read_text() == "precious"
    assert not (tmp_path / "a").is_symlink()


def test_a_part_is_never_a_file_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = create_part(tmp_path)
    monkeypatch.setattr(atomic, "uuid4", lambda: type("Known", (), {"hex": part.name[-37:-5]}))
    with pytest.raises(FileExistsError):
        create_part(tmp_path)


def killed_in_a_write(folder: Path) -> Path:
    """Start a process that writes into a folder, kill it in the middle, and return the part that it leaves."""
    program = (
        "import sys, time; from pathlib import Path; from mttsg_core.utils.atomic import write_atomically\n"
        "def write(part): part.write_text('half'); print('writing', flush=True); time.sleep(600)\n"
        "write_atomically(Path(sys.argv[1], 'a'), write)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    [part] = folder.glob(".*.part")
    collect_parts(folder)
    assert part.exists()  # its process is at work
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert part.exists()
    return part


@pytest.mark.subprocess
@pytest.mark.skipif(os.name != "posix", reason="Windows cannot tell whether a process is alive")
def test_the_part_of_a_killed_process_is_removed_by_the_next_write(tmp_path: Path) -> None:
    part = killed_in_a_write(tmp_path)
    write_atomically(tmp_path / "b", lambda own: own.write_text("whole"))
    assert not part.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("name", "age", "kept"),
    [
        (f".mttsg-{'0' * 8}-1-{'a' * 32}.part", 60, True),  # of another computer, or container
        (f".mttsg-{'0' * 8}-1-{'a' * 32}.part", 100_000, False),
        (f".{'a' * 32}.part", 60, True),  # of an earlier version
        (f".{'a' * 32}.part", 100_000, False),
        (".video.mp4.part", 100_000, True),  # not one of ours
        ("notes.part", 100_000, True),
    ],
)
def test_other_parts_are_kept_for_a_day(tmp_path: Path, name: str, age: float, kept: bool) -> None:
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (time.time() - age,) * 2)
    collect_parts(tmp_path)
    assert (tmp_path / name).exists() == kept
    collect_parts(tmp_path / "missing")


def test_a_durable_file_and_its_name_are_on_the_disk_before_and_after_the_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    synchronise, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        calls.append("folder" if os.path.samestat(os.fstat(descriptor), tmp_path.stat()) else "file")
        synchronise(descriptor)

    def recorded(part: Path, path: Path) -> Path:
        calls.append("replace")
        return replace(part, path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", recorded)
    write_atomically(tmp_path / "a", lambda part: part.write_text("x"))
    assert calls == ["replace"]
    calls.clear()
    write_atomically(tmp_path / "a", lambda part: part.write_text("y"), durable=True)
    assert calls == (["file", "replace", "folder"] if os.name == "posix" else ["file", "replace"])
