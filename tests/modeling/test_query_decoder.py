"""The decoder of moment queries: matching, losses, answers."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.modeling.query_decoder import clip_positions, inverse_sigmoid, nearness
from mttsg_core.modeling.slots import SlotOutput, generalised_iou, match_slots, slot_losses, start_end

CONFIG = NetworkConfig(clip_dim=1, word_dim=1)


def output(spans: list[list[float]], found: list[float], clips: int = 10, layers: int = 1) -> SlotOutput:
    """Slots of one query, the same after every layer: centre and length, and logits."""
    return SlotOutput(
        torch.tensor(spans).expand(layers, 1, -1, -1),
        torch.tensor(found).expand(layers, 1, -1),
        torch.zeros(1, clips),
        torch.full((1,), torch.inf),
        torch.ones(1, clips, dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 2), (0, 2), 1.0),
        ((0, 2), (1, 3), 1 / 3),
        ((0, 1), (1, 2), 0.0),
        ((0, 1), (3, 4), -0.5),
        ((0, 4), (1, 2), 0.25),
    ],
)
def test_generalised_iou(first: tuple[float, float], second: tuple[float, float], expected: float) -> None:
    pair = [torch.tensor(span, dtype=torch.float) for span in (first, second)]
    assert float(generalised_iou(*pair)) == pytest.approx(expected)
    assert float(generalised_iou(*pair[::-1])) == pytest.approx(expected)


def test_slots_and_moments_are_matched_at_the_least_cost() -> None:
    torch.manual_seed(0)
    cost = torch.randn(4, 5, 4)
    of_sentence = torch.tensor([[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]], dtype=torch.bool)
    row, slot, moment = match_slots(cost, of_sentence)
    for query, moments in ((0, [0, 1, 3]), (1, [0, 1, 3]), (2, [2]), (3, [0, 1, 3])):
        chosen = row == query
        assert sorted(moment[chosen].tolist()) == moments
        assert len(set(slot[chosen].tolist())) == len(moments)
        least = min(
            sum(float(cost[query, number, column]) for number, column in zip(some, moments, strict=True))
            for some in permutations(range(5), len(moments))
        )
        assert float(cost[query, slot[chosen], moment[chosen]].sum()) == pytest.approx(least, abs=1e-5)


def test_a_query_with_more_moments_than_slots_matches_every_slot() -> None:
    row, slot, moment = match_slots(torch.rand(3, 2, 3), torch.ones(3, 3, dtype=torch.bool))
    assert row.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(slot[:2].tolist()) == [0, 1]
    assert len(set(moment[:2].tolist())) == 2


def test_slots_on_the_moments_of_their_sentence_have_no_loss() -> None:
    spans = torch.tensor([[[0.2, 0.2], [0.7, 0.4], [0.5, 0.5]]]).expand(2, -1, -1)
    found = torch.tensor([[20.0, 20.0, -20.0]]).expand(2, -1)
    truth = torch.tensor([[0.7, 0.4], [0.2, 0.2]])
    terms = slot_losses(spans, found, truth, torch.ones(2, 2, dtype=torch.bool), LossConfig())
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {"slot_class": 0.0, "slot_l1": 0.0, "slot_giou": 0.0}, abs=1e-6
    )
    alone = slot_losses(spans, found, truth, torch.eye(2, dtype=torch.bool), LossConfig())
    assert float(alone["slot_class"]) > 1, "one of both slots has found nothing of the sentence"
    assert float(alone["slot_l1"]) == pytest.approx(0, abs=1e-6)


def test_slots_that_found_nothing_weigh_less() -> None:
    spans, truth = torch.tensor([[[0.5, 0.2], [0.1, 0.1]]]), torch.tensor([[0.5, 0.2]])
    found = torch.tensor([[0.0, 2.0]])
    [term] = [slot_losses(spans, found, truth, torch.ones(1, 1, dtype=torch.bool), LossConfig())["slot_class"]]
    right, wrong = torch.nn.functional.softplus(torch.tensor([0.0, 2.0])).tolist()
    assert float(term) == pytest.approx((right + 0.1 * wrong) / 1.1)


def test_every_layer_adds_its_losses() -> None:
    targets = Targets(torch.tensor([[2.0, 5.0]]), torch.tensor([0]))
    slots = [[0.3, 0.2], [0.8, 0.3]]
    one = output(slots, [0.5, -1.0]).losses(targets, LossConfig())
    three = output(slots, [0.5, -1.0], layers=3).losses(targets, LossConfig())
    for name in ("slot_class", "slot_l1", "slot_giou"):
        assert float(three[name]) == pytest.approx(3 * float(one[name]))
    assert float(three["saliency"]) == float(one["saliency"])


def test_answers_are_inside_the_video_and_apart() -> None:
    spans, scores = output([[0.1, 0.4], [0.12, 0.4], [0.9, 0.4], [1.0, 0.001]], [0.0, 1.0, -1.0, -2.0]).answers(
        4, CONFIG
    )
    torch.testing.assert_close(spans[0, :3], torch.tensor([[0.0, 3.2], [7.0, 10.0], [9.95, 10.0]]))
    torch.testing.assert_close(scores[0], torch.tensor([1.0, -1.0, -2.0, -torch.inf]).sigmoid())


def test_spans_and_positions() -> None:
    assert start_end(torch.tensor([0.5, 0.2])).tolist() == pytest.approx([0.4, 0.6])
    torch.testing.assert_close(inverse_sigmoid(torch.tensor([0.3])).sigmoid(), torch.tensor([0.3]))
    mask = torch.tensor([[True] * 4 + [False] * 4, [True] * 8])
    positions = clip_positions(mask, 16)
    torch.testing.assert_close(positions[0, 1], clip_positions(mask[:1, :4], 16)[0, 1])
    assert (positions[1, 1:] - positions[1, :-1]).abs().amax(-1).min() > 0.1, "neighbouring clips are told apart"


def test_half_of_the_heads_look_near_their_span_and_none_into_the_padding() -> None:
    mask = torch.tensor([[True] * 4 + [False] * 2])
    bias = nearness(torch.tensor([[[0.375, 0.5], [0.875, 0.25]]]), mask, 4)
    assert bias.shape == (4, 2, 6)
    assert (bias[..., 4:] == -torch.inf).all()
    assert (bias[2:, :, :4] == 0).all()
    torch.testing.assert_close(bias[0, 0, :4], torch.tensor([-1.5, 0.0, -1.5, -6.0]))
    assert bias[0, 1, :4].argmax() == 3
