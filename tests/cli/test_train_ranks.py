"""`mttsg train` as one of several processes: what all of them have alike is said once on each machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.data.splits import write_pairs
from tests.conftest import Mttsg
from tests.helpers.tiny import dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of features only."""
    folder = tmp_path / "data"
    write_pairs(dataset(folder / "features", 4).pairs, folder / "train.jsonl")
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epohcs", "3"], "did you mean --epochs"),
        (["--epochs", "many"], "--epochs"),
        (["--without", "offset"], "did you mean 'offsets'"),
        (["--features", "nowhere"], "nowhere"),
        (["--device", "cuda:x"], "unknown device"),
        (["--seeds", "2", "--out", "runs"], "torchrun is for mttsg train with one seed"),
    ],
)
def test_an_error_of_all_processes_is_said_by_the_first_of_each_machine(
    mttsg: Mttsg, data: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(data.parent)
    place = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank % 2))
        ran = mttsg("train", data, *options)
        assert (ran.code, ran.out) == (2, "")
        assert len(ran.errors) == (0 if rank % 2 else 1)
        assert message in ran.err or rank % 2
