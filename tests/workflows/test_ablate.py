"""Ablations: which variants there are, what is used again, and that an interrupted one ends like an unbroken one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mttsg_core import AblateOptions, AblationReport, MttsgError
from mttsg_core.config import NetworkConfig
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.splits import write_pairs
from mttsg_core.errors import ConfigError, DataError, TrainingError
from mttsg_core.training.events import EpochDone
from mttsg_core.workflows import ablate as workflow
from mttsg_core.workflows.ablation_plan import MODULES, PLAIN, WHOLE, plan_runs, plan_variants
from mttsg_core.workflows.events import InputFailed, SeriesAdvanced, SeriesRun, SeriesStarted
from mttsg_core.workflows.options import FeatureOptions
from mttsg_core.workflows.train import train_steps as genuine
from tests.helpers.tiny import SIZES, dataset

QUICK: dict[str, Any] = {"config": {"epochs": 2, "batch_videos": 3}, "network": SIZES}
ONE = AblateOptions(seeds=[0], without=[["objects"]])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of features only."""
    folder = tmp_path / "data"
    for name, videos in (("train", 6), ("val", 3)):
        write_pairs(dataset(folder / "features", videos, name=name).pairs, folder / f"{name}.jsonl")
    return folder


def figures(report: AblationReport) -> dict[str, list[Any]]:
    """Every answer of every run, by variant."""
    return {system.name: [run.predictions for run in system.runs] for system in report.comparison.systems}


def started(events: list[Any]) -> list[str]:
    """The runs that were made."""
    return [event.name for event in events if isinstance(event, SeriesRun)]


class TestVariants:
    """What is trained."""

    def test_by_default_each_part_is_left_out_alone_and_all_but_the_offsets(self) -> None:
        variants = {
            variant.name: dict(variant.changes.get("network", {})) for variant in plan_variants(AblateOptions())
        }
        assert variants[WHOLE] == {}
        assert variants[PLAIN] == dict.fromkeys(set(NetworkConfig.SWITCHES) - {"offsets"}, False)
        assert variants["without offsets"] == {"offsets": False}
        assert len(variants) == len(NetworkConfig.SWITCHES) + 2

    def test_parts_together_and_values_of_settings(self) -> None:
        chosen = AblateOptions(without=[["objects", "activities"]], vary={"network.contrast_temperature": [0.05, 0.2]})
        assert [tuple(variant) for variant in plan_variants(chosen)] == [
            (WHOLE, {}),
            ("without objects and activities", {"network": {"objects": False, "activities": False}}),
            ("network.contrast_temperature=0.05", {"network": {"contrast_temperature": 0.05}}),
            ("network.contrast_temperature=0.2", {"network": {"contrast_temperature": 0.2}}),
        ]
        assert [variant.name for variant in plan_variants(AblateOptions(without=[MODULES]))] == [WHOLE, PLAIN]

    def test_another_network_has_no_offsets_to_leave_out(self) -> None:
        ours, other = ([one.name for one in plan_variants(AblateOptions(), name)] for name in ("mktn", "span"))
        assert set(ours) - set(other) == {"without offsets"}
        networks = plan_variants(AblateOptions(vary={"network.network": ["span", "proposal-map"]}))
        assert [one.name for one in networks[1:]] == ["network.network=span", "network.network=proposal-map"]

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"without": [["object"]]}, "did you mean 'objects'"),
            ({"vary": {"loss.contrst": [1]}}, "did you mean 'loss.contrast'"),
            ({"vary": {"loss.contrast": [-1]}}, "at least 0"),
            ({"without": [["objects"], ["objects"]]}, "given twice"),
            ({"seeds": []}, "at least one"),
            ({"seeds": [1, 1]}, "each once"),
            ({"folds": 3, "share": 0.5}, "give one of them"),
        ],
    )
    def test_what_cannot_be_varied_is_refused(self, options: dict[str, Any], reason: str) -> None:
        with pytest.raises(ConfigError, match=reason):
            plan_variants(AblateOptions(**options))

    def test_a_variant_that_changes_nothing_is_not_trained(self, data: Path, tmp_path: Path) -> None:
        settings = (QUICK["config"], {**SIZES, "objects": False}, None)
        runs = plan_runs(DataFolder.open(data), tmp_path, settings, FeatureOptions(), replace(ONE, seeds=[0, 7]))
        assert [(one.variant, one.seed) for one in runs] == [(WHOLE, 0), (WHOLE, 7)]

    def test_a_split_that_does_not_exist_is_refused(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no split 'test'; available: train, val"):
            workflow.ablate(data, tmp_path / "a", options=replace(ONE, split="test"))
        assert not (tmp_path / "a").exists()


def test_an_interrupted_ablation_ends_like_an_unbroken_one(data: Path, tmp_path: Path) -> None:
    whole = workflow.ablate(data, tmp_path / "whole", **QUICK, options=ONE)
    steps: Iterator[Any] = workflow.iter_ablate(data, tmp_path / "broken", **QUICK, options=ONE)
    epochs = 0
    for event in steps:  # stopped within the second run
        epochs += isinstance(event, EpochDone)
        if epochs == 3:
            break
    steps.close()  # type: ignore[attr-defined]
    events: list[Any] = []
    again = workflow.ablate(data, tmp_path / "broken", **QUICK, options=ONE, on_event=events.append)
    assert started(events) == ["without objects, seed 0"]
    assert next(event for event in events if isinstance(event, SeriesRun)).resumed
    assert figures(again) == figures(whole)
    assert again.as_dict()["systems"] == whole.as_dict()["systems"]
    report = json.loads((tmp_path / "broken" / "ablation.json").read_text())
    assert report["systems"] == whole.as_dict()["systems"] and report["provenance"]["torch"]


def test_runs_are_used_again_only_for_the_same_settings_and_rows(data: Path, tmp_path: Path) -> None:
    quick = {**QUICK, "config": {**QUICK["config"], "epochs": 1}}
    out = tmp_path / "a"
    first = workflow.ablate(data, out, **quick, options=ONE)
    events: list[Any] = []
    more = workflow.ablate(data, out, **quick, options=replace(ONE, seeds=[0, 1]), on_event=events.append)
    assert started(events) == ["whole method, seed 1", "without objects, seed 1"]
    assert events[0] == SeriesStarted(4, done=2)
    assert sum(event.runs for event in events if isinstance(event, SeriesAdvanced)) == pytest.approx(2)
    assert {name: runs[0] for name, runs in figures(more).items()} == {
        name: runs[0] for name, runs in figures(first).items()
    }
    with pytest.raises(ConfigError, match=r"differs in training\.epochs"):
        workflow.ablate(data, out, **QUICK, options=ONE)
    rows = (data / "train.jsonl").read_text().splitlines(keepends=True)
    (data / "train.jsonl").write_text("".join(rows[:-1]))
    with pytest.raises(ConfigError, match="differs in rows"):
        workflow.ablate(data, out, **quick, options=ONE)
    events.clear()
    workflow.ablate(data, out, **quick, options=replace(ONE, overwrite=True), on_event=events.append)
    assert len(started(events)) == 2
    (data / "train.jsonl").write_text("".join(rows))
    answers = out / "whole-method" / "seed-1" / "predictions-val.jsonl"
    answers.unlink()
    events.clear()
    workflow.ablate(data, out, **quick, options=replace(ONE, seeds=[1]), on_event=events.append)
    assert started(events) == ["whole method, seed 1"]
    assert answers.exists() and not any(isinstance(event, EpochDone) for event in events)


def test_a_model_of_somebody_else_is_not_replaced(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "whole-method" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="already has a model"):
        workflow.ablate(data, tmp_path / "a", **QUICK, options=ONE)


def test_folds_are_scored_together_so_that_each_video_counts_once(data: Path, tmp_path: Path) -> None:
    quick = {**QUICK, "config": {**QUICK["config"], "epochs": 1}}
    report = workflow.ablate(data, tmp_path / "a", **quick, options=replace(ONE, folds=3))
    pairs = report.comparison.pairs
    own = DataFolder.open(data)
    assert sorted((pair.video, pair.query) for pair in pairs) == sorted(
        (own.video_key(pair.video), pair.query) for name in ("train", "val") for pair in own.split(name).pairs
    )
    assert (report.comparison.split, report.division) == ("left", "3 folds by video")
    [difference] = report.comparison.differences.values()
    assert difference["mIoU"].low <= difference["mIoU"].value <= difference["mIoU"].high
    record = json.loads((tmp_path / "a" / "whole-method" / "seed-0" / "fold-2" / "run.json").read_text())
    assert (record["division"], record["repeat"]) == ("fold 2 of 3 by video", None)


def test_a_run_that_fails_leaves_the_others(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def train_steps(one: Any, folder: Path, *rest: Any) -> Any:
        if "objects" in str(folder) or failing == WHOLE:
            raise TrainingError("epoch 1: loss is NaN or infinite")
        return (yield from genuine(one, folder, *rest))

    monkeypatch.setattr(workflow, "train_steps", train_steps)
    failing = "objects"
    events: list[Any] = []
    report = workflow.ablate(data, tmp_path / "a", **QUICK, options=ONE, on_event=events.append)
    assert [system.name for system in report.comparison.systems] == [WHOLE]
    assert len(report.failures) == 1 and "NaN" in report.failures[0]
    assert sum(isinstance(event, InputFailed) for event in events) == 1
    failing = WHOLE
    with pytest.raises(MttsgError, match="nothing to compare with"):
        workflow.ablate(data, tmp_path / "b", **QUICK, options=ONE)
