"""Training: repeatable, resumable to the same weights, and it keeps the best epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.checkpoints.runs import PREVIOUS, STATE
from mttsg_core.config import LossConfig, TrainingConfig
from mttsg_core.data.dataset import Dataset
from mttsg_core.encoders import build_text_encoder
from mttsg_core.errors import ConfigError, DataError, FeatureError, ModelError, TrainingError
from mttsg_core.evaluation.evaluator import evaluate
from mttsg_core.features.store import FeatureStore, write_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.training import run as training_run
from mttsg_core.training import trainer
from mttsg_core.training.events import EpochDone, TrainingEvent, TrainingFinished, TrainingStarted
from mttsg_core.training.run import TrainingRun
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.training.trainer import LOG, RunSettings, train
from tests.helpers.tiny import NO_DROPOUT, SIZES, dataset, network

CONFIG = TrainingConfig(epochs=4, batch_videos=3, lr=3e-3, average=0.5, patience=9.0, seed=7)
HASHED = build_text_encoder("hashed")


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "features")


@pytest.fixture
def validation(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "features", 3, seed=1, name="val")


def fit(data: Dataset, folder: Path, validation: Dataset | None = None, **options: Any) -> list[TrainingEvent]:
    return list(train(data, validation, folder, HASHED, *arguments_of(options), **options))


def arguments_of(options: dict[str, Any]) -> list[RunSettings]:
    """Take the settings out of the options of a test, over the usual ones."""
    settings = [
        options.pop(name, usual) for name, usual in (("config", CONFIG), ("loss", LossConfig()), ("network", SIZES))
    ]
    return [RunSettings(*settings)]


def fit_until(
    data: Dataset, folder: Path, epoch: int, validation: Dataset | None = None, **options: Any
) -> list[TrainingEvent]:
    """Train and stop after an epoch; 0 stops before the first."""
    events: list[TrainingEvent] = []
    for event in train(data, validation, folder, HASHED, *arguments_of(options), **options):
        events.append(event)
        if getattr(event, "epoch", None) == epoch:
            break
    return events


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def epochs_of(events: list[TrainingEvent]) -> list[EpochDone]:
    return [event for event in events if isinstance(event, EpochDone)]


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def read_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
            "objects",
            "activities",
            "presence",
        }
        assert event.losses.keys() == terms | {"total", "phi", "dropped", "gate"}
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


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_stopped_run_resumes_to_the_very_same_weights(
    data: Dataset, validation: Dataset, tmp_path: Path, stop: int
) -> None:
    unbroken = epochs_of(fit(data, tmp_path / "unbroken", validation))
    fit_until(data, tmp_path / "m", stop, validation)
    assert not (tmp_path / "m" / "report.json").exists()
    torch.rand(3)
    resumed = fit(data, tmp_path / "m", validation, resume=True)
    assert isinstance(resumed[0], TrainingStarted)
    assert resumed[0].epoch == stop
    assert [event.epoch for event in epochs_of(resumed)] == list(range(stop + 1, 5))
    assert [event.losses for event in epochs_of(resumed)] == [event.losses for event in unbroken[stop:]]
    assert equal(weights(tmp_path / "unbroken"), weights(tmp_path / "m"))
    assert equal(load_file(tmp_path / "unbroken" / STATE), load_file(tmp_path / "m" / STATE))
    assert [line["losses"] for line in read_log(tmp_path / "m")] == [event.losses for event in unbroken]


def test_phi_is_part_of_the_state_and_not_of_the_model(data: Dataset, tmp_path: Path) -> None:
    fit_until(data, tmp_path / "m", 2)
    state = load_file(tmp_path / "m" / STATE)
    prefix = "criterion.false_negative_filter.threshold."
    names = {prefix + name for name in ("phi", "running_statistics", "updates")}
    assert {name for name in state if name.startswith("criterion.")} == names
    assert not any("threshold" in name for name in weights(tmp_path / "m"))
    assert int(state[prefix + "updates"]) == 2 * CONFIG.steps_per_epoch(6)
    resumed = epochs_of(fit_until(data, tmp_path / "m", 3, resume=True))
    assert resumed[0].losses["phi"] != 1
    again = load_file(tmp_path / "m" / STATE)
    assert int(again[prefix + "updates"]) == 3 * CONFIG.steps_per_epoch(6)


def test_a_restored_run_has_the_state_that_was_saved(tmp_path: Path) -> None:
    def new_run() -> TrainingRun:
        return TrainingRun(network(word_dim=HASHED.dim), CONFIG, LossConfig(), 8, torch.device("cpu"))

    run, restored = new_run(), new_run()
    run.epoch(TrainingSampler(dataset(tmp_path / "features"), HASHED), 1)
    run.progress.epoch, run.progress.best_metrics = 1, {"mIoU": 3.0}
    run.save(tmp_path, {"lr": 1})
    assert not equal(restored.criterion.state_dict(), run.criterion.state_dict())
    restored.restore(tmp_path, {"lr": 1})
    assert equal(restored.criterion.state_dict(), run.criterion.state_dict())
    assert equal(restored.network.state_dict(), run.network.state_dict())
    assert equal(restored.averaged.state_dict(), run.averaged.state_dict())
    assert restored.progress == run.progress
    assert restored.lr() == run.lr()


def test_an_epoch_that_was_logged_but_not_saved_is_repeated_and_logged_once(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(data, tmp_path / "unbroken")
    save: Callable[..., None] = TrainingRun.save

    def stop_in_epoch_3(run: TrainingRun, folder: Path, settings: Any) -> None:
        if run.progress.epoch == 3:
            raise KeyboardInterrupt
        save(run, folder, settings)

    monkeypatch.setattr(TrainingRun, "save", stop_in_epoch_3)
    with pytest.raises(KeyboardInterrupt):
        fit(data, tmp_path / "m")
    monkeypatch.undo()
    assert len(read_log(tmp_path / "m")) == 3
    fit(data, tmp_path / "m", resume=True)
    assert [line["epoch"] for line in read_log(tmp_path / "m")] == [1, 2, 3, 4]
    assert equal(weights(tmp_path / "unbroken"), weights(tmp_path / "m"))


def test_resuming_a_finished_run_changes_nothing(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "m")
    before = weights(tmp_path / "m")
    events = fit(data, tmp_path / "m", resume=True)
    assert [type(event) for event in events] == [TrainingStarted, TrainingFinished]
    assert equal(weights(tmp_path / "m"), before)


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"config": replace(CONFIG, lr=1e-3)}, "lr"),
        ({"config": replace(CONFIG, epochs=9)}, "epochs"),
        ({"config": replace(CONFIG, seed=1)}, "seed"),
        ({"config": replace(CONFIG, crop_min_share=0.5)}, "crop_min_share"),
        ({"loss": LossConfig(proposal=2.0)}, r"loss\.proposal = 1.0, not 2.0"),
        ({"loss": LossConfig(phi_alpha=3.0)}, r"loss\.phi_alpha"),
        ({"network": {**SIZES, "offsets": False}}, r"network\.offsets = True, not False"),
        ({"network": {**SIZES, "width": 32}}, r"network\.width"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    data: Dataset, tmp_path: Path, change: dict[str, Any], setting: str
) -> None:
    fit_until(data, tmp_path / "m", 1)
    before = read_files(tmp_path / "m")
    with pytest.raises(ConfigError, match=f"the run was started with {setting}"):
        fit(data, tmp_path / "m", **{"resume": True, **change})
    assert read_files(tmp_path / "m") == before


def test_resuming_on_other_data_is_refused(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "m")
    with pytest.raises(ConfigError, match="pairs"):
        fit(replace(data, pairs=data.pairs[:-1]), tmp_path / "m", resume=True)


def test_a_missing_or_damaged_state_is_one_line(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing to resume"):
        fit(data, tmp_path / "m", resume=True)
    fit(data, tmp_path / "m")
    for content in (b"", b"damaged" * 10, (tmp_path / "m" / STATE).read_bytes()[:-9]):
        (tmp_path / "m" / STATE).write_bytes(content)
        (tmp_path / "m" / PREVIOUS).write_bytes(content)
        with pytest.raises(ModelError, match="damaged") as caught:
            fit(data, tmp_path / "m", resume=True)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-9], None])
def test_the_state_before_is_resumed_if_the_newest_is_damaged_or_missing(
    data: Dataset, validation: Dataset, tmp_path: Path, damage: Callable[[bytes], bytes] | None
) -> None:
    fit(data, tmp_path / "unbroken", validation)
    fit_until(data, tmp_path / "m", 3, validation)
    state = tmp_path / "m" / STATE
    whole = state.read_bytes()
    assert not list(tmp_path.rglob("*.part"))
    if damage is None:
        state.unlink()  # killed between the two replacements
    else:
        state.write_bytes(damage(whole))
    before = (tmp_path / "m" / PREVIOUS).read_bytes()
    resumed = fit_until(data, tmp_path / "m", 3, validation, resume=True)
    assert isinstance(resumed[0], TrainingStarted)
    assert resumed[0].epoch == 2
    assert (tmp_path / "m" / PREVIOUS).read_bytes() == before  # a damaged one never takes its place
    assert load_file(state).keys() == load_file(tmp_path / "unbroken" / STATE).keys()
    fit(data, tmp_path / "m", validation, resume=True)
    assert equal(weights(tmp_path / "unbroken"), weights(tmp_path / "m"))
    assert equal(load_file(tmp_path / "unbroken" / STATE), load_file(state))


class Killed(BaseException):
    """What a test raises where a process would be killed."""


@pytest.mark.parametrize(("epoch", "steps"), [(1, 1), (1, 3), (2, 2), (4, 3)])
def test_a_run_killed_within_an_epoch_resumes_to_the_very_same_weights(
    data: Dataset, validation: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, steps: int
) -> None:
    config = replace(CONFIG, batch_videos=1)  # several steps an epoch
    unbroken = epochs_of(fit(data, tmp_path / "unbroken", validation, config=config))
    saves: list[tuple[int, int]] = []
    save: Callable[..., None] = TrainingRun.save

    def killed_after_saving(run: TrainingRun, folder: Path, settings: Any) -> None:
        save(run, folder, settings)
        saves.append((run.progress.epoch + 1, run.progress.steps))
        if saves[-1] == (epoch, steps):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "SAVE_SECONDS", 0.0)
        patch.setattr(TrainingRun, "save", killed_after_saving)
        with pytest.raises(Killed):
            fit(data, tmp_path / "m", validation, config=config)
    torch.rand(3)
    taken: list[int] = []
    step = TrainingRun._step

    def counted(run: TrainingRun, *batch: Any) -> None:
        taken.append(run.progress.epoch)
        step(run, *batch)

    monkeypatch.setattr(TrainingRun, "_step", counted)
    resumed = fit(data, tmp_path / "m", validation, config=config, resume=True)
    assert isinstance(resumed[0], TrainingStarted)
    assert resumed[0].epoch == epoch - 1
    assert len(taken) == (5 - epoch) * config.steps_per_epoch(6) - steps  # none is taken twice
    assert [event.losses for event in epochs_of(resumed)] == [event.losses for event in unbroken[epoch - 1 :]]
    assert [event.gradient_norm for event in epochs_of(resumed)] == [
        event.gradient_norm for event in unbroken[epoch - 1 :]
    ]
    assert equal(weights(tmp_path / "unbroken"), weights(tmp_path / "m"))
    assert equal(load_file(tmp_path / "unbroken" / STATE), load_file(tmp_path / "m" / STATE))
    assert [line["losses"] for line in read_log(tmp_path / "m")] == [event.losses for event in unbroken]


def test_states_within_an_epoch_are_minutes_apart(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []
    clock = iter(range(0, 10**6, 100))  # it moves on by 100 seconds whenever it is read, once a step
    monkeypatch.setattr("mttsg_core.training.run.time.monotonic", lambda: next(clock))
    config = replace(CONFIG, batch_videos=1)
    run = TrainingRun(network(word_dim=HASHED.dim), config, LossConfig(), 24, torch.device("cpu"))
    run.epoch(TrainingSampler(data, HASHED), 1, lambda: saves.append(run.progress.steps))
    assert saves == [3]


def change_notes(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the notes beside the tensors of a state."""
    with safe_open(folder / STATE, framework="pt") as file:
        notes = json.loads(file.metadata()["mttsg"])
    change(notes)
    save_file(load_file(folder / STATE), folder / STATE, {"mttsg": json.dumps(notes)})


def test_the_state_of_an_earlier_version_is_refused_in_one_line(data: Dataset, tmp_path: Path) -> None:
    fit_until(data, tmp_path / "m", 1)
    change_notes(tmp_path / "m", lambda notes: notes.update(about=notes.pop("settings")))
    before = read_files(tmp_path / "m")
    with pytest.raises(ModelError, match="earlier version") as caught:
        fit(data, tmp_path / "m", resume=True)
    assert str(caught.value).startswith(f"{tmp_path / 'm' / STATE}: ")
    assert "damaged" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert read_files(tmp_path / "m") == before


def test_a_state_without_settings_is_damaged(data: Dataset, tmp_path: Path) -> None:
    fit_until(data, tmp_path / "m", 1)
    change_notes(tmp_path / "m", lambda notes: notes.pop("settings"))
    with pytest.raises(ModelError, match="damaged"):
        fit(data, tmp_path / "m", resume=True)


def _script_validation(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Make validation return these scores, one an epoch."""
    remaining = iter(scores)

    def scripted(grounder: Grounder, split: Dataset) -> Any:
        value = next(remaining)
        metrics = {"R@1,IoU=0.5": value, "R@1,IoU=0.7": value, "mIoU": value}
        return type("Scripted", (), {"metrics": metrics, "intervals": {}})

    monkeypatch.setattr(trainer, "evaluate", scripted)
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
