"""`evaluate` and `iter_evaluate`: models and files of predictions, from Python."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mttsg_core import EvaluateOptions, EvaluationReport, FeatureOptions, evaluate, events, metrics
from mttsg_core.data.predictions import read_predictions
from mttsg_core.data.splits import write_pairs
from mttsg_core.errors import ConfigError, DataError, FeatureError, ModelError
from mttsg_core.workflows.evaluate import iter_evaluate
from tests.helpers.tiny import dataset, model_folder, write_rows

CPU = EvaluateOptions(device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of features, and predictions for all queries but the last."""
    folder = tmp_path / "data"
    for name, videos in (("train", 4), ("test", 3)):
        write_pairs(dataset(folder / "features", videos, name=name).pairs, folder / f"{name}.jsonl")
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    write_rows(
        tmp_path / "theirs.jsonl",
        [{"id": row["id"], "moments": [[row["start"], row["end"], 0.9]]} for row in rows[:-1]],
    )
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


def test_predictions_of_a_file(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[object] = []
    report = evaluate(data, predictions=str(tmp_path / "theirs.jsonl"), on_event=seen.append)
    assert isinstance(report, EvaluationReport)
    assert report.main.metrics["R@1,IoU=0.7"] == pytest.approx(100 * 5 / 6)
    assert (report.as_dict()["mode"], report.as_dict()["missed"]) == ("predictions", 1)
    assert seen == [events.Warned("1 of 6 queries without a prediction, counted as missed")]
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 6 queries without a prediction, counted as missed"
    ]


def test_a_model_with_baselines_and_files(data: Path, model: Path, tmp_path: Path) -> None:
    out, html = tmp_path / "deep" / "p.jsonl", tmp_path / "page.html"
    options = EvaluateOptions(device="cpu", baselines=True, out=str(out), html=html)
    *passed, report = iter_evaluate(data, model, options=options)
    assert isinstance(report, EvaluationReport)
    assert [other.name for other in report.baselines][-2:] == ["sentences shuffled", "features shuffled"]
    assert [(event.task, event.total) for event in passed if isinstance(event, events.ProgressStarted)] == [
        ("grounding", 3),
        ("thumbnails", 6),
    ]
    assert sum(isinstance(event, events.ProgressAdvanced) for event in passed) == 9
    assert len(read_predictions(out).by_id) == 6
    assert html.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    again = evaluate(data, predictions=out)
    assert again.main.metrics["mIoU"] == pytest.approx(report.main.metrics["mIoU"])
    with pytest.raises(ConfigError, match="exists already"):
        evaluate(data, model, options=options)


def test_chosen_figures(data: Path, tmp_path: Path) -> None:
    options = EvaluateOptions(metrics=metrics.MetricConfig((2,), (0.5,), strict=True))
    report = evaluate(data, predictions=tmp_path / "theirs.jsonl", options=options)
    assert [name for name in report.main.metrics if name.startswith("R@")] == ["R@2,IoU=0.5"]
    assert report.conventions["hit"] == "IoU > m"


def test_damaged_features_are_an_event_and_their_sentences_are_missed(
    data: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = data / "features" / "test1.safetensors"
    damaged.write_bytes(b"x")
    seen: list[object] = []
    with caplog.at_level(logging.WARNING, "mttsg"):
        report = evaluate(data, model, options=CPU, on_event=seen.append)
    [failed] = [event for event in seen if isinstance(event, events.InputFailed)]
    assert str(damaged) in failed.reason
    assert report.main.missed == 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_what_cannot_be_used(data: Path, model: Path, tmp_path: Path) -> None:
    for arguments, kind, text in (
        ((data, tmp_path / "absent"), ModelError, "absent"),
        ((tmp_path / "absent", model), DataError, "no such folder"),
    ):
        with pytest.raises(kind, match=text):
            evaluate(*arguments)
    with pytest.raises(DataError, match="no split 'val'"):
        evaluate(data, model, split="val", options=CPU)
    with pytest.raises(ConfigError, match="unknown mode"):
        evaluate(data, model, options=EvaluateOptions(mode="alone"))
    with pytest.raises(ConfigError, match="--fps 2"):
        evaluate(data, model, features=FeatureOptions(fps=2), options=CPU)
    with pytest.raises(ConfigError, match="same file"):
        evaluate(data, model, options=EvaluateOptions(out=tmp_path / "x", html=tmp_path / "x"))
    with pytest.raises((DataError, FeatureError)):
        evaluate(data, model, features=FeatureOptions(features=tmp_path / "nothing"), options=CPU)
