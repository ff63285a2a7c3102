"""`mttsg config`, and `--set` in `mttsg train`."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from make_corpus import TINY_NETWORK
from mttsg_core.config import TABLES
from mttsg_core.data.splits import write_pairs
from tests.conftest import Mttsg
from tests.helpers.tiny import dataset, model_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of features, with defaults of its own."""
    folder = tmp_path / "data"
    write_pairs(dataset(folder / "features").pairs, folder / "train.jsonl")
    (folder / "mttsg.toml").write_text('encoder = "classic"\nepochs = 3\n[loss]\ncontrast = 0.1\nobjects = 0.7\n')
    return folder


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """Settings of a network that trains at once."""
    path = tmp_path / "quick.toml"
    path.write_text("epochs = 1\nbatch_videos = 3\n" + TINY_NETWORK)
    return path


def by_key(shown: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Value and source of each setting."""
    return {f"{one['table']}.{one['name']}": (one["value"], one["from"]) for one in shown["settings"]}


def test_every_setting_is_listed_with_default_range_and_meaning(mttsg: Mttsg) -> None:
    wanted = [(table, field.name) for table, kind in TABLES.items() for field in fields(kind)]
    shown = json.loads(mttsg("config", "--json").out)["settings"]
    assert [(one["table"], one["name"]) for one in shown] == wanted
    assert all(one["meaning"] and one["range"] for one in shown)
    for form in ("table", "md"):
        text = mttsg("config", "--format", form).out
        assert all(name in text for _, name in wanted)


def test_the_table_fits_a_narrow_terminal(mttsg: Mttsg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mttsg_cli.terminal._UNLIMITED", 80)
    lines = mttsg("config").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("calibration_sentences" in line for line in lines) == 1


def test_values_of_a_data_folder_say_where_they_come_from(mttsg: Mttsg, data: Path, quick: Path) -> None:
    shown = json.loads(mttsg("config", data, "--json").out)
    assert (shown["data"], shown["options"]) == (str(data), {"encoder": "classic"})
    values = by_key(shown)
    assert values["training.epochs"] == (3, "mttsg.toml")
    assert values["loss.contrast"] == (0.1, "mttsg.toml")
    assert values["loss.intra"] == (0.15, "default")
    over = by_key(json.loads(mttsg("config", data, "--config", quick, "--set", "loss.contrast=0.9", "--json").out))
    assert over["training.epochs"] == (1, "--config")
    assert over["network.width"] == (16, "--config")
    assert over["loss.contrast"] == (0.9, "--set")
    assert over["loss.objects"] == (0.7, "mttsg.toml")
    text = mttsg("config", data).out
    assert "encoder: classic" in text and "mttsg.toml" in text


def test_values_of_a_model(mttsg: Mttsg, tmp_path: Path, quick: Path) -> None:
    folder = model_folder(tmp_path / "m", contrast=False)
    values = by_key(json.loads(mttsg("config", folder, "--json").out))
    assert values["network.contrast"] == (False, "config.json")
    assert values["network.clip_dim"] == (6, "config.json")
    assert values["training.epochs"] == (0, "default")
    ran = mttsg("config", folder, "--config", quick)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    ran = mttsg("config", tmp_path / "absent")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)


def test_the_toml_is_a_config_file_that_trains_the_same_network(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path
) -> None:
    written = mttsg("config", data, "--config", quick, "--set", "loss.contrast=0.25", "--format", "toml").out
    path = tmp_path / "all.toml"
    path.write_text(written.replace('encoder = "classic"\n', ""))  # the folder has other features
    for name, options in (("a", [path]), ("b", [quick, "--set", "loss.contrast=0.25"])):
        ran = mttsg("train", data, "--out", tmp_path / name, "--config", *options)
        assert ran.code == 0, ran.err
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in "ab")
    assert first == second
    assert first["training"]["loss"]["contrast"] == 0.25 and first["training"]["loss"]["objects"] == 0.7
    assert by_key(json.loads(mttsg("config", "--config", path, "--json").out))["training.epochs"] == (1, "--config")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["losses.contrast=1"], "did you mean 'loss.contrast'"),
        (["loss.contrst=1"], "did you mean 'loss.contrast'"),
        (["lr=1"], "did you mean 'training.lr'"),
        (["contrast=1"], "did you mean 'loss.contrast' or 'network.contrast'"),
        (["loss.contrast=-1"], "loss.contrast = -1: must be at least 0"),
        (["loss.contrast=much"], "not a number"),
        (["loss.contrast"], "not TABLE.NAME=VALUE"),
        (["loss.contrast=0.1,0.2"], "one value"),
        (["network.clip_dim=4"], "the features decide it"),
        (["loss.contrast=0.1", "loss.contrast=0.2"], "given twice"),
        (["training.epochs=2"], "contradicts --epochs"),
        (["network.offsets=true"], "contradicts --without"),
    ],
)
def test_a_setting_that_cannot_be_changed_is_refused_before_any_work(
    mttsg: Mttsg, data: Path, tmp_path: Path, given: list[str], reason: str
) -> None:
    options = [word for text in given for word in ("--set", text)]
    ran = mttsg("train", data, "--out", tmp_path / "m", "--epochs", "1", "--without", "offsets", *options)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert reason in ran.err
    assert not (tmp_path / "m").exists()


def test_set_counts_more_than_the_file_and_the_data_folder(
    mttsg: Mttsg, data: Path, quick: Path, tmp_path: Path
) -> None:
    options = ["--set", "training.epochs=2", "--set", "loss.contrast=0.4", "--set", "network.offsets=false"]
    ran = mttsg("train", data, "--out", tmp_path / "m", "--config", quick, *options)
    assert ran.code == 0, ran.err
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["training"]["epochs"] == 2
    assert (config["training"]["loss"]["contrast"], config["network"]["offsets"]) == (0.4, False)


def test_an_unknown_name_in_the_file_of_a_training_is_refused(mttsg: Mttsg, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    for text, near in (("epoch = 3\n", "epochs"), ("[loss]\ncontrst = 1\n", "contrast")):
        path.write_text(text)
        ran = mttsg("config", "--config", path)
        assert (ran.code, ran.out) == (2, "")
        assert f"did you mean '{near}'" in ran.err
