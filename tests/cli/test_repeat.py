"""A model and its predictions made again from what they record of themselves."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from make_corpus import TINY_NETWORK
from mttsg_core.data.splits import write_pairs
from mttsg_core.features.store import read_features
from tests.conftest import Mttsg
from tests.helpers.tiny import dataset


@pytest.fixture(autouse=True)
def _own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data folder, features beside it, and settings in two files."""
    folder = tmp_path / "here"
    for name, videos in (("train", 8), ("val", 3)):
        write_pairs(dataset(folder / "features", videos, name=name).pairs, folder / "data" / f"{name}.jsonl")
    for path in (folder / "features").iterdir():  # as another program made them
        np.save(path.with_suffix(".npy"), read_features(path).clips)
        path.unlink()
    (folder / "data" / "mttsg.toml").write_text("[loss]\ncontrast = 0.1\n")
    (folder / "quick.toml").write_text("epochs = 2\nbatch_videos = 3\n" + TINY_NETWORK)
    monkeypatch.chdir(folder)
    return folder


def run(mttsg: Mttsg, *words: str) -> None:
    ran = mttsg(*words)
    assert ran.code == 0, ran.err


def test_the_recorded_command_gives_equal_predictions_elsewhere(
    mttsg: Mttsg, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--config", "quick.toml", "--set", "loss.intra=0.3", "--seed", "4", "--without", "objects"]
    run(mttsg, "train", "data", "--out", "m", "--features", str(here / "features"), *options)
    evaluation = [
        "evaluate",
        "data",
        "--model",
        "m",
        "--split",
        "val",
        "--features",
        "features",
        "--out",
        "answers.jsonl",
    ]
    run(mttsg, *evaluation)
    record = json.loads(Path("m/run.json").read_text())
    assert str(here) not in json.dumps(record)
    assert "--config quick.toml" in record["command"] and "--config" not in record["repeat"]
    for name, command in (("typed", record["command"]), ("full", record["repeat"])):
        there = tmp_path / name
        shutil.copytree(here / "data", there / "data")
        shutil.copytree(here / "features", there / "features")
        if name == "typed":
            shutil.copy(here / "quick.toml", there)
        monkeypatch.chdir(there)
        run(mttsg, *shlex.split(command)[1:])
        run(mttsg, *evaluation)
        again = json.loads(Path("m/run.json").read_text())
        assert (again["rows"], again["features"]["digest"]) == (record["rows"], record["features"]["digest"])
        assert again["repeat"] == record["repeat"]
        assert Path("answers.jsonl").read_bytes() == (here / "answers.jsonl").read_bytes()
