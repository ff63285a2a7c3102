"""`mttsg serve` as a program: its one line, its options, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from make_corpus import TINY_NETWORK
from tests.conftest import Mttsg, start_mttsg
from tests.helpers.video_files import write_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one video."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", range(100))
    return tmp_path / "videos"


class Page:
    """A running server, and requests to it."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = start_mttsg("serve", *arguments, "--port", "0", stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        self.lines: list[str] = []
        while not (self.lines and "http://" in self.lines[-1]):
            line = self.process.stderr.readline().decode()
            assert line, self.lines
            self.lines.append(line)
        match = re.search(r"http://\S+", self.lines[-1])
        assert match is not None
        self.address = match[0]

    def send(self, method: str, path: str, body: object = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        base = self.address.partition("?")[0]
        request = Request(base + path, data, {"content-type": "application/json"}, method=method)
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def state(self) -> dict[str, object]:
        state = self.send("GET", "api/state")
        assert isinstance(state, dict)
        return state

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal to the server alone; return its exit code and what it said last."""
        os.kill(self.process.pid, number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err.decode()


@pytest.mark.subprocess
def test_it_says_where_it_is_and_ends_with_its_terminal(folder: Path, trained: Path, cache: Path) -> None:
    page = Page(folder, "--model", trained, "--cache", cache)
    assert page.lines[-1] == f"serving videos: {page.address} (Ctrl-C ends it)\n"
    with urlopen(page.address, timeout=30) as answer:
        assert b"<title>mttsg</title>" in answer.read()
    code, said = page.end(signal.SIGHUP)
    assert code == 128 + signal.SIGHUP
    assert said.endswith("finished work is kept\n")
    assert "Traceback" not in said


@pytest.mark.subprocess
def test_ctrl_c_ends_a_training_too(
    folder: Path, trained: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    data, settings = tmp_path / "data", tmp_path / "settings.toml"
    settings.write_text(f"[training]\nepochs = 99999\n{TINY_NETWORK}")
    page = Page(folder, "--model", trained, "--cache", cache, "--config", settings, "--data", data)
    while not page.state()["videos"]:
        time.sleep(0.05)
    [video] = page.send("GET", "api/videos")["videos"]  # type: ignore[index]
    page.send("POST", "api/rows", {"video": video["id"], "query": "q", "kind": "right", "start": 1, "end": 2})
    page.send("POST", "api/training", {})
    while "epoch" not in str(page.state()["training"]):
        time.sleep(0.05)
    [log] = (tmp_path / "home").rglob("log.jsonl")
    code, said = page.end(signal.SIGINT)
    assert (code, "Traceback" in said) == (130, False)
    epochs = log.read_text()
    time.sleep(0.5)
    assert log.read_text() == epochs  # nobody trains on


@pytest.mark.subprocess
def test_beyond_this_computer_only_with_a_token(folder: Path, trained: Path, cache: Path) -> None:
    page = Page(folder, "--model", trained, "--cache", cache, "--host", "0.0.0.0")
    assert re.search(r"/\?token=\S{32}$", page.address)
    with pytest.raises(HTTPError, match="401"):
        page.state()
    with urlopen(page.address, timeout=30) as answer:
        assert "HttpOnly" in answer.headers["set-cookie"]
    assert page.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM


def test_what_cannot_be_served_is_one_line(mttsg: Mttsg, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other" / "videos").mkdir(parents=True)
    for arguments, said in (
        ([tmp_path / "absent"], "absent"),
        ([folder, "--host", "192.0.2.7", "--port", "0"], "--host 192.0.2.7"),
        ([folder, "--clips", tmp_path / "file"], "is a file, not a folder"),
        ([folder, "--data", tmp_path / "other"], "--data"),
    ):
        ran = mttsg("serve", *arguments)
        assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
        assert said in ran.errors[0]


def test_without_its_packages_it_says_what_to_install(folder: Path) -> None:
    program = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['mttsg', 'serve', sys.argv[1]]; "
        "from mttsg_cli.__main__ import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (2, "error: the page needs two packages: pip install 'mttsg[serve]'\n")
