"""The emulated device computes what the CPU does, mixes devices as CUDA does, and finds what is planted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from mttsg_core.modeling import contrastive
from mttsg_core.training.run import TrainingRun
from mttsg_core.utils.devices import deterministic_algorithms
from tests.devices.chains import pinned, run_on, step_batch, take_steps
from tests.devices.emulated_cuda import CUDA, DeviceMismatchError, EmulatedGPU, emulated_cuda


@pytest.fixture
def gpu() -> Iterator[EmulatedGPU]:
    with emulated_cuda() as device:
        yield device


def test_values_and_gradients_are_those_of_the_cpu(gpu: EmulatedGPU) -> None:
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    expected = layer(x).relu().sum()
    expected.backward()
    moved = copy.deepcopy(layer).to(CUDA)
    moved.zero_grad()
    total = moved(x.to(CUDA)).relu().sum()
    total.backward()
    assert total.device == CUDA and total.is_cuda
    assert total.cpu().device.type == "cpu"
    assert float(total.detach()) == pytest.approx(float(expected.detach()))
    assert moved.weight.grad is not None and layer.weight.grad is not None
    assert moved.weight.grad.device == CUDA
    torch.testing.assert_close(moved.weight.grad.cpu(), layer.weight.grad)


def test_gradients_flow_through_moves_between_the_devices(gpu: EmulatedGPU) -> None:
    x = torch.ones(3, requires_grad=True)
    (x.to(CUDA) * 2).cpu().sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2, 2]


def test_tensors_of_both_devices_mix_as_on_cuda(gpu: EmulatedGPU) -> None:
    here, there = torch.arange(3.0), torch.arange(3.0, device=CUDA)
    wrong_calls: list[Callable[[], Tensor]] = [
        lambda: here + there,
        lambda: torch.cat([here, there]),
        lambda: here[there.long()],
        lambda: torch.where(there > 1, here, there),
        lambda: there.add_(here),
        lambda: torch.stack([there.sum(), here.sum()]),
    ]
    for wrong in wrong_calls:
        with pytest.raises(DeviceMismatchError, match=r"cuda:0|cpu"):
            wrong()
    assert (there + torch.tensor(1.0)).tolist() == [1, 2, 3], "a scalar of the CPU may meet any tensor"
    assert there[torch.tensor([2])].tolist() == [2]
    there.copy_(here + 1)
    assert there.tolist() == [1, 2, 3]
    for unreadable in (there.numpy, lambda: torch.tensor([1.0]).numpy() + there.__array__()):
        with pytest.raises(TypeError, match="cpu"):
            unreadable()


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 1],
        lambda x: (x > 1).nonzero(),
        lambda x: x.unique(),
        lambda x: torch.repeat_interleave(x.long()),
        lambda x: torch.zeros(3).copy_(x),
    ],
)
def test_what_waits_for_the_gpu_is_counted(gpu: EmulatedGPU, wait: object) -> None:
    x = torch.arange(3.0, device=CUDA)
    assert callable(wait)
    wait(x)
    assert gpu.synchronisations.total() == 1


def test_uploads_are_counted_and_whether_their_memory_is_pinned(gpu: EmulatedGPU) -> None:
    torch.ones(2).pin_memory().to(CUDA, non_blocking=True)
    assert (gpu.uploads.total(), gpu.pageable.total()) == (1, 0)
    torch.ones(2).to(CUDA)
    torch.tensor([1.0], device=CUDA)
    torch.zeros(3, device=CUDA)[[0, 1]]
    assert (gpu.uploads.total(), gpu.pageable.total()) == (4, 3)
    assert gpu.synchronisations.total() == 0


def test_views_launch_nothing_and_half_precision_is_noticed(gpu: EmulatedGPU) -> None:
    x = torch.ones(4, 6, device=CUDA)
    gpu.reset()
    x.view(2, 12)[1:].T.unsqueeze(0).expand(3, -1, -1).detach()
    assert gpu.launches.total() == gpu.half.total() == 0
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert (x @ x.T).dtype == torch.bfloat16
    assert gpu.half.total() >= 1


def test_deterministic_algorithms_are_those_of_cuda(gpu: EmulatedGPU) -> None:
    x = torch.ones(4, device=CUDA)
    with deterministic_algorithms(CUDA, required=False):
        x.cumsum(0)
    with deterministic_algorithms(CUDA, required=True):
        assert torch.are_deterministic_algorithms_enabled()
        x.long().cumsum(0)
        with pytest.raises(RuntimeError, match="cumsum does not have a deterministic implementation"):
            x.cumsum(0)
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(torch.device("cpu"), required=True):
        assert not torch.are_deterministic_algorithms_enabled(), "a CPU is deterministic anyway"


def _planted(monkeypatch: pytest.MonkeyPatch, change: object) -> TrainingRun:
    """Return a run on the GPU in whose losses the tokens that are pooled have been changed."""
    pooled = contrastive.pooled_direction
    assert callable(change)
    monkeypatch.setattr(contrastive, "pooled_direction", lambda weights, tokens: pooled(weights, change(tokens)))
    return run_on(CUDA)


def test_a_mismatch_planted_in_a_step_is_found(gpu: EmulatedGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _planted(monkeypatch, lambda tokens: tokens * torch.ones(tokens.shape[-1]))
    with pytest.raises(DeviceMismatchError, match=r"mul.*modeling/contrastive\.py:\d+"):
        take_steps(run, pinned(step_batch(3)))


def test_a_synchronisation_planted_in_a_step_is_found(gpu: EmulatedGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(tokens: Tensor) -> Tensor:
        return tokens * float(tokens.abs().amax() > 0)

    batch, counts = pinned(step_batch(3)), []
    take_steps(run_on(CUDA), batch, 1)
    counts.append(gpu.synchronisations.copy())
    gpu.reset()
    take_steps(_planted(monkeypatch, change), batch, 1)
    counts.append(gpu.synchronisations.copy())
    assert counts[1].total() > counts[0].total() == 1
    assert any(line.startswith("modeling/contrastive.py") for line in counts[1] - counts[0])
