"""`mttsg train --seeds` and `mttsg ablate`."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from make_corpus import TINY_NETWORK
from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.checkpoints.registry import finished_runs
from mttsg_core.data.splits import write_pairs
from tests.conftest import Mttsg, start_mttsg
from tests.helpers.tiny import dataset


@pytest.fixture(autouse=True)
def _own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of features only."""
    folder = tmp_path / "data"
    for name, videos in (("train", 6), ("val", 2)):
        write_pairs(dataset(folder / "features", videos, name=name).pairs, folder / f"{name}.jsonl")
    return folder


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """Settings of a network that trains at once."""
    path = tmp_path / "quick.toml"
    path.write_text("epochs = 1\nbatch_videos = 3\nseed = 5\n" + TINY_NETWORK)
    return path


def test_several_seeds(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    arguments = ["train", data, "--out", tmp_path / "runs", "--config", quick]
    ran = mttsg(*arguments, "--seeds", "1,3", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert [run["seed"] for run in report["runs"]] == [1, 3]
    values = [run["mIoU"] for run in report["runs"]]
    assert report["mIoU"] == pytest.approx(sum(values) / 2)
    assert report["spread"]["mIoU"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert "run 2 of 2: seed 3" in ran.err and "2 seeds: R@1,IoU=0.5 " in ran.err
    assert f"to measure them: mttsg compare {data} runs=" in ran.err
    folders = [tmp_path / "runs" / f"seed-{seed}" for seed in (1, 3)]
    for seed, folder in zip((1, 3), folders, strict=True):
        load_model(folder)
        assert json.loads((folder / "run.json").read_text())["seed"] == seed
    mttsg("train", data, "--out", tmp_path / "alone", "--config", quick, "--seed", "3")
    assert (tmp_path / "alone" / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()

    ran = mttsg(*arguments, "--seeds", "1,3")
    assert (ran.code, len(ran.errors)) == (2, 1) and "already has a model" in ran.err
    kept = [(folder / "model.safetensors").stat().st_mtime_ns for folder in folders]
    ran = mttsg(*arguments, "--seeds", "1,3,4", "--resume", "--json")
    assert ran.code == 0, ran.err
    assert [run["seed"] for run in json.loads(ran.out)["runs"]] == [1, 3, 4]
    assert "3 runs, 2 of them done before" in ran.err
    assert [(folder / "model.safetensors").stat().st_mtime_ns for folder in folders] == kept


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--seeds", "0"], "--seeds: how many, as in 3, or which, as in 0,1,2"),
        (["--seeds", "two"], "--seeds: numbers separated by commas"),
        (["--seeds", "-1,2"], "--seeds: how many"),
        (["--seeds", "2", "--seed", "1"], "name all of them with --seeds"),
        (["--seeds", "2", "--set", "training.seed=1"], "name all of them with --seeds"),
        (["--seeds", "2", "--push", "ada/model"], "of several seeds none is pushed"),
    ],
)
def test_seeds_that_cannot_be_are_refused(
    mttsg: Mttsg, data: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    ran = mttsg("train", data, "--out", tmp_path / "runs", *options)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert reason in ran.err
    assert not (tmp_path / "runs").exists()


def test_seeds_need_a_folder(mttsg: Mttsg, data: Path) -> None:
    ran = mttsg("train", data, "--seeds", "2")
    assert (ran.code, ran.errors) == (2, ["error: --seeds: name the folder of the runs with --out"])


def test_an_ablation_in_every_format(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    arguments = ["ablate", data, "--out", tmp_path / "a", "--config", quick, "--seeds", "2"]
    arguments += ["--without", "objects,activities", "--set", "loss.intra=0,0.4", "--set", "loss.offset=0.2"]
    ran = mttsg(*arguments)
    assert ran.code == 0, ran.err
    variants = ["whole method", "without objects and activities", "loss.intra=0.0", "loss.intra=0.4"]
    assert all(name in ran.out for name in variants) and "paired bootstrap over videos" in ran.out
    assert "run 8 of 8: loss.intra=0.4, seed 1" in ran.err and "epoch 1: loss" not in ran.err
    for form, start in (("md", "| | "), ("latex", "% val:"), ("csv", "system,seeds,"), ("json", "{")):
        again = mttsg(*arguments, "--format", form)
        assert again.code == 0, again.err
        assert again.out.startswith(start) and "run 1 of 8" not in again.err
    report = json.loads(again.out)
    assert [system["name"] for system in report["systems"]] == variants
    assert set(report["systems"][1]["against_first"]["mIoU"]) >= {"difference", "interval", "p"}
    assert report["systems"][1]["spread"]["mIoU"] >= 0
    config = json.loads((tmp_path / "a" / "loss.intra=0.4" / "seed-1" / "config.json").read_text())
    assert (config["training"]["loss"]["intra"], config["training"]["loss"]["offset"]) == (0.4, 0.2)
    assert finished_runs() == []  # no variant becomes the default model


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--without", "object"], "did you mean 'objects'"),
        (["--set", "loss.contrst=0.1,0.2"], "did you mean 'loss.contrast'"),
        (["--set", "loss.contrast=0.1,-2"], "at least 0"),
        (["--set", "loss.contrast=0.1,0.2", "--set", "loss.contrast=0.3,0.4"], "given twice"),
        (["--folds", "2"], "at least 3"),
        (["--folds", "3", "--share", "0.5"], "give one of them"),
        (["--share", "1.5"], "less than 1"),
        (["--split", "tset"], "no split 'tset'"),
        (["--format", "xml"], "--format xml: not one of"),
    ],
)
def test_an_ablation_that_cannot_be_is_refused_before_any_work(
    mttsg: Mttsg, data: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    ran = mttsg("ablate", data, "--out", tmp_path / "a", *options)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert reason in ran.err
    assert not (tmp_path / "a").exists()


def test_a_killed_ablation_goes_on(mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["ablate", data, "--out", tmp_path / "a", "--config", quick, "--seeds", "1"]
    arguments += ["--without", "objects"]
    process = start_mttsg(*arguments, "--epochs", "3")
    log = tmp_path / "a" / "without-objects" / "seed-0" / "log.jsonl"
    while process.poll() is None and not log.exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    first = tmp_path / "a" / "whole-method" / "seed-0" / "model.safetensors"
    written = first.stat().st_mtime_ns
    ran = mttsg(*arguments, "--epochs", "3", "--json")
    assert ran.code == 0, ran.err
    assert first.stat().st_mtime_ns == written
    assert [system["name"] for system in json.loads(ran.out)["systems"]] == ["whole method", "without objects"]
    assert len(log.read_text().splitlines()) == 3
