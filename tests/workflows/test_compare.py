"""`compare` and `iter_compare`: models and files of predictions, from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mttsg_core import CompareOptions, ComparisonReport, FeatureOptions, compare, evaluate, events, metrics
from mttsg_core.data.predictions import read_predictions
from mttsg_core.data.splits import write_pairs
from mttsg_core.errors import ConfigError, DataError, ModelError
from mttsg_core.workflows.compare import iter_compare
from tests.helpers.tiny import dataset, model_folder, write_rows

CPU = CompareOptions(device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of features; `right.jsonl` answers all queries but the last, `late*.jsonl` half of each."""
    folder = tmp_path / "data"
    for name, videos in (("train", 4), ("test", 3)):
        write_pairs(dataset(folder / "features", videos, name=name).pairs, folder / f"{name}.jsonl")
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    answers = [{"id": row["id"], "moments": [[row["start"], row["end"], 0.9]]} for row in rows]
    write_rows(tmp_path / "right.jsonl", answers[:-1])
    for seed in range(3):
        late = [
            {"id": row["id"], "moments": [[row["start"] + (row["end"] - row["start"]) * (seed + 1) / 5, row["end"]]]}
            for row in rows
        ]
        write_rows(tmp_path / f"late{seed}.jsonl", late)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


def test_files_with_seeds_and_misses(data: Path, tmp_path: Path) -> None:
    seen: list[object] = []
    late = [tmp_path / f"late{seed}.jsonl" for seed in range(3)]
    report = compare(data, {"right": tmp_path / "right.jsonl", "late": late}, on_event=seen.append)
    assert isinstance(report, ComparisonReport)
    assert seen == [events.Warned("right: 1 of 6 queries without a prediction, counted as missed")]
    right, others = report.systems
    assert (right.missed, others.missed) == ([1], [0, 0, 0])
    assert right.metrics["mIoU"].mean == pytest.approx(500 / 6)
    assert right.metrics["mIoU"].spread is None
    assert others.metrics["mIoU"] == pytest.approx((60, 20))
    difference = report.differences["late"]["mIoU"]
    assert difference.value == pytest.approx(60 - 500 / 6)
    assert difference.low < difference.value < difference.high
    assert report.outcomes(others) == (1, 5, 0)
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert plain["systems"][1]["by_seed"]["mIoU"] == pytest.approx([80, 60, 40])
    assert plain["systems"][1]["queries_against_first"] == {"won": 1, "lost": 5, "tied": 0}
    assert "by_seed" not in plain["systems"][1]["against_first"]["mIoU"]  # one seed against three: not paired
    assert set(plain["breakdown"]["moment position"][0]["systems"]) == {"right", "late"}


def test_as_many_seeds_are_paired_in_their_order(data: Path, tmp_path: Path) -> None:
    first, second = ([tmp_path / f"late{seed}.jsonl" for seed in seeds] for seeds in ((0, 1), (1, 2)))
    plain = compare(data, {"a": first, "b": second}).as_dict()
    assert plain["systems"][1]["against_first"]["mIoU"]["by_seed"] == pytest.approx([-20, -20])


def test_a_model_and_its_kept_answers_are_equal(data: Path, model: Path, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "page.html"
    options = CompareOptions(device="cpu", save=tmp_path / "kept", html=page, charts=tmp_path / "charts")
    *passed, report = iter_compare(data, {"net": model, "right": tmp_path / "right.jsonl"}, options=options)
    assert isinstance(report, ComparisonReport)
    assert [event.task for event in passed if isinstance(event, events.ProgressStarted)] == ["grounding", "thumbnails"]
    assert any(isinstance(event, events.Noted) and event.text.startswith("net: model: ") for event in passed)
    kept = tmp_path / "kept" / "net.jsonl"
    assert len(read_predictions(kept).by_id) == 6
    again = compare(data, {"net": model, "kept": kept}, options=CPU)
    assert again.differences["kept"]["mIoU"] == (0.0, 0.0, 0.0, 1.0)
    assert again.systems[1].metrics["R@5,IoU=0.5"].mean == report.first.metrics["R@5,IoU=0.5"].mean
    assert evaluate(data, model).main.metrics == pytest.approx(
        {name: value.mean for name, value in report.first.metrics.items()}
    )
    assert "predictions in right.jsonl" in page.read_text(encoding="utf-8")
    names = {path.name for path in (tmp_path / "charts").iterdir()}
    assert {"recall1_by_iou.pdf", "recall5_by_iou.svg", "by_moment_length.csv"} <= names
    for taken in (options, CompareOptions(device="cpu", charts=tmp_path / "charts"), CompareOptions(html=page)):
        with pytest.raises(ConfigError, match="exists already"):
            compare(data, [model], options=taken)
    with pytest.raises(ConfigError, match=r"kept/net\.jsonl: exists already"):
        compare(data, {"net": model}, options=CompareOptions(save=tmp_path / "kept"))


def test_names_of_files_and_models(data: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "right.jsonl"
    other.write_bytes((tmp_path / "right.jsonl").read_bytes())
    report = compare(data, [tmp_path / "right.jsonl", other, tmp_path / "late0.jsonl"])
    assert [system.name for system in report.systems] == [str(tmp_path / "right.jsonl"), str(other), "late0"]


def test_chosen_figures(data: Path, tmp_path: Path) -> None:
    chosen = CompareOptions(metrics=metrics.MetricConfig((1,), (0.5,), strict=True))
    report = compare(data, [tmp_path / "right.jsonl"], options=chosen)
    assert report.metric_names == ["R@1,IoU=0.5", "mIoU"]
    assert report.conventions["hit"] == "IoU > m"
    assert not report.differences


def test_what_cannot_be_used(data: Path, model: Path, tmp_path: Path) -> None:
    right = tmp_path / "right.jsonl"
    for systems, kind, text in (
        ([], ConfigError, "nothing to compare"),
        ({"a": []}, ConfigError, "a: no model"),
        ({"a": [right, right]}, ConfigError, "would count as two seeds"),
        ([right, right], ConfigError, "given twice"),
        ([right, tmp_path / "absent"], ModelError, "absent"),
        ([data / "train.jsonl"], DataError, "not a predictions file"),
    ):
        with pytest.raises(kind, match=text):
            compare(data, systems, options=CPU)
    with pytest.raises(DataError, match="no split 'val'"):
        compare(data, [right], split="val")
    with pytest.raises(ConfigError, match="unknown mode"):
        compare(data, [right], options=CompareOptions(mode="alone"))
    with pytest.raises(ConfigError, match="files of the same name"):
        compare(data, {"a/b": model, "a_b": model}, options=CompareOptions(save=tmp_path / "kept"))
    with pytest.raises(ConfigError, match="--fps 2"):
        compare(data, [model], features=FeatureOptions(fps=2), options=CPU)


def test_a_training_that_has_not_ended_is_said(data: Path, tmp_path: Path) -> None:
    unfinished = model_folder(tmp_path / "unfinished")
    (unfinished / "report.json").unlink()
    seen: list[object] = []
    compare(data, {"net": unfinished}, options=CPU, on_event=seen.append)
    assert events.Warned(f"net: the training in {unfinished} has not ended") in seen


def test_every_model_is_found_before_any_answers(data: Path, model: Path, tmp_path: Path) -> None:
    seen: list[object] = []
    with pytest.raises(ModelError, match="not a model folder"):
        compare(data, [model, tmp_path], options=CPU, on_event=seen.append)
    assert not seen


def test_a_bad_row_is_named_once_for_all_systems(data: Path, model: Path, tmp_path: Path) -> None:
    with (data / "test.jsonl").open("a") as file:
        file.write('{"video": "test0", "query": "q", "start": 5, "end": 1}\n')
    seen: list[object] = []
    compare(data, [tmp_path / "late0.jsonl", tmp_path / "late1.jsonl", model], options=CPU, on_event=seen.append)
    [skipped] = [event for event in seen if isinstance(event, events.RowsSkipped)]
    assert len(skipped.problems) == 1
