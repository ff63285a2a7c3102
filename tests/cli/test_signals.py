"""Ctrl-C, SIGTERM and SIGHUP: one quiet line, an exit code of their own, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mttsg_cli.signals import Stopped, StopSignals
from tests.conftest import start_mttsg

pytestmark = [
    pytest.mark.subprocess,
    pytest.mark.skipif(os.name != "posix", reason="other systems have no such signals"),
]
QUERY = "the red circle moves left"
STOPPING = [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")]


@pytest.fixture
def videos(corpus: Path, tmp_path: Path) -> Path:
    """A folder of 30 videos that no cache has."""
    folder = tmp_path / "videos"
    folder.mkdir()
    sources = sorted((corpus / "videos").glob("*.mp4"))
    for number in range(30):
        shutil.copy(sources[number % len(sources)], folder / f"{number}.mp4")
    return folder


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the program has written a file."""
    until = time.monotonic() + 120
    while not next(folder.rglob(pattern), None) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)


def group_members(group: int) -> list[int]:
    """Return the processes of a group, without dead ones."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                members.append(int(entry.name))
    return members


def assert_all_gone(group: int) -> None:
    if not Path("/proc/self/stat").exists():
        return
    until = time.monotonic() + 10
    while group_members(group) and time.monotonic() < until:
        time.sleep(0.05)
    assert group_members(group) == []


def parts(folder: Path) -> Iterator[Path]:
    return folder.rglob(".*.part")


@pytest.mark.parametrize(("number", "word"), STOPPING)
@pytest.mark.parametrize("whole_group", [True, False])
def test_a_signal_ends_workers_removes_parts_and_has_its_own_code(
    videos: Path, tmp_path: Path, number: signal.Signals, word: str, whole_group: bool
) -> None:
    cache = tmp_path / "cache"
    process = start_mttsg("extract", videos, "--cache", cache, "--workers", "2", "--encoder", "classic")
    wait_for(cache, "*.safetensors", process)
    if whole_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert out == b""
    lines = [line for line in err.decode().splitlines() if "crashed" not in line]  # SIGTERM kills workers itself
    assert lines == [f"{word}; finished work is kept"]
    assert_all_gone(process.pid)
    assert list(cache.rglob("*.safetensors"))
    assert list(parts(tmp_path)) == []


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
def test_further_signals_are_quiet(videos: Path, trained: Path, tmp_path: Path, delay: float) -> None:
    excerpts = tmp_path / "excerpts"
    process = start_mttsg(
        *("ground", videos, QUERY, "--model", trained, "--cache", tmp_path / "cache", "--workers", "2"),
        *("--clips", excerpts, "--top", "30"),
    )
    wait_for(excerpts, "*.mp4", process)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(delay)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1:] == ["interrupted; finished work is kept"]
    assert b"Traceback" not in err
    assert b"resource_tracker" not in err
    assert_all_gone(process.pid)
    assert list(parts(tmp_path)) == []


def test_a_killed_program_leaves_no_warning_of_a_library(videos: Path, tmp_path: Path) -> None:
    process = start_mttsg("extract", videos, "--cache", tmp_path / "cache", "--workers", "2", "--encoder", "classic")
    wait_for(tmp_path / "cache", "*.safetensors", process)
    process.kill()
    _, err = process.communicate(timeout=60)  # until the last process that shares standard error is gone
    assert err == b""
    assert_all_gone(process.pid)


def test_nohup_is_respected(videos: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start_mttsg("extract", videos / "0.mp4", "--cache", tmp_path / "cache", "--encoder", "classic")
    finally:
        signal.signal(signal.SIGHUP, before)
    time.sleep(0.5)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_signal_while_the_program_starts_is_no_traceback(tmp_path: Path) -> None:
    for delay in (0.1, 0.2, 0.3, 0.5, 0.8):
        process = start_mttsg("check", tmp_path)
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (143, 2, -signal.SIGTERM)  # 2: it was faster; -15: before any of our code ran
        assert b"Traceback" not in err


def test_a_program_that_hangs_while_it_cleans_up_is_ended_by_one_more_signal() -> None:
    program = (
        "import time; from mttsg_cli.signals import StopSignals\n"
        "StopSignals().install()\n"
        "try:\n    print('ready', flush=True); time.sleep(600)\n"
        "finally:\n    print('cleaning', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == b"cleaning\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, b"")


def test_exit_codes_and_words() -> None:
    assert [Stopped(number).exit_code for number, _ in STOPPING] == [130, 143, 129]
    assert [str(Stopped(number)) for number, _ in STOPPING] == [word for _, word in STOPPING]
    assert isinstance(Stopped(), KeyboardInterrupt)
    before = signal.getsignal(signal.SIGINT)
    StopSignals().ignore()  # none has come
    assert signal.getsignal(signal.SIGINT) == before
