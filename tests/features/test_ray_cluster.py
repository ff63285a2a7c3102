"""Extraction on a cluster of Ray: two nodes of one CPU each, on this computer. Starting them takes some seconds."""

from __future__ import annotations

import json
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster with one node. What Ray writes is in a folder with a short name, as names of sockets are limited."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        started = Cluster(initialize_head=True, head_node_args=NODE)
        try:
            yield started
        finally:
            started.shutdown()


@pytest.fixture(scope="module")
def two_nodes(cluster: Any) -> Any:
    """The cluster with a second node."""
    cluster.add_node(**NODE)
    return cluster


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos, with a broken one and a text among them."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(12):
        write_video(folder / f"{number}.mp4", range(25 * (1 + number % 3)), first=40 * number)
    (folder / "broken.mp4").write_bytes((folder / "0.mp4").read_bytes()[:600])
    return folder


def features_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.safetensors")}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_interrupted_on_two_nodes_then_finished_though_one_is_killed(
    two_nodes: Any, videos: Path, tmp_path: Path, mttsg: Mttsg
) -> None:
    """The features are those of this computer, to the bit, and so are the failures."""
    out = tmp_path / "out"
    extract = ("extract", str(videos), "--encoder", "classic", "--fps", "6", "--out")
    local = mttsg(*extract, tmp_path / "local", "--workers", "1")
    expected = features_of(tmp_path / "local")
    assert len(expected) == 12

    interrupted = start_mttsg(*extract, str(out), "--ray", two_nodes.address)
    wait_until(lambda: len(features_of(out)) >= 1)
    interrupted.send_signal(signal.SIGINT)
    err = interrupted.communicate()[1].decode()
    assert err.splitlines()[-1] == "interrupted; finished work is kept"
    assert interrupted.returncode == 130
    kept = features_of(out)
    assert len(kept) < 12
    assert not [path for path in out.rglob("*") if path.is_file() and path.suffix != ".safetensors"]

    finishing = start_mttsg(*extract, str(out), "--ray", two_nodes.address, "--verbose", "--json")
    wait_until(lambda: len(features_of(out)) > len(kept))
    two_nodes.remove_node(next(iter(two_nodes.worker_nodes)), allow_graceful=False)
    assert len(features_of(out)) < 12, "killed before the end"
    printed, err = (text.decode() for text in finishing.communicate())
    assert features_of(out) == expected
    assert "begun again, as its worker on" in err
    assert err.count("features of") - 1 == 12 - len(kept), "what exists is not extracted again"
    assert finishing.returncode == local.code == 1
    assert [line for line in err.splitlines() if line.startswith("error: ")] == local.errors
    assert json.loads(printed)["done"] == 12
    assert "ray" not in err.replace(str(tmp_path), "").replace(str(videos), "").lower()


def test_a_node_with_another_version_is_named(
    cluster: Any, videos: Path, tmp_path: Path, mttsg: Mttsg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "__version__", "9.9")
    before = signal.getsignal(signal.SIGTERM)
    ran = mttsg("extract", videos, "--encoder", "classic", "--out", tmp_path / "out", "--ray", cluster.address)
    assert ran.code == 2
    [error] = ran.errors
    assert f"has mttsg {mttsg_core.__version__}, and this computer 9.9: install mttsg==9.9 on every node" in error
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(ray_cluster, "_VERSION", "mttsg_of_no_node:__version__")
    ran = mttsg("extract", videos, "--encoder", "classic", "--out", tmp_path / "out", "--ray", cluster.address)
    assert "has no mttsg, and this computer 9.9: install" in ran.errors[0]


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
            RuntimeError(
                "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.1\nThis ..."
            ),
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
