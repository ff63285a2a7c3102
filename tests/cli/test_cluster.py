"""`--ray` and `--gpus-per-worker`, without a cluster: what is handed on, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mttsg_core.encoders import Encoder, build_encoder
from mttsg_core.errors import ConfigError
from mttsg_core.features import ray_cluster
from mttsg_core.features.cluster import ClusterOptions
from mttsg_core.features.extraction import extract
from mttsg_core.features.jobs import ExtractionEvent, ExtractionJob
from mttsg_core.features.settings import ExtractionSettings
from tests.conftest import Mttsg
from tests.helpers.video_files import write_video

Call = tuple[ClusterOptions, int | None, int]  # options, workers and number of videos


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What a cluster is asked for; this computer does it."""
    asked: list[Call] = []

    def extract_here(
        jobs: Sequence[ExtractionJob],
        encoder: Encoder,
        *,
        settings: ExtractionSettings,
        options: ClusterOptions,
        workers: int | None,
    ) -> Generator[ExtractionEvent, None, None]:
        asked.append((options, workers, len(jobs)))
        yield from extract(jobs, settings)

    monkeypatch.setattr(ray_cluster, "extract_on_ray", extract_here)
    return asked


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", range(25))


def test_extract_asks_the_cluster_for_what_is_missing(
    mttsg: Mttsg, calls: list[Call], video: Path, tmp_path: Path
) -> None:
    arguments = ("extract", video, "--encoder", "classic", "--out", tmp_path / "out", "--ray", "10.0.0.1:6379")
    assert mttsg(*arguments).code == 0
    assert (tmp_path / "out" / "a.safetensors").is_file()
    assert mttsg(*arguments, "--overwrite", "--workers", "40", "--device", "cuda").code == 0
    assert mttsg(*arguments).code == 0
    address = "10.0.0.1:6379"
    assert calls == [
        (ClusterOptions(address), None, 1),
        (ClusterOptions(address, device="cuda"), 40, 1),
        (ClusterOptions(address), None, 0),
    ]


def test_index_does_too(mttsg: Mttsg, calls: list[Call], corpus: Path, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    arguments = ("--model", trained, "--cache", tmp_path / "cache", "--index", tmp_path / "index", "--ray", "auto")
    video = sorted((corpus / "videos").glob("*.mp4"))[0]
    ran = mttsg("index", video, *arguments)
    assert ran.code == 0, ran.err
    assert "1 video in" in ran.err
    assert calls == [(ClusterOptions("auto"), None, 1)]


def test_gpus_are_for_a_cluster(mttsg: Mttsg, video: Path) -> None:
    ran = mttsg("extract", video, "--gpus-per-worker", "0.5")
    assert ran.code == 2
    assert ran.errors == [
        "error: --gpus-per-worker is for --ray ADDRESS: on this computer all workers share one encoder"
    ]
    ran = mttsg("extract", video, "--gpus-per-worker", "1.5", "--ray", "auto")
    assert ran.errors == ["error: 1.5 GPUs per worker: must be above 0, and whole if it is above 1"]


def test_without_ray_a_line_says_what_to_install(
    mttsg: Mttsg, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = mttsg("extract", video, "--encoder", "classic", "--out", tmp_path / "out", "--ray", "auto")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: a cluster needs Ray: install it with pip install 'mttsg[ray]'\n"


class TestGpus:
    """How many GPUs a worker takes."""

    HEAVY: Any = SimpleNamespace(runs_in_workers=False, settings={"encoder": "clip"})

    @pytest.mark.parametrize(
        ("options", "of_cluster", "expected"),
        [
            (ClusterOptions(), 0.0, 0.0),
            (ClusterOptions(), 2.0, 0.25),
            (ClusterOptions(device="cuda"), 2.0, 0.25),
            (ClusterOptions(gpus_per_worker=0.1), 2.0, 0.1),
            (ClusterOptions(device="cpu"), 2.0, 0.0),
        ],
    )
    def test_a_pretrained_encoder_takes_a_part(
        self, options: ClusterOptions, of_cluster: float, expected: float
    ) -> None:
        assert ray_cluster._gpus_per_worker(self.HEAVY, options, of_cluster) == expected

    @pytest.mark.parametrize(
        ("options", "of_cluster", "message"),
        [
            (ClusterOptions(device="cuda"), 0.0, "no node of the cluster has a GPU"),
            (ClusterOptions(device="cuda:1"), 2.0, "Ray chooses the GPU of a worker; use auto, cpu or cuda"),
            (ClusterOptions(gpus_per_worker=0.5), 0.0, "the cluster has no GPU; leave it out"),
            (ClusterOptions(gpus_per_worker=0.5, device="cpu"), 2.0, "encoder clip on device cpu uses no GPU"),
        ],
    )
    def test_what_cannot_be_had(self, options: ClusterOptions, of_cluster: float, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            ray_cluster._gpus_per_worker(self.HEAVY, options, of_cluster)

    def test_a_light_encoder_takes_none(self) -> None:
        assert ray_cluster._gpus_per_worker(build_encoder("classic"), ClusterOptions(), 2.0) == 0
        with pytest.raises(ConfigError, match="encoder classic on device auto uses no GPU; leave it out"):
            ray_cluster._gpus_per_worker(build_encoder("classic"), ClusterOptions(gpus_per_worker=0.5), 2.0)
