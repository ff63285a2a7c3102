"""A step of training on a GPU: what it starts, waits for and uploads, and that it computes what the CPU does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from mttsg_core.config import NETWORKS, LossConfig
from mttsg_core.data.batch import Batch, Targets
from mttsg_core.utils.devices import deterministic_algorithms
from tests.devices.chains import CPU, WORD_DIM, pinned, run_on, step_batch, take_steps
from tests.devices.emulated_cuda import CUDA, EmulatedGPU, emulated_cuda

# What one step may do, with the memory of moments and without. They rise only for a gain; docs/devices.md shows them.
STEP = {"launches": 2485, "synchronisations": 1, "uploads": 17, "pageable": 0}
MINING_STEP = {"launches": 2562, "synchronisations": 1, "uploads": 17, "pageable": 0}
SLOTS_STEP = {"launches": 3035, "synchronisations": 2, "uploads": 18, "pageable": 0}
MINING = LossConfig(mining=0.3)


@pytest.fixture
def gpu() -> Iterator[EmulatedGPU]:
    with emulated_cuda() as device:
        yield device


@pytest.fixture(scope="module")
def batch() -> tuple[Batch, Targets]:
    return step_batch()


def counts_of_a_step(
    gpu: EmulatedGPU, batch: tuple[Batch, Targets], loss: LossConfig | None = None, network: str = "mktn"
) -> dict[str, int]:
    """Count what a step does after the first one, which makes the state of the optimiser and the average."""
    run, ready = run_on(CUDA, loss=loss, network=network), pinned(batch)
    take_steps(run, ready, 1)
    gpu.reset()
    take_steps(run, ready, 1)
    return gpu.totals()


@pytest.mark.parametrize(
    ("budget", "loss", "network"),
    [(STEP, None, "mktn"), (MINING_STEP, MINING, "mktn"), (SLOTS_STEP, None, "query-decoder")],
    ids=["default", "mining", "query-decoder"],
)
def test_a_step_stays_within_its_budget(
    gpu: EmulatedGPU, batch: tuple[Batch, Targets], budget: dict[str, int], loss: LossConfig | None, network: str
) -> None:
    counts = counts_of_a_step(gpu, batch, loss, network)
    over = {name: (counts[name], limit) for name, limit in budget.items() if counts[name] > limit}
    assert not over, (over, gpu.synchronisations, gpu.uploads)
    assert counts["launches"] > 0.9 * budget["launches"], "the budget can be lowered"


def test_neither_uploads_nor_waiting_grow_with_the_queries(gpu: EmulatedGPU) -> None:
    few, many = (counts_of_a_step(gpu, step_batch(4, queries)) for queries in ((2, 3), (9, 12)))
    assert {**few, "launches": 0} == {**many, "launches": 0}
    assert abs(many["launches"] - few["launches"]) < 20


def test_the_steps_of_the_recurrence_grow_with_the_logarithm_of_the_clips(gpu: EmulatedGPU) -> None:
    short, long = (counts_of_a_step(gpu, step_batch(2, (2, 3), (clips, clips))) for clips in (32, 256))
    assert 0 < long["launches"] - short["launches"] < 60


@pytest.mark.parametrize(
    ("network", "regions"), [*zip(NETWORKS, [True, False, False, False], strict=True), ("mktn", False)]
)
def test_a_step_computes_what_it_does_on_the_cpu(gpu: EmulatedGPU, network: str, regions: bool) -> None:
    batch = step_batch(4, (2, 4), (10, 20), regions=regions)
    on_cpu, on_gpu = (run_on(device, regions=regions, loss=MINING, network=network) for device in (CPU, CUDA))
    take_steps(on_cpu, batch)
    take_steps(on_gpu, pinned(batch))
    assert on_gpu._summed() == pytest.approx(on_cpu._summed(), rel=1e-3, abs=1e-4)
    for name, weights in on_cpu.averaged.state_dict().items():
        moved = on_gpu.averaged.state_dict()[name]
        assert moved.device == CUDA, name
        torch.testing.assert_close(moved.cpu(), weights, atol=2e-3, rtol=1e-2, msg=name)


def test_a_step_of_a_joint_model_runs_on_a_gpu(gpu: EmulatedGPU) -> None:
    inputs, targets = step_batch(4, (2, 4), (10, 20))
    batch = replace(inputs, clips=inputs.clips[..., :WORD_DIM]), targets  # clips as wide as sentences
    on_cpu, on_gpu = (run_on(device, joint=True, clip_dim=WORD_DIM) for device in (CPU, CUDA))
    take_steps(on_cpu, batch)
    take_steps(on_gpu, pinned(batch))
    assert gpu.synchronisations.total() == 2
    assert on_gpu._summed() == pytest.approx(on_cpu._summed(), rel=1e-3, abs=1e-4)


def test_nothing_is_computed_in_half_precision(gpu: EmulatedGPU, batch: tuple[Batch, Targets]) -> None:
    take_steps(run_on(CUDA, loss=MINING), pinned(batch), 1)
    assert not gpu.half


def test_losses_are_in_single_precision_within_autocast_too(gpu: EmulatedGPU, batch: tuple[Batch, Targets]) -> None:
    run = run_on(CUDA, loss=MINING)
    inputs, targets = batch[0].to(CUDA), batch[1].to(CUDA)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        output = run.network(inputs)
        assert gpu.half, "the network follows the autocast of its caller"
        gpu.reset()
        losses = run.criterion(output, targets)
    assert losses.total.dtype == torch.float32
    assert not gpu.half


@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_has_deterministic_algorithms_only(gpu: EmulatedGPU, network: str) -> None:
    inputs, targets = step_batch(3, (2, 3), (6, 9))
    batch = replace(inputs, clips=inputs.clips[..., :WORD_DIM]), targets
    run = run_on(CUDA, loss=MINING, network=network, joint=True, clip_dim=WORD_DIM)
    with deterministic_algorithms(CUDA, required=True):
        take_steps(run, pinned(batch), 1)
