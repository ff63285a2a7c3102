"""Activity prototypes and their assignment to sentences."""

import itertools

import numpy as np
import pytest
import torch

from mttsg_core.modeling.activity_sentence import ActivitySentenceAlignment, assign, assign_by_video
from mttsg_core.modeling.layers import QueryGroups
from tests.helpers.small_networks import small_config


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_assignment_is_the_cheapest_of_all(rows: int) -> None:
    random = np.random.default_rng(rows)
    for columns in range(rows, 6):
        for _ in range(20):
            cost = random.normal(size=(rows, columns)).round(1)
            found = assign(cost.tolist())
            assert len(set(found)) == rows
            best = min(
                sum(cost[row, column] for row, column in enumerate(columns_))
                for columns_ in itertools.permutations(range(columns), rows)
            )
            assert sum(cost[row, column] for row, column in enumerate(found)) == pytest.approx(best)


def test_costs_that_are_no_numbers_end_too() -> None:
    cost = torch.full((3, 4), torch.nan)
    assert len(set(assign_by_video(cost, torch.tensor([0, 0, 0])).tolist())) == 3


def test_queries_of_a_video_get_different_activities() -> None:
    cost = torch.zeros(11, 4)
    index = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2])
    assigned = assign_by_video(cost, index)
    assert len(set(assigned[:3].tolist())) == 3
    assert sorted(assigned[3:9].tolist().count(k) for k in range(4)) == [1, 1, 2, 2]  # six queries, four activities
    assert assigned[9] != assigned[10]


def _activities() -> ActivitySentenceAlignment:
    torch.manual_seed(0)
    activities = ActivitySentenceAlignment(small_config())
    torch.nn.init.normal_(activities.out.weight)
    torch.nn.init.normal_(activities.out_vector.weight)
    return activities


NONE = torch.zeros(4, 2, dtype=torch.bool)


def test_activities_ignore_padding() -> None:
    activities = _activities()
    clips, mask, sentence = torch.randn(1, 5, 16), torch.ones(1, 5, dtype=torch.bool), torch.randn(2, 16)
    longer, longer_mask = torch.cat([clips, torch.randn(1, 3, 16)], dim=1), torch.cat([mask, ~mask[:, :3]], dim=1)
    short, long_ = activities(clips, mask), activities(longer, longer_mask)
    torch.testing.assert_close(long_.vectors, short.vectors, atol=1e-5, rtol=0)
    assert not long_.places[..., 5:].any()
    groups = QueryGroups(torch.zeros(2, dtype=torch.long), 1)
    torch.testing.assert_close(
        activities.evidence(long_, longer_mask, sentence, groups)[:, :5],
        activities.evidence(short, mask, sentence, groups),
        atol=1e-5,
        rtol=0,
    )


def test_learning_makes_activities_look_at_the_true_moments() -> None:
    activities = _activities()
    clips, mask, sentence = torch.randn(2, 8, 16), torch.ones(2, 8, dtype=torch.bool), torch.randn(4, 16)
    index = torch.tensor([0, 0, 1, 1])
    bounds = torch.tensor([[0.0, 3.0], [4.0, 8.0], [1.0, 2.0], [3.0, 7.0]])
    optimizer = torch.optim.Adam(activities.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        found = activities(clips, mask)
        loss = activities.loss(found, mask, sentence, index, bounds, NONE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    found = activities(clips, mask)
    text = torch.nn.functional.normalize(activities.text_side(sentence), dim=-1)
    best = (text[:2] @ found.vectors[0].T).argmax(1)
    assert best[0] != best[1]
    assert found.places[0, best[0], :3].sum() > 0.8
    assert found.places[0, best[1], 4:].sum() > 0.8


def test_every_weight_is_reached() -> None:
    activities = _activities()
    mask = torch.ones(2, 8, dtype=torch.bool)
    found = activities(torch.randn(2, 8, 16), mask)
    index, bounds = torch.tensor([0, 1]), torch.tensor([[0.0, 0.0], [7.9, 8.0]])
    activities.loss(found, mask, torch.randn(2, 16), index, bounds, NONE[:2]).backward()
    for name, parameter in activities.named_parameters():
        if not name.startswith("out"):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name
