"""Layers over ragged axes: each against a plain loop, and padding changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mttsg_core.modeling.layers import (
    AttentionPool,
    BiMinGRU,
    ChannelDropout,
    LocalBlock,
    QueryGroups,
    _Recurrence,
    _ScannedRecurrence,
    masked_log_softmax,
    masked_mean,
    masked_softmax,
    own_video_mask,
    random_steps,
    scan_,
    tanh_,
    unit_length,
)

LENGTHS = (7, 1, 4)


@pytest.fixture
def ragged() -> tuple[Tensor, Tensor]:
    """Return (3, 7, 6) with a padding that is not zero, and its mask."""
    torch.manual_seed(0)
    return torch.randn(3, 7, 6), torch.arange(7) < torch.tensor(LENGTHS)[:, None]


def test_masked_softmax_is_the_softmax_of_the_valid_entries(ragged: tuple[Tensor, Tensor]) -> None:
    x, mask = ragged
    weights = masked_softmax(x[..., 0], mask)
    logarithms = masked_log_softmax(x[..., 0], mask)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(weights[row, :length], x[row, :length, 0].softmax(0))
        torch.testing.assert_close(logarithms[row, :length], x[row, :length, 0].log_softmax(0))
        assert (weights[row, length:] == 0).all()
        assert (logarithms[row, length:] < -1e30).all()


def test_masked_softmax_without_a_valid_entry_is_zero() -> None:
    assert (masked_softmax(torch.randn(2, 3), torch.zeros(2, 3, dtype=torch.bool)) == 0).all()


def test_masked_mean_is_the_mean_of_the_valid_entries(ragged: tuple[Tensor, Tensor]) -> None:
    x, mask = ragged
    mean = masked_mean(x, mask[..., None], dim=1)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(mean[row], x[row, :length].mean(0))


def _assert_padding_has_no_effect(layer: nn.Module, x: Tensor, mask: Tensor) -> None:
    """Assert that a row alone, without padding, gives what it gives among others, and that padding gives zero."""
    together = layer(x, mask)
    for row, length in enumerate(LENGTHS):
        alone = layer(x[row : row + 1, :length], mask[row : row + 1, :length])
        if alone.ndim == 3:
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-6, rtol=1e-5)
            assert (together[row, length:] == 0).all()
        else:
            torch.testing.assert_close(together[row], alone[0], atol=1e-6, rtol=1e-5)


def test_padding_has_no_effect_on_a_local_block(ragged: tuple[Tensor, Tensor]) -> None:
    x, mask = ragged
    _assert_padding_has_no_effect(LocalBlock(6, 3, 0.0), x * mask[..., None], mask)


def test_padding_has_no_effect_on_a_bidirectional_gru(ragged: tuple[Tensor, Tensor]) -> None:
    _assert_padding_has_no_effect(BiMinGRU(6, 8), *ragged)


def test_padding_has_no_effect_on_an_attention_pool(ragged: tuple[Tensor, Tensor]) -> None:
    _assert_padding_has_no_effect(AttentionPool(6), *ragged)


def test_a_bidirectional_gru_is_a_loop_in_each_direction(ragged: tuple[Tensor, Tensor]) -> None:
    x, mask = ragged
    layer = BiMinGRU(6, 8)
    states = layer(x, mask)
    keep, new = layer.keep(x).sigmoid(), layer.new(x).tanh()
    for row, length in enumerate(LENGTHS):
        forward, backward = torch.zeros(4), torch.zeros(4)
        for step in range(length):
            gate, value = keep[row, step, :4], new[row, step, :4]
            forward = gate * forward + (1 - gate) * value
            torch.testing.assert_close(states[row, step, :4], forward)
            gate, value = keep[row, length - 1 - step, 4:], new[row, length - 1 - step, 4:]
            backward = gate * backward + (1 - gate) * value
            torch.testing.assert_close(states[row, length - 1 - step, 4:], backward)


def test_the_gradient_of_a_bidirectional_gru_is_correct(ragged: tuple[Tensor, Tensor]) -> None:
    x, mask = ragged
    layer = BiMinGRU(6, 8).double()
    assert torch.autograd.gradcheck(
        lambda *inputs: layer(inputs[0], mask), (x.double().requires_grad_(), *layer.parameters())
    )


def test_a_recurrence_is_in_the_precision_of_its_weights_within_autocast_too(ragged: tuple[Tensor, Tensor]) -> None:
    x, mask = ragged
    layer = BiMinGRU(6, 8)
    expected = layer(x, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = layer(x.bfloat16(), mask)
        assert states.dtype == torch.float32
        assert torch.equal(layer(x, mask), expected)
    torch.testing.assert_close(states, layer(x.bfloat16().float(), mask))


@pytest.mark.parametrize("steps", [*range(1, 10), 31, 32, 33, 100])
def test_a_recurrence_by_a_scan_is_one_step_by_step(steps: int) -> None:
    keep, new, gradient = torch.rand(steps, 2, 6).double(), *torch.randn(2, steps, 2, 6).double()
    results = []
    for recurrence in (_Recurrence, _ScannedRecurrence):
        inputs = [values.clone().requires_grad_() for values in (keep, new)]
        states = recurrence.apply(*inputs)  # type: ignore[no-untyped-call]
        results.append([states, *torch.autograd.grad(states, inputs, gradient)])
    for stepwise, scanned in zip(*results, strict=True):
        torch.testing.assert_close(scanned, stepwise)


@pytest.mark.parametrize("steps", [5, 64, 200])
def test_a_scan_takes_a_logarithm_of_the_steps(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = 0
    addcmul = Tensor.addcmul_

    def count(*arguments: Tensor) -> Tensor:
        nonlocal depth
        depth += 1
        return addcmul(*arguments)

    monkeypatch.setattr(Tensor, "addcmul_", count)
    scan_(torch.rand(steps, 3), torch.randn(steps, 3))
    assert depth < 2 * math.log2(steps)


def test_vectors_of_length_1_and_their_gradient() -> None:
    x = torch.randn(5, 3, dtype=torch.double)
    x[2] = 0
    assert torch.equal(unit_length(x), torch.nn.functional.normalize(x, dim=-1))
    x = torch.randn(5, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(unit_length, x)
    assert torch.autograd.grad(unit_length(x * 0).sum(), x)[0].isfinite().all()


def test_random_steps_cover_a_row_in_order_and_are_never_drawn_from_its_padding(
    ragged: tuple[Tensor, Tensor],
) -> None:
    _, mask = ragged
    drawn = torch.stack([random_steps(mask, torch.rand(len(mask), 3)) for _ in range(200)])  # (200, 3, 3)
    for row, length in enumerate(LENGTHS):
        assert set(drawn[:, row].flatten().tolist()) == set(range(length))
    assert (drawn.diff(dim=-1) >= 0).all()
    # The last step is reached, and no more than that, even where rounding goes up.
    largest = torch.full((len(mask), 8), 1 - 2**-24)
    assert random_steps(mask, largest)[:, -1].tolist() == [length - 1 for length in LENGTHS]


def test_a_channel_is_dropped_at_all_steps_or_at_none() -> None:
    torch.manual_seed(0)
    layer, x = ChannelDropout(0.4), torch.ones(50, 9, 100)
    dropped = layer(x)
    assert (dropped == dropped[:, :1]).all()
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / 0.6)]
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)  # the expectation does not change
    assert torch.equal(layer.eval()(x), x)
    assert (ChannelDropout(0.4)(torch.ones(4, 1000)) == 0).any()


def test_queries_are_grouped_by_video_and_ungrouped_again() -> None:
    index = torch.tensor([2, 0, 2, 2, 0])
    values = torch.arange(10.0).reshape(5, 2)
    groups = QueryGroups(index, 4)
    grouped = groups.group(values)
    assert grouped.shape == (4, 3, 2)
    expected = {0: [1, 4], 1: [], 2: [0, 2, 3], 3: []}
    for video, queries in expected.items():
        for slot in range(3):
            content = values[queries[slot]] if slot < len(queries) else torch.zeros(2)
            assert torch.equal(grouped[video, slot], content)
    assert torch.equal(groups.ungroup(grouped), values)
    assert torch.equal(groups.of_video(torch.arange(4)), index)


def test_queries_that_are_in_order_are_grouped_as_others_are() -> None:
    in_order, other = QueryGroups(torch.tensor([0, 0, 1, 1]), 2), QueryGroups(torch.tensor([0, 1, 1, 0]), 2)
    assert in_order.is_in_order
    assert not other.is_in_order
    assert not QueryGroups(torch.tensor([0, 0, 1]), 2).is_in_order
    values, videos, back = torch.randn(4, 3), torch.randn(2, 3, 5), [0, 3, 1, 2]
    assert torch.equal(in_order.group(values), other.group(values[[0, 2, 3, 1]]))
    assert torch.equal(in_order.ungroup(in_order.group(values)), values)
    assert torch.equal(in_order.of_video(videos), other.of_video(videos)[back])
    torch.testing.assert_close(in_order.product(values, videos), other.product(values[[0, 2, 3, 1]], videos)[back])


def test_the_hyperbolic_tangent_by_the_sigmoid() -> None:
    values = torch.linspace(-20, 20, 401)
    torch.testing.assert_close(tanh_(values.clone()), values.tanh(), atol=2e-7, rtol=0)
    values = torch.randn(7, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tanh_(x * 1), values)


def test_the_mask_of_own_videos() -> None:
    assert own_video_mask(torch.tensor([1, 0, 1]), 3).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, True, False],
    ]


def test_each_query_is_multiplied_with_its_own_video() -> None:
    index, videos = torch.tensor([2, 0, 2, 2, 0]), torch.randn(4, 3, 6)
    groups = QueryGroups(index, 4)
    vectors, matrices = torch.randn(5, 3), torch.randn(5, 7, 3)
    for query, video in enumerate(index.tolist()):
        torch.testing.assert_close(groups.product(vectors, videos)[query], vectors[query] @ videos[video])
        torch.testing.assert_close(groups.product(matrices, videos)[query], matrices[query] @ videos[video])


def test_the_gradient_through_groups_is_correct() -> None:
    values = torch.randn(5, 2, dtype=torch.double, requires_grad=True)
    groups = QueryGroups(torch.tensor([1, 0, 1, 1, 0]), 2)
    assert torch.autograd.gradcheck(lambda x: groups.ungroup(groups.group(x) ** 2), values)
