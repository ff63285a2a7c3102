"""Videos to answers through the program alone: extract, train, evaluate, ground."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Mttsg, calibrate


def test_from_videos_to_moments(
    mttsg: Mttsg, corpus: Path, cache: Path, settings: Path, clip: Path, tmp_path: Path
) -> None:
    ran = mttsg("extract", corpus / "videos", "--cache", cache, "--fps", "1", "--workers", "1", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["done"] == 24

    model = tmp_path / "model"
    options = ["--cache", cache, "--config", settings, "--workers", "1", "--epochs", "6", "--lr", "0.004"]
    ran = mttsg("train", corpus, "--out", model, *options, "--verbose")
    assert ran.code == 0, ran.err
    assert " clips of " not in ran.err, "features were made twice"
    losses = [float(value) for value in re.findall(r"loss ([\d.]+)", ran.err)]
    assert 2 <= len(losses) <= 6
    assert min(losses[1:]) < 0.97 * losses[0]
    calibrate(model)  # so few sentences may leave nothing to fit a calibration on

    options = ["--model", model, "--cache", cache]
    ran = mttsg("evaluate", corpus, *options, "--json", "--out", tmp_path / "predictions.jsonl", "--workers", "1")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    queries = len((corpus / "test.jsonl").read_text().splitlines())
    assert report["queries"] == queries
    assert report["split"] == "test"
    for name in ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@5,IoU=0.7", "mIoU"):
        assert 0 <= report[name] <= 100
    assert report["R@1,IoU=0.3"] >= report["R@1,IoU=0.5"] >= report["R@1,IoU=0.7"]
    assert report["R@5,IoU=0.5"] >= report["R@1,IoU=0.5"]

    ran = mttsg("evaluate", corpus, "--predictions", tmp_path / "predictions.jsonl", "--json")
    assert ran.code == 0, ran.err
    again = json.loads(ran.out)
    for name in ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@5,IoU=0.7", "mIoU"):
        assert again[name] == pytest.approx(report[name], abs=1e-6)

    ran = mttsg("ground", corpus, "-Q", corpus / "test.jsonl", *options, "--format", "jsonl", "-k", "10")
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in ran.out.splitlines()]
    asked = {(row["video"], row["query"]) for row in map(json.loads, (corpus / "test.jsonl").read_text().splitlines())}
    assert {("videos/" + Path(row["video"]).name, row["query"]) for row in rows} == asked
    predicted = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    for record in predicted:
        mine = [
            [row["start"], row["end"], row["score"]]
            for row in rows
            if Path(row["video"]).stem == Path(record["video"]).stem and row["query"] == record["query"]
        ]
        best = record["moments"][0]
        assert mine[0] == pytest.approx(best, abs=2e-3), "ground and evaluate must agree"

    ran = mttsg("ground", clip, "the red circle moves left", *options)
    assert (ran.code, len(ran.out.splitlines())) == (0, 2)


def test_real_videos(mttsg: Mttsg, trained: Path, real_videos: Path, tmp_path: Path) -> None:
    """The answers are poor (the model knows shapes only) but sound."""
    rows = [json.loads(line) for line in (real_videos / "annotations.jsonl").read_text().splitlines()]
    lines = [{"query": row["query"], "video": Path(row["video"]).stem} for row in rows]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = mttsg(
        "ground", real_videos, "-Q", tmp_path / "q.jsonl", "--model", trained, "--cache", tmp_path, "--format", "json"
    )
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert len(found) == len(rows)
    assert all(0 <= row["start"] < row["end"] for row in found)
