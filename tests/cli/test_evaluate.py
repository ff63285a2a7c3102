"""`mttsg evaluate`: figures of files and models, baselines, and the page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mttsg_core.data.folder import DataFolder
from mttsg_core.data.predictions import read_predictions
from mttsg_core.evaluation.metrics import MetricConfig, compute_metrics
from tests.conftest import SHARED, Mttsg
from tests.helpers.report_pages import HOSTILE
from tests.helpers.tiny import write_rows

KEYS = [f"R@{n},IoU={m}" for n in (1, 5) for m in (0.3, 0.5, 0.7)]
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:+]+|\b[\d.]+ s\b")  # of an evaluation: when it was, and how long it took
ANNOTATIONS = SHARED / "annotations"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two queries of each of three videos; the answers to the last query are missing."""
    folder = tmp_path / "data"
    rows = [
        {"video": f"v{n // 2}", "query": f"sentence {n}", "start": n, "end": n + 10, "duration": 30, "id": f"q{n}"}
        for n in range(6)
    ]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "test.jsonl", rows)
    answers = [{"id": f"q{n}", "moments": [[n, n + 5, 0.9], [n, n + 10, 0.8]]} for n in range(5)]
    write_rows(tmp_path / "theirs.jsonl", answers)
    return folder


def test_predictions_of_anybody(data: Path, mttsg: Mttsg) -> None:
    ran = mttsg("evaluate", data, "--predictions", data.parent / "theirs.jsonl", "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert list(found)[:12] == ["split", "mode", "queries", "videos", "missed", *KEYS, "mIoU"]
    assert (found["split"], found["mode"], found["queries"], found["videos"], found["missed"]) == (
        *("test", "predictions"),
        *(6, 3, 1),
    )
    assert found["R@1,IoU=0.5"] == pytest.approx(500 / 6)
    assert found["R@1,IoU=0.7"] == 0
    assert found["R@5,IoU=0.7"] == pytest.approx(500 / 6)
    assert found["convention"]["hit"] == "IoU >= m"
    assert found["nms"]
    assert set(found["intervals"]) >= {*KEYS, "mIoU", "mAP"}
    assert "1 of 6 queries without a prediction" in ran.err


def test_a_query_of_a_video_that_is_not_there_is_a_miss_for_a_model_too(
    corpus: Path, cache: Path, trained: Path, tmp_path: Path, mttsg: Mttsg
) -> None:
    rows = [json.loads(line) for line in (corpus / "val.jsonl").read_text().splitlines()]
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "videos").symlink_to(corpus / "videos")
    write_rows(folder / "test.jsonl", [*rows, {**rows[0], "video": "absent", "id": "absent"}])
    (folder / "train.json").write_text('{"v": {"timestamps": [')
    out = tmp_path / "out.jsonl"
    arguments = ["--model", trained, "--cache", cache, "--workers", "1", "--json"]
    ran = mttsg("evaluate", folder, *arguments, "--out", out)
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["queries"], found["missed"]) == (len(rows) + 1, 1)
    assert f"test.jsonl:{len(rows) + 1}: " in ran.err
    assert "train.json:1: invalid JSON" in ran.err  # it is not needed
    again = json.loads(mttsg("evaluate", folder, "--predictions", out, "--json").out)
    assert [again[name] for name in KEYS] == [found[name] for name in KEYS]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model", "A", "--predictions", "P"], "--model A and --predictions P: give one of them, and 'mttsg"),
        (["--model", "A", "-m", "B"], "--model A and --model B: give one of them, and 'mttsg compare' takes several"),
        (["--predictions", "P", "--predictions", "Q"], "--predictions P and --predictions Q: give one"),
    ],
)
def test_of_two_models_or_files_none_is_silently_left_out(
    data: Path, mttsg: Mttsg, given: list[str], said: str
) -> None:
    ran = mttsg("evaluate", data, *given)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert said in ran.errors[0]


def test_other_conventions(data: Path, mttsg: Mttsg) -> None:
    theirs = data.parent / "theirs.jsonl"
    ran = mttsg("evaluate", data, "--predictions", theirs, "--at", "2, 1", "--iou", "0.5", "--strict-iou", "--json")
    found = json.loads(ran.out)
    assert [key for key in found if key.startswith("R@")] == ["R@1,IoU=0.5", "R@2,IoU=0.5"]
    assert found["R@1,IoU=0.5"] == 0
    assert found["R@2,IoU=0.5"] == pytest.approx(500 / 6)
    assert found["convention"]["hit"] == "IoU > m"
    for wrong in (["--at", "0"], ["--at", "9999999999"], ["--at", "x"], ["--iou", "1.5"], ["--iou", ""]):
        ran = mttsg("evaluate", data, "--predictions", theirs, *wrong)
        assert (ran.code, ran.out) == (2, ""), wrong
        assert len(ran.errors) == 1


def test_the_table_says_what_its_figures_are(data: Path, mttsg: Mttsg) -> None:
    ran = mttsg("evaluate", data, "--predictions", data.parent / "theirs.jsonl", "--baselines", "--breakdown")
    assert ran.code == 0
    for said in (
        "constant span",
        "prior over spans",
        "whole video",
        "≥0.5",
        "±",
        "NMS",
        "baselines fitted",
        "by words",
    ):
        assert said in ran.out
    assert "shuffled" not in ran.out


def test_a_terminal_without_the_signs_of_the_table(data: Path) -> None:
    theirs = str(data.parent / "theirs.jsonl")
    command = [sys.executable, "-m", "mttsg_cli", "evaluate", str(data), "--predictions", theirs]
    ran = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False)
    assert ran.returncode == 0, ran.stderr
    assert b"mIoU" in ran.stdout


def test_without_a_training_split(data: Path, mttsg: Mttsg) -> None:
    (data / "train.jsonl").unlink()
    ran = mttsg("evaluate", data, "--predictions", data.parent / "theirs.jsonl", "--baselines", "--json")
    found = json.loads(ran.out)
    assert found["baselines_fitted_on"] == "test"
    assert "fitted on test itself" in ran.err
    assert list(found["baselines"]) == ["constant span", "prior over spans", "whole video"]
    assert "words" not in found["breakdown"]


def test_without_any_duration(data: Path, mttsg: Mttsg) -> None:
    for name in ("train", "test"):
        rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
        write_rows(data / f"{name}.jsonl", [{k: v for k, v in row.items() if k != "duration"} for row in rows])
    ran = mttsg("evaluate", data, "--predictions", data.parent / "theirs.jsonl", "--baselines", "--json")
    found = json.loads(ran.out)
    assert ran.code == 0
    assert found["baselines_fitted_on"] is None
    assert found["baselines"]["whole video"]["missed"] == 6
    assert "6 queries missed by the blind baselines" in ran.err


def test_bad_rows_are_counted(data: Path, mttsg: Mttsg) -> None:
    with (data / "test.jsonl").open("a") as stream:
        stream.write('{"video": "v0", "query": "no moment"}\nnot json\n')
    with (data.parent / "theirs.jsonl").open("a") as stream:
        stream.write('{"id": "other", "moments": []}\n[]\n')
    ran = mttsg("evaluate", data, "--predictions", data.parent / "theirs.jsonl", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["queries"] == 6
    assert "3 bad rows skipped" in ran.err
    assert "1 prediction for no query of test" in ran.err
    ran = mttsg("evaluate", data, "--predictions", data.parent / "theirs.jsonl", "--strict")
    assert (ran.code, ran.out) == (2, "")


def test_a_page_is_not_overwritten(data: Path, mttsg: Mttsg) -> None:
    rows = [
        {"video": "v0", "query": text, "start": 1, "end": 9, "duration": 30}
        for text in HOSTILE
        if text.strip() and "\0" not in text
    ]
    write_rows(data / "test.jsonl", rows)
    target, theirs = data.parent / "page.html", data.parent / "theirs.jsonl"
    ran = mttsg("evaluate", data, "--predictions", theirs, "--html", target, "--quiet")
    assert ran.code == 0, ran.err
    content = target.read_text(encoding="utf-8")
    assert content.startswith("<!DOCTYPE html>")
    assert "<script" not in content
    target.write_text("mine")
    ran = mttsg("evaluate", data, "--predictions", theirs, "--html", target)
    assert (ran.code, ran.out, target.read_text()) == (2, "", "mine")
    assert mttsg("evaluate", data, "--predictions", theirs, "--html", target, "--overwrite").code == 0
    assert "Answered by: <bdi>predictions in theirs.jsonl</bdi>" in content
    command = "mttsg evaluate data --predictions theirs.jsonl --html page.html --quiet"
    assert command in content
    again = target.read_text(encoding="utf-8").replace("page.html --overwrite", "page.html --quiet")
    assert TIME.sub("", again) == TIME.sub("", content)
    assert mttsg("evaluate", data, "--predictions", theirs, "--html", data / "new" / "page.html").code == 0
    for place in (theirs / "page.html", data.parent, "-"):
        ran = mttsg("evaluate", data, "--predictions", theirs, "--html", place, "--overwrite")
        assert (ran.code, ran.out) == (2, "")


def test_a_model_beside_its_baselines(corpus: Path, cache: Path, trained: Path, tmp_path: Path, mttsg: Mttsg) -> None:
    page, answers = tmp_path / "page.html", tmp_path / "answers.jsonl"
    arguments = ["--model", trained, "--cache", cache, "--workers", "1", "--split", "val"]
    ran = mttsg("evaluate", corpus, *arguments, "--baselines", "--html", page, "--out", answers, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["mode"] == "independent"
    modes = {name: other["mode"] for name, other in found["baselines"].items()}
    assert modes == {
        "constant span": "blind",
        "prior over spans": "blind",
        "whole video": "blind",
        "sentences shuffled": "independent",
        "features shuffled": "independent",
    }
    assert found["baselines_fitted_on"] == "train"
    assert all({*KEYS, "mIoU", "intervals"} <= set(other) for other in found["baselines"].values())
    assert page.read_text(encoding="utf-8").count("data:image/jpeg;base64,") > 2
    again = json.loads(mttsg("evaluate", corpus, "--split", "val", "--predictions", answers, "--json").out)
    assert {key: again[key] for key in KEYS} == pytest.approx({key: found[key] for key in KEYS})
    assert again["mAP"] == pytest.approx(found["mAP"])
    pairs = DataFolder.open(corpus).split("val").pairs
    matched = read_predictions(answers).match(pairs).moments
    expected = compute_metrics([pair.moments for pair in pairs], matched, MetricConfig(average_precision=True))
    assert {key: found[key] for key in expected} == pytest.approx(expected)


@pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason="../shared/annotations is not at hand")
def test_the_published_figures_of_moment_detr(mttsg: Mttsg) -> None:
    folder = ANNOTATIONS / "qvhighlights"
    theirs = folder / "moment_detr_val_predictions.jsonl"
    found = json.loads(mttsg("evaluate", folder, "--split", "val", "--predictions", theirs, "--json").out)
    published = json.loads((folder / "moment_detr_val_metrics.json").read_text())["brief"]
    names = {"R@1,IoU=0.5": "full-R1@0.5", "R@1,IoU=0.7": "full-R1@0.7", "mAP": "full-mAP", "mAP@0.5": "full-mAP@0.5"}
    names |= {"mAP@0.75": "full-mAP@0.75", "mAP-short": "short-mAP", "mAP-middle": "middle-mAP", "mAP-long": "long-mAP"}
    assert {ours: round(found[ours], 2) for ours in names} == {
        ours: published[f"MR-{theirs}"] for ours, theirs in names.items()
    }


@pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason="../shared/annotations is not at hand")
def test_the_order_oracle(tmp_path: Path, mttsg: Mttsg) -> None:
    from tests.tools.test_order_oracle import run_oracle

    folder, out = ANNOTATIONS / "activitynet_captions", tmp_path / "oracle.jsonl"
    assert run_oracle(folder, out).returncode == 0
    found = json.loads(mttsg("evaluate", folder, "--predictions", out, "--json").out)
    expected = {"R@1,IoU=0.3": 75.7, "R@1,IoU=0.5": 56.1, "R@1,IoU=0.7": 33.3, "mIoU": 52.6}
    assert {name: round(found[name], 1) for name in expected} == expected
