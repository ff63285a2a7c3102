"""Which model answers is always said, and a model is used by default only where it fits."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from mttsg_core.checkpoints.registry import remember_run
from tests.cli.test_ground import QUERY
from tests.conftest import Mttsg, Ran

DETAILS = r"\(data, 19 videos, 20\d\d-\d\d-\d\d, encoder classic, sentences hashed\)"


@pytest.fixture(autouse=True)
def _own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MTTSG_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(trained: Path, corpus: Path, tmp_path: Path) -> Path:
    """A finished numbered run, trained on the corpus."""
    folder = tmp_path / "home" / "mttsg" / "runs" / "0003"
    shutil.copytree(trained, folder)
    assert remember_run(folder, [corpus])
    return folder


def said(ran: Ran) -> str:
    """The line on which model answered."""
    [line] = [line for line in ran.err.splitlines() if line.startswith("model: ") or "without training" in line]
    return line


def test_the_sequence_of_the_readme(mttsg: Mttsg, corpus: Path, settings: Path, tmp_path: Path) -> None:
    """Train into a folder, measure, ask: nothing needs to be named, and the commands to type are those that training
    prints.
    """
    ran = mttsg("train", corpus, "--out", "model", "--config", settings, "--workers", "1")
    assert ran.code == 0, ran.err
    steps = re.findall(r"^to (?:measure|ask) it: +mttsg (.*)$", ran.err, re.MULTILINE)
    evaluate, ground = (shlex.split(step) for step in steps)
    assert evaluate == ["evaluate", str(corpus)]
    assert ground[:2] == ["ground", str(corpus / "videos")] and len(ground) == 3
    ran = mttsg(*evaluate, "--json")
    assert ran.code == 0, ran.err
    assert re.fullmatch(rf"model: model {DETAILS}", said(ran))
    assert re.fullmatch(rf"model {DETAILS}", json.loads(ran.out)["answered_by"])
    ran = mttsg(*ground)
    assert ran.code == 0, ran.err
    assert re.fullmatch(rf"model: model {DETAILS}", said(ran))


def test_a_model_is_not_used_for_other_videos(mttsg: Mttsg, run: Path, clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "holiday.mp4")
    ran = mttsg("ground", "holiday.mp4", QUERY)
    assert said(ran).startswith("No model was trained on these videos (--model last is run 3, trained on data): using ")
    assert (ran.code, ran.out) == (2, "")  # the pretrained encoder is not on this computer
    for name in ("last", "3", "0003", run):
        ran = mttsg("ground", "holiday.mp4", QUERY, "--model", name)
        assert ran.code == 0, ran.err
        assert re.fullmatch(rf"model: {run if name == run else 'run 3'} {DETAILS}", said(ran))


def test_evaluate_names_the_alternatives(mttsg: Mttsg, run: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "other", ignore=shutil.ignore_patterns("videos"))
    (tmp_path / "other" / "videos").mkdir()
    for video in (corpus / "videos").iterdir():
        (tmp_path / "other" / "videos" / video.name).hardlink_to(video)
    ran = mttsg("evaluate", "other")
    assert (ran.code, ran.out) == (2, "")
    assert ran.errors == [
        "error: other: no model was trained on it: name one with --model (last is run 3, trained on data), or "
        "train one with 'mttsg train DATA'"
    ]
    ran = mttsg("evaluate", "other", "--model", "last", "--json")
    assert ran.code == 0, ran.err
    assert said(ran).startswith("model: run 3 (data, ")
    shutil.rmtree(run)
    assert mttsg("evaluate", "other").errors[0].startswith("error: other: no model yet: train one with 'mttsg train")


def test_other_annotations_of_the_same_videos_fit(mttsg: Mttsg, run: Path, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "videos").symlink_to(corpus / "videos")
    shutil.copy(corpus / "val.jsonl", folder / "test.jsonl")
    assert said(mttsg("evaluate", folder)).startswith("model: run 3 (")


def test_pages_say_who_answered(mttsg: Mttsg, run: Path, clip: Path, corpus: Path, tmp_path: Path) -> None:
    assert mttsg("ground", clip, QUERY, "--html", "m.html").code == 0
    assert mttsg("evaluate", corpus, "--html", "e.html", "--split", "val").code == 0
    for page in ("m.html", "e.html"):
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert re.search(rf"Answered by: <bdi>run 3 {DETAILS}</bdi>", text)
        assert str(tmp_path) not in text, "folders of this computer are not for others"
    text = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert "mttsg evaluate data --split val --html e.html" in text
    assert re.search(r"Data folder: data, rows sha256:[0-9a-f]{12}…", text)
    assert re.search(r"Created with mttsg \S+ on 20\d\d-\d\d-\d\d\.", text)


def test_the_commands_of_a_model_card_work(mttsg: Mttsg, corpus: Path, settings: Path, clip: Path) -> None:
    ran = mttsg("train", corpus, "--config", settings, "--workers", "1", "--json")
    folder = Path(json.loads(ran.out)["model"])
    card = (folder / "README.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^mttsg ground video\.mp4 (.*)$", card, re.MULTILINE)
    assert mttsg("ground", clip, *shlex.split(command)).code == 0
    assert shlex.split(command)[1:] == ["--model", folder.name] and folder.name == "0001"


def test_where_a_run_cannot_be_remembered_the_next_commands_name_it(
    mttsg: Mttsg, corpus: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    ran = mttsg("train", corpus, "--out", "my model", "--config", settings, "--workers", "1")
    assert ran.code == 0, ran.err
    steps = re.findall(r"^to (?:measure|ask) it: +mttsg (.*)$", ran.err, re.MULTILINE)
    assert [shlex.split(step)[-2:] for step in steps] == [["--model", "my model"]] * 2


class TestUncalibrated:
    """Where nothing is calibrated, scores order the answers and are not shown."""

    def test_the_columns_are_empty(self, mttsg: Mttsg, uncalibrated: Path, trained: Path, clip: Path) -> None:
        command = ("ground", clip, QUERY, "--top", "3", "--format")
        rows = json.loads(mttsg(*command, "json", "--model", uncalibrated).out)
        with_scores = json.loads(mttsg(*command, "json", "--model", trained).out)
        assert [row["score"] for row in rows] == [None] * len(rows) and len(rows) > 1
        assert [{**row, "score": None} for row in with_scores] == rows  # in the same order
        ran = mttsg(*command, "tsv", "--model", uncalibrated)
        assert all(line.endswith("\t") for line in ran.out.splitlines()[1:])
        assert "warning: the scores of this model are not calibrated" in ran.err
        assert mttsg(*command, "csv", "--model", uncalibrated).out.splitlines()[1].endswith(",")
        table = mttsg(*command, "table", "--model", uncalibrated).out.splitlines()
        assert all(line.rstrip().endswith("–") for line in table[1:])
        assert "not calibrated" not in mttsg(*command, "json", "--model", trained).err

    @pytest.mark.parametrize("form", ["json", "jsonl", "csv", "tsv"])
    def test_evaluate_reads_such_rows_in_their_order(
        self, mttsg: Mttsg, uncalibrated: Path, trained: Path, corpus: Path, tmp_path: Path, form: str
    ) -> None:
        figures = []
        for model in (trained, uncalibrated):
            out = tmp_path / f"{model.parent.name}.{form}"
            command = ("ground", corpus / "videos", "-Q", corpus / "test.jsonl", "--top", "5", "--out", out)
            assert mttsg(*command, "--model", model).code == 0
            ran = mttsg("evaluate", corpus, "--predictions", out, "--json")
            assert ran.code == 0, ran.err
            figures.append({name: value for name, value in json.loads(ran.out).items() if name.startswith("R@")})
        assert figures[0] == figures[1]
        assert figures[0]["R@5,IoU=0.3"] > 0

    def test_options_that_use_scores_say_which(
        self, mttsg: Mttsg, uncalibrated: Path, clip: Path, tmp_path: Path
    ) -> None:
        command = ("ground", clip, QUERY, "--model", uncalibrated)
        ran = mttsg(*command, "--threshold", "0.999", "--clips", tmp_path / "c", "--clip-name", "{rank}_{score}")
        assert ran.code == 0
        assert len(ran.out.splitlines()) == 1
        assert "warning: --threshold and {score} in --clip-name: taken as the model's raw scores" in ran.err
        assert "raw scores" not in mttsg(*command).err

    def test_the_page_shows_none(self, mttsg: Mttsg, uncalibrated: Path, trained: Path, clip: Path) -> None:
        for model, shown in ((uncalibrated, False), (trained, True)):
            name = f"{model.parent.name}.html"
            assert mttsg("ground", clip, QUERY, "--model", model, "--html", name).code == 0
            page = Path(name).read_text(encoding="utf-8")
            assert ('<span class="score' in page) is shown
            assert ("not calibrated" in page) is not shown

    def test_evaluate_works_as_before(self, mttsg: Mttsg, uncalibrated: Path, trained: Path, corpus: Path) -> None:
        first, second = (
            json.loads(mttsg("evaluate", corpus, "--model", model, "--json").out) for model in (uncalibrated, trained)
        )
        assert {**first, "answered_by": ""} == {**second, "answered_by": ""}
