"""A stopped training goes on to the very weights of an unbroken one, or says in one line why it cannot."""

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

from mttsg_core.checkpoints.runs import PREVIOUS, STATE
from mttsg_core.config import NETWORKS, LossConfig
from mttsg_core.data.dataset import Dataset
from mttsg_core.errors import ConfigError, ModelError
from mttsg_core.training import run as training_run
from mttsg_core.training.events import TrainingFinished, TrainingStarted
from mttsg_core.training.run import TrainingRun
from mttsg_core.training.sampler import TrainingSampler
from mttsg_core.training.state_file import read_state, write_state
from mttsg_core.utils import atomic
from tests.helpers.tiny import SIZES, dataset, network
from tests.training.runs import (
    CONFIG,
    HASHED,
    LOSS,
    epochs_of,
    equal,
    fit,
    fit_until,
    read_files,
    read_log,
    weights,
)


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


def test_thresholds_and_memory_are_part_of_the_state_and_not_of_the_model(data: Dataset, tmp_path: Path) -> None:
    fit_until(data, tmp_path / "m", 2)
    state = load_file(tmp_path / "m" / STATE)
    prefix, memory = "criterion.false_negative_filter.thresholds.", "criterion.memory."
    names = {prefix + name for name in ("phi", "running_statistics", "updates")}
    names |= {memory + name for name in ("text", "moment", "pairs", "videos")}
    assert {name for name in state if name.startswith("criterion.")} == names
    assert not {
        name for name in weights(tmp_path / "m") if "threshold" in name or name in ("memory.text", "memory.moment")
    }
    assert sorted(state[memory + "pairs"].tolist()) == list(range(12)), "each of the pairs has its slot"
    assert state[memory + "text"].norm(dim=1).tolist() == pytest.approx([1.0] * 12, abs=1e-5)
    updates = int(state[prefix + "updates"])
    assert 0 < updates < 2 * CONFIG.steps_per_epoch(6), "the first step finds an empty memory"
    resumed = epochs_of(fit_until(data, tmp_path / "m", 3, resume=True))
    assert resumed[0].losses["phi"] != 1
    again = load_file(tmp_path / "m" / STATE)
    assert int(again[prefix + "updates"]) == updates + CONFIG.steps_per_epoch(6)
    assert not torch.equal(again[memory + "moment"], state[memory + "moment"])


def test_a_restored_run_has_the_state_that_was_saved(tmp_path: Path) -> None:
    def new_run() -> TrainingRun:
        return TrainingRun(network(word_dim=HASHED.dim), CONFIG, LossConfig(), 8, 12, torch.device("cpu"))

    run, restored = new_run(), new_run()
    run.epoch(TrainingSampler(dataset(tmp_path / "features"), HASHED), 1)
    run.progress.epoch, run.progress.best_metrics = 1, {"mIoU": 3.0}
    run.save(tmp_path, {"lr": 1})
    assert not equal(restored.criterion.state_dict(), run.criterion.state_dict())
    restored.restore(read_state(tmp_path), {"lr": 1})
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
        ({"loss": replace(LOSS, proposal=2.0)}, r"loss\.proposal = 1.0, not 2.0"),
        ({"loss": replace(LOSS, phi_same_odds=3.0)}, r"loss\.phi_same_odds"),
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
    changed = replace(data.pairs[0], query="another sentence")
    with pytest.raises(ConfigError, match="rows = 'sha256:"):
        fit(replace(data, pairs=[changed, *data.pairs[1:]]), tmp_path / "m", resume=True)


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


def test_a_stop_while_a_state_is_written_leaves_the_one_before_in_its_place(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_until(data, tmp_path / "m", 3)
    state = tmp_path / "m" / STATE
    whole = state.read_bytes()

    def stop(path: Path, flags: int) -> None:
        if path.parent == state.parent:
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_synchronise", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(data, tmp_path / "m", resume=True)
        assert state.read_bytes() == whole
        assert (tmp_path / "m" / PREVIOUS).read_bytes() == whole
        assert not list(tmp_path.rglob("*.part"))


def test_states_are_kept_on_a_disk_without_hard_links(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    fit_until(data, tmp_path / "m", 3)
    states = [load_file(tmp_path / "m" / name) for name in (STATE, PREVIOUS)]
    assert not equal(*states)


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
    run = TrainingRun(network(word_dim=HASHED.dim), config, LossConfig(), 24, 12, torch.device("cpu"))
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


@pytest.mark.parametrize("part", ["network", "average", "criterion", "adam", "progress", "text"])
def test_a_state_of_which_a_byte_has_changed_is_damaged(data: Dataset, tmp_path: Path, part: str) -> None:
    """The names of tensors lie in the header, their values behind it."""
    fit_until(data, tmp_path / "m", 1)
    (tmp_path / "m" / PREVIOUS).unlink(missing_ok=True)
    whole = (tmp_path / "m" / STATE).read_bytes()
    place = {"progress": whole.index(b"best_epoch"), "text": len(whole) - 2}.get(part)
    place = whole.index(f'"{part}.'.encode()) + 3 if place is None else place
    (tmp_path / "m" / STATE).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ModelError, match="damaged") as caught:
        fit(data, tmp_path / "m", resume=True)
    assert "\n" not in str(caught.value)


def rename(tensors: dict[str, torch.Tensor], old: str, new: str) -> None:
    tensors[new] = tensors.pop(old)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: rename(tensors, "criterion.memory.pairs", "criterion.memory.pears"),
        lambda tensors: tensors.pop("adam.0.exp_avg"),
        lambda tensors: tensors.update({"adam.0.exp_avg": torch.zeros(1)}),
        lambda tensors: tensors.update({"adam.x.exp_avg": torch.zeros(1)}),
        lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(1, 2, 3)}),
    ],
)
def test_a_state_of_another_run_is_refused_in_one_line(
    data: Dataset, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    fit_until(data, tmp_path / "m", 1)
    (tmp_path / "m" / PREVIOUS).unlink(missing_ok=True)
    saved = read_state(tmp_path / "m")
    tensors = dict(saved.tensors)
    change(tensors)
    write_state(tmp_path / "m", tensors, saved.notes)
    (tmp_path / "m" / PREVIOUS).unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"damaged \(not a state of this run\)"):
        fit(data, tmp_path / "m", resume=True)


def test_a_state_without_settings_is_damaged(data: Dataset, tmp_path: Path) -> None:
    fit_until(data, tmp_path / "m", 1)
    change_notes(tmp_path / "m", lambda notes: notes.pop("settings"))
    with pytest.raises(ModelError, match="damaged"):
        fit(data, tmp_path / "m", resume=True)


def test_a_run_of_a_version_with_fewer_settings_is_resumed(data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "unbroken")
    fit_until(data, tmp_path / "m", 2)
    state = tmp_path / "m" / STATE
    with safe_open(state, framework="pt") as file:
        notes = json.loads(file.metadata()["mttsg"])
    for table, name in (("network", "network"), ("network", "map_bins"), ("loss", "slot_class")):
        del notes["settings"][table][name]
    save_file(load_file(state), state, {"mttsg": json.dumps(notes)})
    with pytest.raises(ConfigError, match=r"the run was started with network\.network = 'mktn', not 'span'"):
        fit(data, tmp_path / "m", resume=True, network={**SIZES, "network": "span"})
    fit(data, tmp_path / "m", resume=True)
    assert equal(weights(tmp_path / "unbroken"), weights(tmp_path / "m"))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "mktn"])
def test_every_network_resumes_to_the_very_same_weights(data: Dataset, tmp_path: Path, name: str) -> None:
    settings: dict[str, Any] = {
        "network": {**SIZES, "map_bins": 8, "map_width": 8, "network": name},
        "config": replace(CONFIG, epochs=2),
    }
    fit(data, tmp_path / "unbroken", **settings)
    fit_until(data, tmp_path / "m", 1, **settings)
    fit(data, tmp_path / "m", resume=True, **settings)
    assert equal(weights(tmp_path / "unbroken"), weights(tmp_path / "m"))
