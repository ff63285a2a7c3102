"""Activity prototypes and their assignment to sentences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mttsg_core.config import LossConfig
from mttsg_core.data.batch import Targets
from mttsg_core.modeling.activity_sentence import (
    ActivitySentenceAlignment,
    VideoActivities,
    activity_sentence_loss,
    activity_sentence_scores,
    assign_by_moment,
    assign_by_video,
)
from mttsg_core.modeling.layers import QueryGroups
from tests.helpers.small_networks import small_config

TEMPERATURE = 0.1
SAME = LossConfig.same_moment_iou


@pytest.mark.parametrize("queries", [1, 2, 3, 4])
def test_the_assignment_has_the_least_total_cost(queries: int) -> None:
    random = np.random.default_rng(queries)
    for activities in range(queries, 6):
        for _ in range(20):
            cost = random.normal(size=(queries, activities)).round(1)
            assigned = assign_by_video(cost, np.zeros(queries, dtype=np.int64)).tolist()
            assert len(set(assigned)) == queries
            least = min(
                sum(cost[row, column] for row, column in enumerate(columns))
                for columns in itertools.permutations(range(activities), queries)
            )
            assert sum(cost[row, column] for row, column in enumerate(assigned)) == pytest.approx(least)


def test_each_video_is_assigned_on_its_own_wherever_its_queries_are() -> None:
    random = np.random.default_rng(0)
    cost = random.normal(size=(9, 5))
    index = np.array([2, 0, 2, 1, 0, 2, 1, 0, 0])
    assigned = assign_by_video(cost, index)
    for video in range(3):
        rows = np.flatnonzero(index == video)
        assert np.array_equal(assigned[rows], assign_by_video(cost[rows], np.zeros_like(rows)))


def test_costs_that_are_not_finite_still_give_an_assignment() -> None:
    for value in (torch.nan, torch.inf, -torch.inf):
        cost = torch.full((3, 4), value)
        assigned = assign_by_moment(cost, torch.arange(3), torch.zeros(3, dtype=torch.long))
        assert len(set(assigned.tolist())) == 3


def test_queries_of_a_video_get_different_activities() -> None:
    cost = np.zeros((11, 4))
    index = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2])
    assigned = assign_by_video(cost, index)
    assert assigned.dtype == index.dtype
    assert len(set(assigned[:3].tolist())) == 3
    assert sorted(assigned[3:9].tolist().count(k) for k in range(4)) == [1, 1, 2, 2]  # six queries, four activities
    assert assigned[9] != assigned[10]


def _alignment() -> ActivitySentenceAlignment:
    torch.manual_seed(0)
    alignment = ActivitySentenceAlignment(small_config())
    torch.nn.init.normal_(alignment.out.weight)
    torch.nn.init.normal_(alignment.out_vector.weight)
    return alignment


def _loss(
    alignment: ActivitySentenceAlignment,
    activities: VideoActivities,
    sentence: torch.Tensor,
    index: torch.Tensor,
    spans: torch.Tensor,
    false_videos: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the loss for two videos without padding."""
    mask = torch.ones(activities.attention.shape[::2], dtype=torch.bool)
    if false_videos is None:
        false_videos = torch.zeros(len(index), len(mask), dtype=torch.bool)
    text = alignment.project_sentence(sentence)
    targets = Targets(spans, torch.arange(len(index)))
    scores = activity_sentence_scores(activities, text)
    return activity_sentence_loss(activities, mask, text, scores, index, targets, false_videos, TEMPERATURE, SAME)


def test_padding_does_not_change_activities_or_their_evidence() -> None:
    alignment = _alignment()
    clips, mask, sentence = torch.randn(1, 5, 16), torch.ones(1, 5, dtype=torch.bool), torch.randn(2, 16)
    longer, longer_mask = torch.cat([clips, torch.randn(1, 3, 16)], dim=1), torch.cat([mask, ~mask[:, :3]], dim=1)
    expected, padded = alignment(clips, mask), alignment(longer, longer_mask)
    torch.testing.assert_close(padded.vectors, expected.vectors, atol=1e-5, rtol=0)
    assert not padded.attention[..., 5:].any()
    groups, text = QueryGroups(torch.zeros(2, dtype=torch.long), 1), alignment.project_sentence(sentence)
    torch.testing.assert_close(
        alignment.match_features(padded, longer_mask, text, groups)[:, :5],
        alignment.match_features(expected, mask, text, groups),
        atol=1e-5,
        rtol=0,
    )


def test_projected_sentences_and_activities_have_length_1_and_attention_sums_to_1() -> None:
    alignment = _alignment()
    activities = alignment(torch.randn(2, 5, 16), torch.arange(5) < torch.tensor([[5], [2]]))
    for vectors in (activities.vectors, alignment.project_sentence(torch.randn(3, 16))):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))
    torch.testing.assert_close(activities.attention.sum(-1), torch.ones(2, 8))


def test_training_makes_activities_attend_to_the_true_moments() -> None:
    alignment = _alignment()
    clips, mask, sentence = torch.randn(2, 8, 16), torch.ones(2, 8, dtype=torch.bool), torch.randn(4, 16)
    index = torch.tensor([0, 0, 1, 1])
    spans = torch.tensor([[0.0, 3.0], [4.0, 8.0], [1.0, 2.0], [3.0, 7.0]])
    optimizer = torch.optim.Adam(alignment.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        loss = _loss(alignment, alignment(clips, mask), sentence, index, spans)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    activities = alignment(clips, mask)
    best = (alignment.project_sentence(sentence[:2]) @ activities.vectors[0].T).argmax(1)
    assert best[0] != best[1]
    assert activities.attention[0, best[0], :3].sum() > 0.8
    assert activities.attention[0, best[1], 4:].sum() > 0.8


def test_false_negatives_take_no_part_in_the_loss() -> None:
    alignment = _alignment()
    activities = alignment(torch.randn(2, 8, 16), torch.ones(2, 8, dtype=torch.bool))
    sentence, index, spans = torch.randn(2, 16), torch.tensor([0, 1]), torch.tensor([[0.0, 3.0], [4.0, 8.0]])
    loss = _loss(alignment, activities, sentence, index, spans)
    other_videos = torch.tensor([[False, True], [True, False]])
    assert _loss(alignment, activities, sentence, index, spans, other_videos) < loss - 0.01


def test_every_weight_gets_a_finite_gradient_from_the_loss() -> None:
    alignment = _alignment()
    activities = alignment(torch.randn(2, 8, 16), torch.ones(2, 8, dtype=torch.bool))
    index, spans = torch.tensor([0, 1]), torch.tensor([[0.0, 0.0], [7.9, 8.0]])
    _loss(alignment, activities, torch.randn(2, 16), index, spans).backward()
    for name, parameter in alignment.named_parameters():
        if not name.startswith("out"):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name
