"""A whole training on a GPU: prefetched, validated, calibrated, stopped and resumed, and read again on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.checkpoints.runs import STATE
from mttsg_core.data.batch import Batch, Targets
from mttsg_core.data.dataset import Dataset
from mttsg_core.errors import FeatureError
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.training.prefetch import prefetched
from mttsg_core.training.run import TrainingRun
from tests.devices.chains import CPU, step_batch
from tests.devices.emulated_cuda import CUDA, EmulatedGPU, emulated_cuda
from tests.helpers.tiny import dataset, features
from tests.training.runs import CONFIG, epochs_of, equal, fit, fit_until, weights

SHORT = replace(CONFIG, epochs=2, batch_videos=3, calibration_sentences=1)


@pytest.fixture
def gpu() -> Iterator[EmulatedGPU]:
    with emulated_cuda() as device:
        yield device


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "features")


@pytest.fixture
def validation(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "features", 2, seed=1, name="val")


def test_a_training_has_the_losses_of_the_cpu_and_its_model_answers_there(
    gpu: EmulatedGPU, data: Dataset, validation: Dataset, tmp_path: Path
) -> None:
    on_gpu = fit(data, tmp_path / "gpu", validation, config=SHORT, device=CUDA)
    assert not gpu.pageable["data/batch.py"], gpu.pageable
    on_cpu = fit(data, tmp_path / "cpu", validation, config=SHORT)
    for epoch, expected in zip(epochs_of(on_gpu), epochs_of(on_cpu), strict=True):
        assert epoch.losses == pytest.approx(expected.losses, rel=0.02, abs=0.01)
    trained = load_model(tmp_path / "gpu")
    assert trained.is_calibrated
    answers = Grounder(MKTNPredictor(trained)).ground_features(features(20), ["the red thing moves"], top=1)
    assert len(answers) == 1


def test_a_run_that_is_stopped_resumes_to_the_same_weights(gpu: EmulatedGPU, data: Dataset, tmp_path: Path) -> None:
    fit(data, tmp_path / "unbroken", config=SHORT, device=CUDA)
    fit_until(data, tmp_path / "m", 1, config=SHORT, device=CUDA)
    torch.rand(3)
    fit(data, tmp_path / "m", config=SHORT, device=CUDA, resume=True)
    assert equal(weights(tmp_path / "unbroken"), weights(tmp_path / "m"))
    assert equal(load_file(tmp_path / "unbroken" / STATE), load_file(tmp_path / "m" / STATE))


@pytest.mark.parametrize("devices", [(CUDA, CPU), (CPU, CUDA)], ids=["to the CPU", "to the GPU"])
def test_a_run_can_be_resumed_on_another_device(
    gpu: EmulatedGPU, data: Dataset, tmp_path: Path, devices: tuple[torch.device, torch.device]
) -> None:
    fit_until(data, tmp_path / "m", 1, config=SHORT, device=devices[0])
    epochs = epochs_of(fit(data, tmp_path / "m", config=SHORT, device=devices[1], resume=True))
    assert [epoch.epoch for epoch in epochs] == [2]


def test_a_deterministic_training_requires_such_algorithms_in_its_steps_alone(
    gpu: EmulatedGPU, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    required: list[bool] = []
    step = TrainingRun._step

    def record(run: TrainingRun, *batch: Any) -> None:
        required.append(torch.are_deterministic_algorithms_enabled())
        step(run, *batch)

    monkeypatch.setattr(TrainingRun, "_step", record)
    for deterministic in (True, False):
        config = replace(SHORT, epochs=1, batch_videos=6, deterministic=deterministic)
        fit(data, tmp_path / f"m{deterministic}", config=config, device=CUDA)
        assert not torch.are_deterministic_algorithms_enabled()
    assert required == [True, False]


def batches(count: int) -> Iterator[tuple[Batch, Targets]]:
    batch, targets = step_batch(2, (1, 2), (3, 4))
    for number in range(count):
        yield replace(batch, durations=batch.durations * 0 + number), targets


def test_batches_are_prefetched_in_order_from_pinned_memory(gpu: EmulatedGPU) -> None:
    for number, (batch, targets) in enumerate(prefetched(batches(5), CUDA)):
        assert batch.durations.tolist() == [number] * 2
        batch.to(CUDA)
        targets.to(CUDA)
    assert number == 4
    assert gpu.uploads.total() > 0
    assert not gpu.pageable
    assert list(prefetched(batches(0), CUDA)) == []


def test_the_next_batches_are_made_while_one_is_in_use(gpu: EmulatedGPU) -> None:
    made: list[int] = []
    ahead = threading.Event()

    def recorded() -> Iterator[tuple[Batch, Targets]]:
        for number, batch in enumerate(batches(9)):
            made.append(number)
            if number == 2:
                ahead.set()
            yield batch

    stream = prefetched(recorded(), CUDA)
    next(stream)
    assert ahead.wait(60), "the first batch is in use, and two more have been made"
    stream.close()  # type: ignore[attr-defined]
    assert max(made) <= 3
    made.clear()
    next(prefetched(recorded(), CPU))
    assert made == [0], "on the CPU they are made when they are wanted"


def test_a_fault_of_a_batch_is_raised_where_it_is_wanted(gpu: EmulatedGPU) -> None:
    def faulty() -> Iterator[tuple[Batch, Targets]]:
        yield from batches(1)
        raise FeatureError("no features")

    stream = prefetched(faulty(), CUDA)
    next(stream)
    with pytest.raises(FeatureError, match="no features"):
        next(stream)
