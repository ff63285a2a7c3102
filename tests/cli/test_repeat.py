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


def test_predictions_and_pages_say_where_they_come_from(mttsg: Mttsg, here: Path) -> None:
    run(mttsg, "train", "data", "--out", "m", "--features", "features", "--config", "quick.toml")
    made = Path("m/run.json").read_text()
    assert json.loads(made)["features"]["of"] == "content"
    page = Path("m/report.html").read_text()
    assert json.loads(made)["features"]["digest"][:19] in page and "CPU threads" in page
    options = ["--model", "m", "--split", "val", "--features", "features", "--html", "page.html"]
    run(mttsg, "evaluate", "data", *options, "--out", "answers.jsonl")
    record = json.loads(Path("answers.provenance.json").read_text())
    assert str(here) not in json.dumps(record)
    assert record["command"].startswith("mttsg evaluate data --split val --out answers.jsonl")
    assert (record["predictions"], record["data"], record["split"]) == ("answers.jsonl", "data", "val")
    assert record["rows"].startswith("sha256:") and record["features"]["videos"] == 3
    assert (record["device"], record["threads"]) == ("cpu", 1)
    assert record["seconds"] > 0 and record["mttsg"] and record["torch"] and record["started"]
    assert record["model"]["training"] == json.loads(made) and record["model"]["weights"].startswith("sha256:")
    page = Path("page.html").read_text()
    assert record["rows"][:19] in page and record["features"]["digest"][:19] in page and record["torch"] in page
    # The file beside the predictions is not a prediction, and is kept unless told otherwise.
    ran = mttsg("compare", "data", "ours=answers.*", "--split", "val", "--features", "features", "--json")
    assert ran.code == 0, ran.err
    Path("answers.jsonl").unlink()
    Path("page.html").unlink()
    ran = mttsg("evaluate", "data", *options, "--out", "answers.jsonl")
    assert (ran.code, ran.errors) == (2, ["error: answers.provenance.json: exists already; use --overwrite"])
