"""Extraction on a cluster of Ray: two nodes of one CPU each, on this computer. Starting them takes some seconds."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
        time.sleep(0.05)


def test_features_are_those_of_this_computer(two_nodes: Any, videos: Path, tmp_path: Path, mttsg: Mttsg) -> None:
    local = mttsg("extract", videos, "--encoder", "classic", "--cache", tmp_path / "local", "--workers", 1)
    arguments = ("extract", videos, "--encoder", "classic", "--cache", tmp_path / "cluster", "--json")
    process = start_mttsg(*map(str, arguments), "--ray", two_nodes.address)
    out, err = (text.decode() for text in process.communicate())
    assert features_of(tmp_path / "cluster") == features_of(tmp_path / "local")
    assert len(features_of(tmp_path / "cluster")) == 12
    assert process.returncode == local.code == 1
    lines = [line.replace(str(tmp_path), "") for line in err.splitlines()]
    assert lines == [line.replace(str(tmp_path), "").replace("/local", "/cluster") for line in local.err.splitlines()]
    assert '"done": 12' in out


def test_a_node_that_is_killed_half_way_costs_nothing_but_time(
    two_nodes: Any, videos: Path, tmp_path: Path, mttsg: Mttsg
) -> None:
    out = tmp_path / "out"
    arguments = ("extract", videos, "--encoder", "classic", "--fps", 8, "--out", out, "--verbose")
    process = start_mttsg(*map(str, arguments), "--ray", two_nodes.address)
    wait_until(lambda: len(features_of(out)) >= 3)
    two_nodes.remove_node(next(iter(two_nodes.worker_nodes)), allow_graceful=False)
    done = len(features_of(out))
    print("done at kill", done)
    t = time.time()
    err = process.communicate()[1].decode()
    print(err, time.time() - t)
    assert 3 <= done < 12
    assert len(features_of(out)) == 12
    assert "begun again, as its worker on" in err
