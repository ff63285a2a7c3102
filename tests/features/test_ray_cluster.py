"""Extraction on a cluster of Ray: two nodes of one CPU each, on this computer. Starting them takes some seconds."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mttsg_core
from mttsg_core.features import ray_cluster
from tests.conftest import Mttsg, start_mttsg
from tests.helpers.video_files import write_video

ray = pytest.importorskip("ray", reason="Ray is not installed")
from ray.cluster_utils import Cluster  # noqa: E402 -- after the check for Ray

pytestmark = [
    pytest.mark.slow,
    pytest.mark.subprocess,
    pytest.mark.skipif(sys.platform == "win32", reason="Ray has no clusters of several nodes on Windows"),
]
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of two nodes. What Ray writes is in a folder with a short name, as names of sockets are limited."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        started = Cluster(initialize_head=True, head_node_args=NODE)
        try:
            started.add_node(**NODE)
            yield started
        finally:
            started.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos, large enough that a few of them take a second, and a broken one."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        video = write_video(folder / f"{number}.mp4", range(200 + 100 * number), first=500 * number, size=(320, 240))
        for copy in range(3):
            shutil.copy(video, folder / f"{number}-{copy}.mp4")
    (folder / "broken.mp4").write_bytes((folder / "0.mp4").read_bytes()[:600])
    return folder


def features_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.safetensors")}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_nodes_do_what_this_computer_does(
    cluster: Any, videos: Path, tmp_path: Path, mttsg: Mttsg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted, and finished though a node is killed, features and failures are equal, to the bit.

    One test, as starting a cluster takes longer than all of it.
    """
    out = tmp_path / "out"
    arguments = ("extract", str(videos), "--encoder", "classic", "--fps", "8", "--out")
    local = mttsg(*arguments, tmp_path / "local", "--workers", "1")
    expected = features_of(tmp_path / "local")
    assert len(expected) == 12

    refuses_other_versions(partial(mttsg, *arguments, out, "--ray", cluster.address), monkeypatch)
    kept = is_interrupted(start_mttsg(*arguments, str(out), "--ray", cluster.address), out)

    finishing = start_mttsg(*arguments, str(out), "--ray", cluster.address, "--verbose", "--json")
    wait_until(lambda: len(features_of(out)) > kept)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    printed, err = (text.decode() for text in finishing.communicate())
    assert features_of(out) == expected
    assert "begun again, as its worker on" in err
    assert err.count(" s of video") == 12 - kept, "what exists is not extracted again"
    assert finishing.returncode == local.code == 1
    assert [line for line in err.splitlines() if line.startswith("error: ")] == local.errors
    assert json.loads(printed)["done"] == 12
    assert "ray" not in err.replace(str(tmp_path), "").replace(str(videos), "").lower()


def refuses_other_versions(run: Mttsg, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a node with another version of this program, or none, is named."""
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(ray_cluster, "__version__", "9.9")
        ran = run()
        assert ran.code == 2
        [error] = ran.errors
        assert f"has mttsg {mttsg_core.__version__}, and this computer 9.9: install mttsg==9.9 on every node" in error
        patch.setattr(ray_cluster, "_VERSION", "mttsg_of_no_node:__version__")
        assert "has no mttsg, and this computer 9.9: install" in run().errors[0]
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is before


def is_interrupted(process: subprocess.Popen[bytes], out: Path) -> int:
    """Interrupt the program after its first video, check what it leaves, and return how many videos are done."""
    wait_until(lambda: len(features_of(out)) >= 1)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].decode().splitlines()[-1] == "interrupted; finished work is kept"
    assert process.returncode == 130
    kept = len(features_of(out))
    assert kept < 12
    assert not [path for path in out.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    return kept


@pytest.fixture
def refused(videos: Path, tmp_path: Path, mttsg: Mttsg, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """`refused(ADDRESS)` gives the only line that is printed where no cluster is to be found."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def run(address: str) -> str:
        ran = mttsg("extract", videos, "--encoder", "classic", "--out", tmp_path / "out", "--ray", address)
        assert (ran.code, ran.out) == (2, "")
        [line] = ran.err.splitlines()
        return line

    return run


def test_where_there_is_no_cluster_a_line_says_so_at_once(
    refused: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{taken.getsockname()[1]}"  # nobody listens there
        for address in (closed, "nonsense", "localhost:port", "ray://" + closed):
            assert refused(address).startswith(f"error: no cluster of Ray at {address} (")
        note = tmp_path / "ray" / "ray_current_cluster"
        note.parent.mkdir()
        note.write_text(closed)  # of a cluster that was not stopped in good order
        assert refused("auto").startswith(f"error: no cluster of Ray at {closed} noted in {note} (")
        monkeypatch.setenv("RAY_ADDRESS", closed)
        assert refused("auto").startswith(f"error: no cluster of Ray at {closed} of RAY_ADDRESS (")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ConnectionError("Could not find any running Ray instance."),
            "no cluster of Ray on this computer: start one with ray start --head, or name one as HOST:PORT",
        ),
        (
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.1\n"),
            "the cluster at auto has other versions than this computer: The cluster was started with: Ray: 2.9.0 "
            "Python: 3.9.1",
        ),
    ],
)
def test_what_ray_itself_refuses_is_a_line(
    refused: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def init(**options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    assert refused("auto") == f"error: {line}"
