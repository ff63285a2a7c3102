"""`mttsg extract`, killed or interrupted: complete files stay, no process stays, and the next run does the rest."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.encoders import build_encoder
from mttsg_core.features.extraction import ExtractionSettings, encode_video
from mttsg_core.features.store import read_features
from tests.conftest import start_mttsg
from tests.helpers.tiny_encoders import save_clip
from tests.helpers.video_files import write_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.subprocess,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start `mttsg extract` in a session of its own."""
    return start_mttsg("extract", *arguments)


def session_processes(session: int) -> list[str]:
    """Return the command lines of the processes of a session, except zombies."""
    commands = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                commands.append((status.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return commands


def wait_until(condition: Callable[[], bool]) -> bool:
    """Return whether a condition becomes true; give up after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def workers_started(process: subprocess.Popen[bytes]) -> bool:
    return wait_until(lambda: len(session_processes(process.pid)) >= 3)


def all_ended(process: subprocess.Popen[bytes]) -> bool:
    return wait_until(lambda: not session_processes(process.pid))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of four seconds."""
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", range(100))


@pytest.fixture
def videos(tmp_path: Path, video: Path) -> Path:
    """A folder of eight copies."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(8):
        shutil.copy(video, folder / f"{number}.mp4")
    return folder


def test_killed_runs_leave_only_complete_files_and_the_next_run_makes_the_rest(
    videos: Path, video: Path, tmp_path: Path
) -> None:
    expected = encode_video(video, build_encoder(), ExtractionSettings()).clips
    out = tmp_path / "out"
    first_seen: dict[Path, int] = {}

    def outputs() -> list[Path]:
        return list(out.rglob("*.safetensors"))

    def check() -> None:
        for path in outputs():
            assert np.array_equal(read_features(path).clips, expected), path
            assert first_seen.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns, "extracted twice"

    for count in (0, 1, 3, 5):  # finished files before the kill
        process = start(videos, "--out", out, "--workers", "2")
        while process.poll() is None and (len(session_processes(process.pid)) < 3 or len(outputs()) < count):
            time.sleep(0.01)
        process.kill()
        process.communicate()
        check()
    process = start(videos, "--out", out, "--workers", "2")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    check()
    assert len(first_seen) == 8


def test_the_workers_of_a_killed_program_end_too(videos: Path, tmp_path: Path) -> None:
    process = start(videos, "--out", tmp_path / "out", "--workers", "2", "--fps", "100")
    assert workers_started(process)
    process.kill()
    process.communicate()
    assert all_ended(process)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.4])
def test_ctrl_c_exits_with_130_and_without_a_traceback(videos: Path, tmp_path: Path, delay: float) -> None:
    """A terminal sends the signal to the whole process group, including workers that are just starting."""
    process = start(videos, "--out", tmp_path / "out", "--workers", "2", "--fps", "100")
    assert workers_started(process)
    time.sleep(delay)  # various moments, none of which is special
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert out == b""
    assert b"Traceback" not in err
    assert all_ended(process)


@pytest.mark.parametrize("delay", [0.0, 0.7])
def test_ctrl_c_while_one_process_encodes_for_all(videos: Path, tmp_path: Path, delay: float) -> None:
    encoder, out = save_clip(tmp_path / "clip"), tmp_path / "out"
    long_video = write_video(tmp_path / "long.mp4", range(500))
    for path in videos.iterdir():
        shutil.copy(long_video, path)
    process = start(videos, "--out", out, "--workers", "2", "--fps", "100", "--encoder", encoder)
    assert workers_started(process)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    printed, err = process.communicate(timeout=300)
    assert (process.returncode, printed) == (130, b""), err
    assert b"Traceback" not in err
    assert all_ended(process)
    assert all(len(read_features(path).clips) == 2000 for path in out.rglob("*.safetensors"))
