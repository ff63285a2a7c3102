"""`train` and `iter_train`: what the command does, from Python."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from shlex import quote

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mttsg_core import (
    FeatureOptions,
    LossConfig,
    NetworkConfig,
    TrainingConfig,
    TrainOptions,
    TrainReport,
    events,
    train,
)
from mttsg_core.checkpoints.runs import STATE
from mttsg_core.config import from_mapping
from mttsg_core.data.splits import write_pairs
from mttsg_core.errors import BusyError, ConfigError, DataError, ModelError, MttsgError
from mttsg_core.features.store import read_features
from mttsg_core.workflows.train import iter_train
from mttsg_core.workflows.train_events import RunStarted
from tests.helpers.tiny import dataset

NETWORK = {"width": 16, "region_width": 8, "region_heads": 1, "local_layers": 1, "head_width": 8, "max_clips": 32}
QUICK = TrainingConfig(epochs=2, batch_videos=3)
PROGRESS = (events.ProgressStarted, events.ProgressAdvanced)
CPU = TrainOptions(device="cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of features only."""
    folder = tmp_path / "data"
    for name, videos in (("train", 6), ("val", 2)):
        write_pairs(dataset(folder / "features", videos, name=name).pairs, folder / f"{name}.jsonl")
    return folder


@pytest.fixture(autouse=True)
def _own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def sentences(data: Path) -> list[str]:
    """The sentences of the training split."""
    return [json.loads(line)["query"] for line in (data / "train.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_call_trains_and_reports(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[object] = []
    report = train(str(data), str(tmp_path / "m"), config=QUICK, network=NETWORK, options=CPU, on_event=seen.append)
    assert isinstance(report, TrainReport)
    assert (report.folder, report.failures, report.url) == (tmp_path / "m", (), None)
    assert report.best_epoch in (1, 2)
    assert report.as_dict() == {"model": str(tmp_path / "m"), "best_epoch": report.best_epoch, **report.metrics}
    assert {"config.json", "model.safetensors", "report.json", "report.html", "README.md"} <= {
        path.name for path in (tmp_path / "m").iterdir()
    }
    warned, started, *epochs, finished, measure, ask = [event for event in seen if not isinstance(event, PROGRESS)]
    assert warned == events.Warned(
        "12 sentences are too few to learn words from; "
        "scores are not calibrated (4 validation sentences, at least 100 are needed)"
    )
    assert [measure, ask] == [
        events.Noted(f"to measure it: mttsg evaluate {data} --split val"),
        events.Noted(f"to ask it:     mttsg ground {data} {quote(sentences(data)[0])}"),
    ]
    assert isinstance(started, RunStarted) and isinstance(started, events.TrainingStarted)
    assert (started.folder, started.device, started.videos, started.pairs) == (tmp_path / "m", "cpu", 6, 12)
    assert [event.epoch for event in epochs if isinstance(event, events.EpochDone)] == [1, 2]
    assert isinstance(finished, events.TrainingFinished)
    assert [event for event in seen if isinstance(event, PROGRESS)] == [
        events.ProgressStarted("training", 2),
        events.ProgressAdvanced("training"),
        events.ProgressAdvanced("training"),
    ]
    assert capsys.readouterr() == ("", "")


def test_without_a_folder_it_is_a_numbered_run(data: Path, tmp_path: Path) -> None:
    report = train(data, config=QUICK, network=NETWORK, options=CPU)
    assert report.folder == tmp_path / "home" / "mttsg" / "runs" / "0001"


def test_the_iterator_gives_the_same_events_and_weights(data: Path, tmp_path: Path) -> None:
    seen: list[object] = []
    train(data, tmp_path / "a", config=QUICK, network=NETWORK, options=CPU, on_event=seen.append)
    *passed, report = iter_train(data, tmp_path / "b", config=QUICK, network=NETWORK, options=CPU)
    assert [type(event) for event in passed] == [type(event) for event in seen]
    assert isinstance(report, TrainReport)
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_settings_as_mappings_and_as_configs_are_the_same(data: Path, tmp_path: Path) -> None:
    given = from_mapping(NetworkConfig, {"clip_dim": 1, "word_dim": 1, **NETWORK})  # the features decide these two
    train(data, tmp_path / "a", config=QUICK, network=given, loss=LossConfig(contrast=0.5), options=CPU)
    train(
        data,
        tmp_path / "b",
        config={"epochs": 2, "batch_videos": 3},
        network=NETWORK,
        loss={"contrast": 0.5},
        options=CPU,
    )
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in "ab")
    assert first == second
    assert first["training"]["loss"]["contrast"] == 0.5


def test_a_stopped_run_goes_on_with_its_own_settings(data: Path, tmp_path: Path) -> None:
    network = {**NETWORK, "activities": False}
    options = {"config": TrainingConfig(epochs=4, batch_videos=3, seed=7), "network": network}
    (data / "val.jsonl").unlink()  # or it might stop early
    train(data, tmp_path / "whole", options=CPU, **options)  # type: ignore[arg-type]
    for event in iter_train(data, tmp_path / "m", options=CPU, **options):  # type: ignore[arg-type]
        if isinstance(event, events.EpochDone) and event.epoch == 2:
            break
    resume = TrainOptions(device="cpu", resume=True)
    with pytest.raises(ConfigError, match="seed"):
        train(data, tmp_path / "m", config={"seed": 8}, options=resume)
    seen: list[object] = []
    train(data, tmp_path / "m", config={"seed": 7}, options=resume, on_event=seen.append)
    assert [event.epoch for event in seen if isinstance(event, events.EpochDone)] == [3, 4]
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "m")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_names_of_an_earlier_version_are_read_with_one_note(data: Path, tmp_path: Path) -> None:
    seen: list[object] = []
    config = {"epochs": 1, "cut": 0.5, "join": 0.25}
    train(data, tmp_path / "m", config=config, network=NETWORK, options=CPU, on_event=seen.append)
    note = next(event.text for event in seen if isinstance(event, events.Noted))
    assert "cut is now temporal_crop" in note
    training = json.loads((tmp_path / "m" / "config.json").read_text())["training"]
    assert (training["temporal_crop"], training["temporal_concat"]) == (0.5, 0.25)


def test_bad_rows_and_lost_features_are_events_and_log_lines(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (data / "train.jsonl").open("a") as rows:
        rows.write("broken\n")
    damaged = data / "features" / "train0.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    seen: list[object] = []
    with caplog.at_level(logging.WARNING, "mttsg"):
        report = train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=CPU, on_event=seen.append)
    [skipped] = [event for event in seen if isinstance(event, events.RowsSkipped)]
    assert [problem.line for problem in skipped.problems] == [13]
    [failed] = [event for event in seen if isinstance(event, events.InputFailed)]
    assert report.failures == (failed.reason,)
    assert str(damaged) in failed.reason
    logged = [record.getMessage() for record in caplog.records]
    assert logged.count(failed.reason) == 1
    assert "1 bad row skipped" in logged
    assert any("without features, left out" in line for line in logged)


def test_external_features_are_taken_from_another_folder(data: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for path in (data / "features").iterdir():
        np.save(given / f"{path.stem}.npy", read_features(path).clips)
    features = FeatureOptions(features=given, text_encoder="hashed")
    report = train(data, tmp_path / "m", config=QUICK, network=NETWORK, features=features, options=CPU)
    assert report.failures == ()


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"config": {"epoch": 3}}, ConfigError, "did you mean 'epochs'"),
        ({"network": {"width": 7}}, ConfigError, "width"),
        ({"network": {"max_clips": "many"}}, ConfigError, "max_clips"),
        ({"loss": {"contrast": -1.0}}, ConfigError, "contrast"),
        ({"options": TrainOptions(device="tpu")}, ConfigError, "tpu"),
        ({"options": TrainOptions(resume=True)}, ModelError, "nothing to resume"),
        ({"options": TrainOptions(push="moments")}, ConfigError, "user/name"),
    ],
)
def test_what_cannot_be_used_is_an_error_before_any_work(
    data: Path, tmp_path: Path, arguments: dict[str, object], kind: type[MttsgError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        train(data, tmp_path / "m", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "m").exists()


def test_an_existing_model_is_replaced_only_if_wanted(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=CPU)
    with pytest.raises(ConfigError, match="already has a model"):
        train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=CPU)
    again = TrainOptions(device="cpu", overwrite=True)
    assert train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=again).best_epoch


def test_a_run_stopped_in_its_first_epoch_is_started_again(data: Path, tmp_path: Path) -> None:
    for event in iter_train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=CPU):
        if isinstance(event, RunStarted):
            break
    assert (tmp_path / "m" / "config.json").is_file()
    with pytest.raises(ModelError, match="nothing to resume"):
        train(data, tmp_path / "m", options=TrainOptions(device="cpu", resume=True))
    assert train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=CPU).best_epoch


def test_a_foreign_config_is_not_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ConfigError, match="--overwrite"):
        train(data, tmp_path, config=QUICK, network=NETWORK, options=CPU)


@pytest.mark.parametrize("options", [CPU, replace(CPU, resume=True), replace(CPU, overwrite=True)])
def test_a_second_training_is_not_let_into_a_folder(data: Path, tmp_path: Path, options: TrainOptions) -> None:
    first = iter_train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=CPU)
    assert any(isinstance(event, events.EpochDone) for event in first)
    before = {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    with pytest.raises(BusyError, match="m: another training is at work") as caught:
        train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=options)
    assert str(os.getpid()) in str(caught.value) or os.name != "posix"
    assert {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()} == before
    [*_, report] = first
    assert isinstance(report, TrainReport)
    assert not (tmp_path / "m" / "state" / "lock").exists()


def test_resume_does_not_take_a_run_that_is_at_work(data: Path) -> None:
    stopped = iter_train(data, config=QUICK, network=NETWORK, options=CPU)
    assert any(isinstance(event, events.EpochDone) for event in stopped)
    stopped.close()  # type: ignore[attr-defined]
    at_work = iter_train(data, config=QUICK, network=NETWORK, options=CPU)
    assert any(isinstance(event, events.EpochDone) for event in at_work)
    report = train(data, options=replace(CPU, resume=True))
    assert report.folder.name == "0001"
    with pytest.raises(BusyError, match="0002: another training"):
        train(data, options=replace(CPU, resume=True))
    [*_, other] = at_work
    assert isinstance(other, TrainReport)
    assert other.folder.name == "0002"
    for folder in (report.folder, other.folder):
        lines = (folder / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_a_damaged_state_is_a_warning_and_the_one_before_is_resumed(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "m", config=QUICK, network=NETWORK, options=CPU)
    (tmp_path / "m" / STATE).write_bytes(b"")
    seen: list[object] = []
    train(data, tmp_path / "m", options=replace(CPU, resume=True), on_event=seen.append)
    warning = next(event.text for event in seen if isinstance(event, events.Warned))
    assert f"{tmp_path / 'm' / STATE}: damaged; resuming from previous.safetensors" in warning


def test_data_without_a_training_split(data: Path, tmp_path: Path) -> None:
    (data / "train.jsonl").unlink()
    with pytest.raises(DataError, match="no train split"):
        train(data, tmp_path / "m")


def test_a_file_in_the_way_is_an_error_of_the_library(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MttsgError, match="file"):
        train(data, tmp_path / "file" / "deep", config=QUICK, network=NETWORK, options=CPU)


def test_threads_are_restored(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(3)
        inside: list[int] = []
        train(
            *(data, tmp_path / "m"),
            config=QUICK,
            network=NETWORK,
            options=CPU,
            on_event=lambda event: inside.append(torch.get_num_threads()),
        )
        assert max(inside) <= 2
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", [FeatureOptions, TrainOptions])
def test_options_check_their_values(kind: type[FeatureOptions] | type[TrainOptions]) -> None:
    with pytest.raises(ConfigError):
        kind(**({"fps": 0.0} if kind is FeatureOptions else {"workers": 0}))
