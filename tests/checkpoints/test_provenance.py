"""What a model folder records about where it comes from."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import mttsg_core
from mttsg_core.checkpoints.files import PROVENANCE
from mttsg_core.checkpoints.provenance import Computation, Provenance, rows_digest
from mttsg_core.checkpoints.summary import summarise
from mttsg_core.data.pairs import Pair
from mttsg_core.utils import source

PAIRS = [Pair("1", "a", "a dog", ((1.0, 2.0),)), Pair("2", "b", "ein Tür", ((0.0, 4.5), (6.0, 7.0)))]


def test_the_record_tells_nothing_of_the_computer(tmp_path: Path) -> None:
    command = ["mttsg", "train", str(tmp_path / "my data"), "--out", "model", "--features", "/mnt/secret/features"]
    made = Provenance(
        data="my data",
        rows=rows_digest(PAIRS),
        features={"digest": "sha256:0"},
        videos=2,
        sentences=2,
        validation_sentences=1,
        seed=3,
        computation=Computation.starting(command, device="cpu", threads=2),
    )
    made.save(tmp_path, 12.5)
    text = (tmp_path / PROVENANCE).read_text()
    assert str(tmp_path) not in text and "secret" not in text
    record = json.loads(text)
    assert record["command"] == "mttsg train 'my data' --out model --features features"
    assert (record["data"], record["features"], record["videos"]) == ("my data", {"digest": "sha256:0"}, 2)
    assert (record["device"], record["threads"], record["seed"], record["seconds"]) == ("cpu", 2, 3, 12.5)
    assert record["mttsg"] == mttsg_core.__version__ and record["torch"] and record["python"]


def test_the_digest_is_that_of_what_is_learned() -> None:
    first = rows_digest(PAIRS)
    assert first.startswith("sha256:") and len(first) == 71
    assert rows_digest(reversed(PAIRS)) == first
    assert rows_digest([replace(pair, id="x", line=9, duration=3.0) for pair in PAIRS]) == first
    assert rows_digest([PAIRS[0], replace(PAIRS[1], query="eine Tür")]) != first
    assert rows_digest([PAIRS[0], replace(PAIRS[1], moments=((0.0, 4.5),))]) != first


def test_the_commit_is_that_of_the_packages_own_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source.source_commit.cache_clear()
    package = tmp_path / "project" / "venv" / "mttsg_core"
    package.mkdir(parents=True)
    monkeypatch.setattr(mttsg_core, "__file__", str(package / "__init__.py"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path / "project")]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert source.source_commit() is None  # it is the repository of somebody else
    source.source_commit.cache_clear()
    monkeypatch.setattr(mttsg_core, "__file__", str(tmp_path / "project" / "mttsg_core" / "__init__.py"))
    assert len(source.source_commit() or "") == 40
    source.source_commit.cache_clear()


@pytest.mark.parametrize("content", ["", "{}", "[", '{"started": 3, "videos": "x", "data": 5}'])
def test_a_summary_says_what_is_known(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "run.json", "report.json"):
        (folder / name).write_text(content)
    summary = summarise(folder)
    assert summary.date is not None  # of the file
    assert summary.describe() == f"model ({summary.date})"
    assert summary.videos is None and summary.metrics == {}
    assert summarise(tmp_path / "absent").describe() == "absent"
