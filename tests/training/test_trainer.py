"""Training: repeatable, resumable to the same weights, and it keeps the best epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import LossConfig, TrainingConfig
from mttsg_core.data.dataset import Dataset
from mttsg_core.encoders import build_text_encoder
from mttsg_core.errors import ConfigError, DataError, FeatureError, ModelError, TrainingError
from mttsg_core.evaluation.evaluator import evaluate
from mttsg_core.features.store import FeatureStore, write_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.training import trainer as module
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.training.trainer import LOG, STATE, EpochDone, TrainingEvent, TrainingFinished, TrainingStarted, train
from tests.helpers.tiny import SIZES, dataset

CONFIG = TrainingConfig(epochs=4, batch_videos=3, lr=3e-3, average=0.5, patience=9.0, seed=7)
HASHED = build_text_encoder("hashed")


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "features")


@pytest.fixture
def validation(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "features", 3, seed=1, name="val")


def fit(data: Dataset, folder: Path, validation: Dataset | None = None, **options: Any) -> list[TrainingEvent]:
    settings = {"network": SIZES, "config": CONFIG, **options}
    return list(train(data, validation, folder, HASHED, **settings))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def epochs_of(events: list[TrainingEvent]) -> list[EpochDone]:
    return [event for event in events if isinstance(event, EpochDone)]


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_events_log_and_report_tell_the_same_story(data: Dataset, validation: Dataset, tmp_path: Path) -> None:
    started, *epochs, finished = fit(data, tmp_path / "m", validation)
    assert isinstance(started, TrainingStarted)
    assert (started.epoch, started.epochs, started.videos, started.pairs) == (0, 4, 6, 12)
    assert [event.epoch for event in epochs_of(epochs)] == [1, 2, 3, 4]
    assert isinstance(finished, TrainingFinished)
    log = log_of(tmp_path / "m")
    assert [line["epoch"] for line in log] == [1, 2, 3, 4]
    for line, event in zip(log, epochs_of(epochs), strict=True):
        assert line["losses"] == event.losses
        assert line["metrics"] == event.metrics
        assert {"total", "span", "boundary", "inside", "offset"} <= event.losses.keys()
        assert "R@1,IoU=0.7" in event.metrics
        assert event.gradient_norm > 0
    report = json.loads((tmp_path / "m" / "report.json").read_text())
    assert report["best_epoch"] == finished.best_epoch
    assert report["validation"] == finished.metrics
    assert report["epochs"] == 4
    load_model(tmp_path / "m")


def test_the_loss_falls_and_the_model_learns(data: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=45, lr=1e-2)
    off = {"dropout": 0.0, "input_dropout": 0.0, "word_input_dropout": 0.0, "word_dropout": 0.0}
    wide = {**SIZES, "width": 32, "head_width": 32, **off}
    events = epochs_of(fit(data, tmp_path / "m", network=wide, config=config))
    assert events[-1].losses["total"] < 0.75 * events[0].losses["total"]
    fitted = evaluate(Grounder(MKTNPredictor(load_model(tmp_path / "m"))), data).metrics
    assert fitted["R@1,IoU=0.5"] >= 60


@pytest.mark.parametrize("regions", [True, False])
def test_one_seed_one_model(tmp_path: Path, regions: bool) -> None:
    data = dataset(tmp_path / "features", regions=regions)
    first = epochs_of(fit(data, tmp_path / "1"))
    torch.rand(5)  # whatever else drew random numbers
    second = epochs_of(fit(data, tmp_path / "2"))
    assert same(tmp_path / "1", tmp_path / "2")
    assert [event.losses for event in first] == [event.losses for event in second]
    fit(data, tmp_path / "3", config=replace(CONFIG, seed=8))
    assert not same(tmp_path / "1", tmp_path / "3")


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_stopped_run_goes_on_to_the_very_same_weights(
    data: Dataset, validation: Dataset, tmp_path: Path, stop: int
) -> None:
    whole = epochs_of(fit(data, tmp_path / "whole", validation))
    for event in train(data, validation, tmp_path / "m", HASHED, network=SIZES, config=CONFIG):
        if isinstance(event, EpochDone) and event.epoch == stop:
            break
    assert not (tmp_path / "m" / "report.json").exists()
    torch.rand(3)
    rest = fit(data, tmp_path / "m", validation, resume=True)
    assert isinstance(rest[0], TrainingStarted)
    assert rest[0].epoch == stop
    assert [event.epoch for event in epochs_of(rest)] == list(range(stop + 1, 5))
    assert [event.losses for event in epochs_of(rest)] == [event.losses for event in whole[stop:]]
    assert same(tmp_path / "whole", tmp_path / "m")
    kept = load_file(tmp_path / "whole" / STATE), load_file(tmp_path / "m" / STATE)
    assert all(torch.equal(value, kept[1][name]) for name, value in kept[0].items())
    assert [line["losses"] for line in log_of(tmp_path / "m")] == [event.losses for event in whole]


def test_an_epoch_that_was_logged_but_not_saved_comes_again_once(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(data, tmp_path / "whole")
    save: Callable[..., None] = module._Run.save

    def killed(run: Any, folder: Path, about: Any) -> None:
        if run.progress.epoch == 3:
            raise KeyboardInterrupt
        save(run, folder, about)

    monkeypatch.setattr(module._Run, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(data, tmp_path / "m")
    monkeypatch.undo()
    assert len(log_of(tmp_path / "m")) == 3
    fit(data, tmp_path / "m", resume=True)
    assert [line["epoch"] for line in log_of(tmp_path / "m")] == [1, 2, 3, 4]
    assert same(tmp_path / "whole", tmp_path / "m")


def test_a_finished_run_resumed_is_still_finished(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "m")
    before = weights(tmp_path / "m")
    events = fit(data, tmp_path / "m", resume=True)
    assert [type(event) for event in events] == [TrainingStarted, TrainingFinished]
    assert all(torch.equal(value, before[name]) for name, value in weights(tmp_path / "m").items())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": replace(CONFIG, lr=1e-3)}, "lr"),
        ({"config": replace(CONFIG, epochs=9)}, "epochs"),
        ({"config": replace(CONFIG, seed=1)}, "seed"),
        ({"loss": LossConfig(span=2.0)}, "loss"),
        ({"network": {**SIZES, "offsets": False}}, "offsets"),
        ({"network": {**SIZES, "width": 32}}, "width"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    data: Dataset, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    next(
        event for event in train(data, None, tmp_path / "m", HASHED, network=SIZES, config=CONFIG) if epochs_of([event])
    )
    before = {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=named):
        fit(data, tmp_path / "m", **{"resume": True, **change})
    assert {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()} == before


def test_resuming_on_other_data_is_refused(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "m")
    with pytest.raises(ConfigError, match="pairs"):
        fit(replace(data, pairs=data.pairs[:-1]), tmp_path / "m", resume=True)


def test_nothing_to_resume(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing to resume"):
        fit(data, tmp_path / "m", resume=True)
    fit(data, tmp_path / "m")
    for content in (b"", b"damaged" * 10, (tmp_path / "m" / STATE).read_bytes()[:-9]):
        (tmp_path / "m" / STATE).write_bytes(content)
        with pytest.raises(ModelError, match="damaged") as caught:
            fit(data, tmp_path / "m", resume=True)
        assert "\n" not in str(caught.value)


def _scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Let validation give these scores, one an epoch."""
    left = iter(scores)

    def scored(grounder: Grounder, dataset: Dataset) -> Any:
        value = next(left)
        metrics = {"R@1,IoU=0.5": value, "R@1,IoU=0.7": value, "mIoU": value}
        return type("Scored", (), {"metrics": metrics, "intervals": {}})

    monkeypatch.setattr(module, "evaluate", scored)
    monkeypatch.setattr(module, "_calibrate", lambda *_: {})


def test_the_best_epoch_is_kept_and_training_stops_when_none_follows(
    data: Dataset, validation: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, epochs=10, patience=0.4)
    _scripted(monkeypatch, [10, 30, 30, 20, 29, 28, 99, 99, 99, 99])
    kept: dict[str, torch.Tensor] = {}
    events: list[TrainingEvent] = []
    for event in train(data, validation, tmp_path / "m", HASHED, network=SIZES, config=config):
        events.append(event)
        if isinstance(event, EpochDone) and event.epoch == 2:
            kept = weights(tmp_path / "m")
    assert [event.best for event in epochs_of(events)] == [True, True, False, False, False, False]
    finished = events[-1]
    assert isinstance(finished, TrainingFinished)
    assert (finished.best_epoch, finished.stopped_early) == (2, True)
    assert finished.metrics["mIoU"] == 30
    assert all(torch.equal(value, kept[name]) for name, value in weights(tmp_path / "m").items())


def test_a_validation_split_that_cannot_be_used_is_refused_at_once(
    data: Dataset, validation: Dataset, tmp_path: Path
) -> None:
    absent = replace(validation, pairs=[replace(pair, video="absent") for pair in validation.pairs])
    with pytest.raises(DataError, match="val: none of its videos has features"):
        fit(data, tmp_path / "m", absent)
    for video, path in validation.store.files.items():
        write_features(path, replace(validation.store.load(video), fingerprint={"encoder": "x"}))
    with pytest.raises(FeatureError, match="'x'"):
        fit(data, tmp_path / "m", replace(validation, store=FeatureStore(validation.store.files)))
    assert not (tmp_path / "m").exists()


def test_without_validation_the_last_epoch_is_kept(data: Dataset, tmp_path: Path) -> None:
    *_, finished = fit(data, tmp_path / "m")
    assert isinstance(finished, TrainingFinished)
    assert (finished.best_epoch, finished.stopped_early, dict(finished.metrics)) == (4, False, {})


def test_ends_past_the_video_are_clipped_and_counted(data: Dataset, tmp_path: Path) -> None:
    pairs = list(data.pairs)
    pairs[0] = replace(pairs[0], moments=((1.0, 999.0),))
    pairs[1] = replace(pairs[1], moments=((1.0, 999.0), (2.0, 3.0)))
    pairs[2] = replace(pairs[2], moments=((998.0, 999.0),))  # nothing of it is in the video
    started = next(train(replace(data, pairs=pairs), None, tmp_path / "m", HASHED, network=SIZES, config=CONFIG))
    assert isinstance(started, TrainingStarted)
    assert (started.clipped, started.outside) == (2, 1)
    examples = TrainingSampler(replace(data, pairs=pairs), HASHED)
    for video, bounds in zip(examples.videos, examples.bounds, strict=True):
        clips = len(data.store.load(video).clips)
        assert (bounds[:, 0] < bounds[:, 1]).all()
        assert bounds.min() >= 0
        assert bounds.max() <= clips


def test_moments_of_a_video_that_begins_late_are_where_they_are(tmp_path: Path) -> None:
    data = dataset(tmp_path / "features", 1)
    [video] = data.store.files
    made = replace(data.store.load(video), start=100.0)
    write_features(data.store.files[video], made)
    late = dataset(tmp_path / "other", 1)
    late.store.files[video] = data.store.files[video]
    pairs = [replace(pair, moments=tuple((a + 100, b + 100) for a, b in pair.moments)) for pair in data.pairs]
    expected = TrainingSampler(data, HASHED).bounds
    found = TrainingSampler(replace(late, pairs=pairs), HASHED).bounds
    assert found[0] == pytest.approx(expected[0], abs=1e-4)
    with pytest.raises(DataError, match="no pair to learn from"):
        TrainingSampler(replace(late, pairs=data.pairs), HASHED)  # all of them end before the first frame


def test_nothing_to_learn_from_is_said(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair to learn from"):
        fit(replace(data, pairs=[replace(pair, moments=()) for pair in data.pairs]), tmp_path / "m")
    with pytest.raises(DataError, match="none of its videos has features"):
        fit(replace(data, pairs=[replace(pair, video="x") for pair in data.pairs]), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_features_of_two_kinds_are_refused(data: Dataset, tmp_path: Path) -> None:
    video = data.pairs[-1].video
    made = data.store.load(video)
    write_features(data.store.files[video], replace(made, fingerprint={"encoder": "clip"}))
    mixed = dataset(tmp_path / "again")
    mixed.store.files[video] = data.store.files[video]
    with pytest.raises(FeatureError, match=r"'clip'.*'tiny'"):
        fit(mixed, tmp_path / "m")


def test_a_new_run_leaves_nothing_of_the_old_one(data: Dataset, tmp_path: Path) -> None:
    """Stopped before its first epoch is over, it must not look like the finished run that was there."""
    fit(data, tmp_path / "m")
    next(train(data, None, tmp_path / "m", HASHED, network={**SIZES, "width": 8}, config=CONFIG))
    assert not (tmp_path / "m" / "report.json").exists()
    with pytest.raises(ModelError, match="no weights"):
        load_model(tmp_path / "m")
    with pytest.raises(ModelError, match="nothing to resume"):
        fit(data, tmp_path / "m", resume=True)


def test_a_loss_that_is_no_number_ends_the_training(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no number"):
        fit(data, tmp_path / "m", config=replace(CONFIG, lr=1e30, clip_norm=1e30))
    assert not (tmp_path / "m" / "report.json").exists()


def test_sentences_without_features_are_not_said_to_be_trained_on(data: Dataset, tmp_path: Path) -> None:
    late = replace(data.pairs[0], moments=((1e6, 2e6),))  # long after the end of its video
    started = fit(replace(data, pairs=[late, *data.pairs[1:]]), tmp_path / "m", config=replace(CONFIG, epochs=1))[0]
    assert isinstance(started, TrainingStarted)
    assert started.pairs == len(data.pairs) - 1
    assert json.loads((tmp_path / "m" / "report.json").read_text())["pairs"] == len(data.pairs) - 1


def test_a_part_switched_off_stays_off(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "m", network={**SIZES, "offsets": False}, config=replace(CONFIG, epochs=1))
    assert not load_model(tmp_path / "m").network.config.offsets
    assert not any("head.offsets" in name for name in weights(tmp_path / "m"))


def test_the_features_decide_the_widths(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "m", network={**SIZES, "clip_dim": 99, "regions": 0}, config=replace(CONFIG, epochs=1))
    config = load_model(tmp_path / "m").network.config
    assert (config.clip_dim, config.regions, config.region_dim, config.word_dim) == (6, 4, 3, 128)
