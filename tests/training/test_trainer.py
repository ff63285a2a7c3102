"""Training: repeatable, resumable to the same weights, and it keeps the best epoch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.data.dataset import Dataset
from mttsg_core.errors import DataError, FeatureError, ModelError, TrainingError
from mttsg_core.evaluation.evaluator import evaluate
from mttsg_core.features.store import FeatureStore, write_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.training import trainer
from mttsg_core.training.events import EpochDone, TrainingEvent, TrainingFinished, TrainingStarted
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.training.trainer import LOG, RunSettings, train
from mttsg_core.utils.distributed import Ranks
from tests.helpers.tiny import NO_DROPOUT, SIZES, dataset
from tests.training.runs import (
    CONFIG,
    HASHED,
    epochs_of,
    equal,
    fit,
    fit_until,
    read_log,
    weights,
)


def test_events_log_and_report_agree(data: Dataset, validation: Dataset, tmp_path: Path) -> None:
    started, *epochs, finished = fit(data, tmp_path / "m", validation)
    assert isinstance(started, TrainingStarted)
    assert (started.epoch, started.epochs, started.videos, started.pairs) == (0, 4, 6, 12)
    assert [event.epoch for event in epochs_of(epochs)] == [1, 2, 3, 4]
    assert isinstance(finished, TrainingFinished)
    log = read_log(tmp_path / "m")
    assert [line["epoch"] for line in log] == [1, 2, 3, 4]
    for line, event in zip(log, epochs_of(epochs), strict=True):
        assert line["losses"] == event.losses
        assert line["metrics"] == event.metrics
        terms = {
            "proposal",
            "boundary",
            "foreground",
            "offset",
            "contrast",
            "intra",
            "mining",
            "objects",
            "activities",
            "presence",
        }
        assert event.losses.keys() == terms | {"total", "phi", "phi_same", "dropped", "gate"}
        assert "R@1,IoU=0.7" in event.metrics
        assert event.gradient_norm > 0
    report = json.loads((tmp_path / "m" / "report.json").read_text())
    assert report["best_epoch"] == finished.best_epoch
    assert report["validation"] == finished.metrics
    assert report["epochs"] == 4
    load_model(tmp_path / "m")


def test_the_loss_falls_and_the_model_learns(data: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=45, lr=1e-2)
    wide = {**SIZES, "width": 32, "head_width": 32, **NO_DROPOUT}
    events = epochs_of(fit(data, tmp_path / "m", network=wide, config=config))
    assert events[-1].losses["total"] < 0.75 * events[0].losses["total"]
    metrics = evaluate(Grounder(MKTNPredictor(load_model(tmp_path / "m"))), data).metrics
    assert metrics["R@1,IoU=0.5"] >= 60


@pytest.mark.parametrize("regions", [True, False])
def test_the_same_seed_gives_the_same_model(tmp_path: Path, regions: bool) -> None:
    data = dataset(tmp_path / "features", regions=regions)
    first = epochs_of(fit(data, tmp_path / "1"))
    torch.rand(5)  # other code may draw random numbers in between
    second = epochs_of(fit(data, tmp_path / "2"))
    assert equal(weights(tmp_path / "1"), weights(tmp_path / "2"))
    assert [event.losses for event in first] == [event.losses for event in second]
    fit(data, tmp_path / "3", config=replace(CONFIG, seed=8))
    assert not equal(weights(tmp_path / "1"), weights(tmp_path / "3"))


def _script_validation(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Make validation return these scores, one an epoch."""
    remaining = iter(scores)

    def scripted(grounder: Grounder, split: Dataset, ranks: Ranks) -> Any:
        value = next(remaining)
        metrics = {"R@1,IoU=0.5": value, "R@1,IoU=0.7": value, "mIoU": value}
        return type("Scripted", (), {"metrics": metrics, "intervals": {}})

    monkeypatch.setattr(trainer, "evaluate_together", scripted)
    monkeypatch.setattr(trainer, "_calibrate", lambda *_: {})


def test_the_best_epoch_is_kept_and_training_stops_when_no_better_one_follows(
    data: Dataset, validation: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, epochs=10, patience=0.4)
    _script_validation(monkeypatch, [10, 30, 30, 20, 29, 28, 99, 99, 99, 99])
    best: dict[str, torch.Tensor] = {}
    events: list[TrainingEvent] = []
    for event in train(data, validation, tmp_path / "m", HASHED, RunSettings(config, network=SIZES)):
        events.append(event)
        if isinstance(event, EpochDone) and event.epoch == 2:
            best = weights(tmp_path / "m")
    assert [event.best for event in epochs_of(events)] == [True, True, False, False, False, False]
    finished = events[-1]
    assert isinstance(finished, TrainingFinished)
    assert (finished.best_epoch, finished.stopped_early) == (2, True)
    assert finished.metrics["mIoU"] == 30
    assert equal(weights(tmp_path / "m"), best)


def test_an_unusable_validation_split_is_refused_before_training(
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
    pairs[2] = replace(pairs[2], moments=((998.0, 999.0),))  # entirely outside the video
    [started] = fit_until(replace(data, pairs=pairs), tmp_path / "m", 0)
    assert isinstance(started, TrainingStarted)
    assert (started.clipped, started.outside) == (2, 1)
    sampler = TrainingSampler(replace(data, pairs=pairs), HASHED)
    for video, spans in zip(sampler.videos, sampler.spans, strict=True):
        clips = len(data.store.load(video).clips)
        assert (spans[:, 0] < spans[:, 1]).all()
        assert spans.min() >= 0
        assert spans.max() <= clips


def test_moments_are_relative_to_the_start_time_of_their_video(tmp_path: Path) -> None:
    data = dataset(tmp_path / "features", 1)
    [video] = data.store.files
    expected = TrainingSampler(data, HASHED).spans
    write_features(data.store.files[video], replace(data.store.load(video), start=100.0))
    late = replace(data, store=FeatureStore(data.store.files))
    pairs = [replace(pair, moments=tuple((a + 100, b + 100) for a, b in pair.moments)) for pair in data.pairs]
    spans = TrainingSampler(replace(late, pairs=pairs), HASHED).spans
    assert spans[0] == pytest.approx(expected[0], abs=1e-4)
    with pytest.raises(DataError, match="no pair to learn from"):
        TrainingSampler(late, HASHED)  # all moments end before the first frame


def test_data_without_a_pair_to_learn_from_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair to learn from"):
        fit(replace(data, pairs=[replace(pair, moments=()) for pair in data.pairs]), tmp_path / "m")
    with pytest.raises(DataError, match="none of its videos has features"):
        fit(replace(data, pairs=[replace(pair, video="x") for pair in data.pairs]), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_features_of_two_kinds_are_refused(data: Dataset, tmp_path: Path) -> None:
    video = data.pairs[-1].video
    features = data.store.load(video)
    write_features(data.store.files[video], replace(features, fingerprint={"encoder": "clip"}))
    with pytest.raises(FeatureError, match=r"'clip'.*'tiny'"):
        fit(replace(data, store=FeatureStore(data.store.files)), tmp_path / "m")


def test_a_new_run_leaves_nothing_of_an_old_one_in_the_same_folder(data: Dataset, tmp_path: Path) -> None:
    """Stopped before the end of its first epoch, it must not look like the finished run before it."""
    fit(data, tmp_path / "m")
    fit_until(data, tmp_path / "m", 0, network={**SIZES, "width": 8})
    assert not (tmp_path / "m" / "report.json").exists()
    assert not (tmp_path / "m" / LOG).exists()
    with pytest.raises(ModelError, match="no weights"):
        load_model(tmp_path / "m")
    with pytest.raises(ModelError, match="nothing to resume"):
        fit(data, tmp_path / "m", resume=True)


def test_a_loss_that_is_nan_or_infinite_ends_the_training(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="NaN or infinite"):
        fit(data, tmp_path / "m", config=replace(CONFIG, lr=1e30, clip_norm=1e30))
    assert not (tmp_path / "m" / "report.json").exists()


def test_pairs_outside_their_video_are_not_counted(data: Dataset, tmp_path: Path) -> None:
    late = replace(data.pairs[0], moments=((1e6, 2e6),))  # long after the end of its video
    started = fit(replace(data, pairs=[late, *data.pairs[1:]]), tmp_path / "m", config=replace(CONFIG, epochs=1))[0]
    assert isinstance(started, TrainingStarted)
    assert started.pairs == len(data.pairs) - 1
    assert json.loads((tmp_path / "m" / "report.json").read_text())["pairs"] == len(data.pairs) - 1


def test_a_switched_off_part_stays_off(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "m", network={**SIZES, "offsets": False}, config=replace(CONFIG, epochs=1))
    assert not load_model(tmp_path / "m").network.config.offsets
    assert not any("head.offsets" in name for name in weights(tmp_path / "m"))


def test_the_features_decide_the_input_widths(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "m", network={**SIZES, "clip_dim": 99, "regions": 0}, config=replace(CONFIG, epochs=1))
    config = load_model(tmp_path / "m").network.config
    assert (config.clip_dim, config.regions, config.region_dim, config.word_dim) == (6, 4, 3, 128)
