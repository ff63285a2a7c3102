"""`mttsg models`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_core.checkpoints.registry import remember_run
from tests.conftest import Mttsg


@pytest.fixture(autouse=True)
def _own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture
def two(trained: Path, corpus: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A numbered run, and a newer one in a folder of its own."""
    folders = tmp_path / "home" / "mttsg" / "runs" / "0007", tmp_path / "mine"
    for folder in folders:
        shutil.copytree(trained, folder)
        assert remember_run(folder, [corpus])
        (folder / "report.json").write_text((folder / "report.json").read_text())
    return folders


def test_without_any(mttsg: Mttsg) -> None:
    ran = mttsg("models")
    assert (ran.code, ran.out, ran.err) == (0, "", "no model yet: train one with 'mttsg train DATA'\n")
    assert json.loads(mttsg("models", "--json").out) == {"models": []}


def test_the_newest_is_first_and_its_folder_is_named(mttsg: Mttsg, two: tuple[Path, Path]) -> None:
    ran = mttsg("models")
    assert (ran.code, ran.err) == (0, "")
    lines = [line for line in ran.out.splitlines() if line.strip() and "─" not in line]
    assert lines[0].split() == ["date", "data", "videos", "encoder", "R@1≥0.5", "R@1≥0.7", "mIoU"]
    assert [line.split()[0] for line in lines[1:3]] == ["mine", "7"]
    assert lines[1].split()[2:5] == ["data", "19", "classic"]
    assert lines[3:] == [f"mine: {two[1]}"]
    assert max(map(len, lines[:3])) <= 80


def test_as_json(mttsg: Mttsg, two: tuple[Path, Path]) -> None:
    mine, numbered = json.loads(mttsg("models", "--json").out)["models"]
    assert (mine["folder"], mine["number"], numbered["folder"], numbered["number"]) == (
        str(two[1]),
        None,
        str(two[0]),
        7,
    )
    assert (mine["data"], mine["videos"], mine["encoder"], mine["text_encoder"]) == ("data", 19, "classic", "hashed")
    assert mine["sentences"] == 96 and mine["validation_sentences"] > 0
    assert 0 <= mine["metrics"]["mIoU"] <= 100


def test_show_prints_where_a_model_comes_from(mttsg: Mttsg, two: tuple[Path, Path], corpus: Path) -> None:
    shown = {name: json.loads(mttsg("models", "--show", name, "--json").out) for name in ("7", "last", str(two[1]))}
    assert shown["last"] == shown[str(two[1])]
    provenance = shown["7"]["provenance"]
    assert provenance["command"] == "mttsg train data --out model --cache cache0 --workers 1 --config tiny.toml"
    assert (provenance["data"], provenance["seed"], provenance["device"]) == ("data", 0, "cpu")
    assert provenance["seconds"] > 0 and provenance["rows"].startswith("sha256:")
    assert shown["7"]["settings"]["training"]["epochs"] == 2
    text = mttsg("models", "--show", "7").out
    for line in ("  number: 7", "  seed: 0", "  training.epochs: 2", "  features.encoder: classic"):
        assert line in text.splitlines()
    assert shown["7"]["here"]["data"][0] == str(corpus)
    assert str(corpus.parent) not in json.dumps({**shown["7"], "here": None})
    ran = mttsg("models", "--show", "99")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)


def test_listing_needs_no_torch(two: tuple[Path, Path]) -> None:
    program = """
import sys
from typer.testing import CliRunner
from mttsg_cli.app import app
assert "mine" in CliRunner().invoke(app, ["models"]).output
print("torch" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
