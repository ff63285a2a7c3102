"""What many tests share: a corpus rendered once, its features, a model trained on it, and the `mttsg` program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from typer.testing import CliRunner

from make_corpus import TINY_NETWORK, make_corpus

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
TINY_TOML = f"fps = 1.0\nepochs = 2\nbatch_videos = 6\n[training]\ncalibration_sentences = 1\n{TINY_NETWORK}"

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine must not fail a test
hypothesis.settings.load_profile("untimed")

# No test asks the Hugging Face Hub, or finds what whoever starts the tests has downloaded: the default encoders are
# the built-in ones. The variables are read when its library is first imported, which is before any fixture.
_HUB = tempfile.TemporaryDirectory(prefix="mttsg-hub-")
for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT"):
    os.environ.pop(name, None)
os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=_HUB.name)


@pytest.fixture(scope="session", autouse=True)
def _a_home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the cache, the runs or the settings of whoever starts the tests."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("MTTSG_")]:
        del os.environ[name]
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        os.environ[name] = str(home)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the programs that tests start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need the real data beside the repository by the fixtures that find it."""
    for item in items:
        if {"charades_clip", "real_videos"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.data)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_foreground_shell() -> Iterator[None]:
    """Let started programs have Ctrl-C and hang-ups: background jobs inherit the one as ignored, `nohup` the other."""
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    if hasattr(signal, "SIGHUP"):
        usual[signal.SIGHUP] = signal.SIG_DFL
    inherited = {number: signal.getsignal(number) for number in usual}
    for number, handler in usual.items():
        if inherited[number] == signal.SIG_IGN:
            signal.signal(number, handler)
    yield
    for number, before in inherited.items():
        signal.signal(number, before)


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines on standard error that name a failure."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


Mttsg = Callable[..., Ran]


@pytest.fixture(scope="session")
def mttsg() -> Mttsg:
    """`mttsg(ARGUMENT, ..., stdin=...)` runs the program inside this process."""
    from mttsg_cli.app import app

    def run(*arguments: str | Path, stdin: bytes | None = None) -> Ran:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a user would see a traceback
        assert "Traceback" not in result.stderr
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


def start_mttsg(*arguments: str | Path | bytes, **options: object) -> subprocess.Popen[bytes]:
    """Start the program in a process, and a process group, of its own."""
    command = [sys.executable, "-m", "mttsg_cli", *arguments]
    return subprocess.Popen(  # type: ignore[call-overload]
        command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True, **options}
    )


def read_terminal(ours: int) -> bytes:
    """All that was printed on the other side of a pseudo-terminal; closes it."""
    printed = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        printed += block
    os.close(ours)
    return printed


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of 24 videos of moving shapes; see tools/make_corpus.py."""
    folder = tmp_path_factory.mktemp("corpus") / "data"
    make_corpus(folder, videos=24, size=64, workers=1)
    return folder


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `--config` file of a network that trains in a second."""
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    path.write_text(TINY_TOML)
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for features of the corpus; empty at first."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def trained(corpus: Path, cache: Path, settings: Path, mttsg: Mttsg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, trained on the corpus by the program. It has learned next to nothing, so that no calibration can
    be fitted: one is written into it.
    """
    folder = tmp_path_factory.mktemp("trained") / "model"
    ran = mttsg("train", corpus, "--out", folder, "--cache", cache, "--config", settings, "--workers", "1")
    assert ran.code == 0, ran.err
    calibrate(folder)
    return folder


def calibrate(folder: Path, slope: float = 1.25, shift: float = -0.5) -> None:
    """Write a calibration into a model folder, as a training with enough validation sentences does."""
    description = json.loads((folder / "config.json").read_text())
    description["calibration"] = {"slope": slope, "shift": shift}
    (folder / "config.json").write_text(json.dumps(description))


@pytest.fixture(scope="session")
def uncalibrated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `trained` without a calibration."""
    folder = tmp_path_factory.mktemp("uncalibrated") / "model"
    shutil.copytree(trained, folder)
    calibrate(folder, 1.0, 0.0)
    return folder


@pytest.fixture(scope="session")
def ground(mttsg: Mttsg, trained: Path, cache: Path) -> Mttsg:
    """`ground(ARGUMENT, ...)` runs `mttsg ground` with the trained model and the cached features."""
    return partial(mttsg, "ground", "--model", trained, "--cache", cache, "--workers", "1")


@pytest.fixture(scope="session")
def clip(corpus: Path) -> Path:
    """One video of the corpus."""
    return sorted((corpus / "videos").glob("*.mp4"))[0]


@pytest.fixture(scope="session")
def charades_clip() -> Path:
    """Features and annotations of real videos, which are not part of the project."""
    folder = SHARED / "charades_clip"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """Three real videos with human annotations, which are not part of the project."""
    folder = SHARED / "videos"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder
