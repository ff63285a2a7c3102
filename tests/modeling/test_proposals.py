"""Candidate spans and the choice among them, against plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core.modeling import proposals as spans
from mttsg_core.modeling.proposals import (
    NMS_IOU,
    proposal_edges,
    proposal_layout,
    proposal_sum,
    select_proposals,
    span_iou,
)


def edges(first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Candidates as bounds (1, P, 2)."""
    return torch.stack([first, last], dim=-1)[None].float()


@pytest.mark.parametrize("clips", [1, 2, 7, 8, 9, 64, 256, 2000])
def test_candidates_lie_inside_the_video_and_are_not_too_many(clips: int) -> None:
    first, last = proposal_edges(clips)
    assert first.min() == 0
    assert last.max() == clips
    assert (first < last).all()
    assert len(first) <= 20 * clips
    assert len(set(zip(first.tolist(), last.tolist(), strict=True))) == len(first)


@given(
    clips=st.integers(1, 300),
    places=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda p: abs(p[0] - p[1]) > 1e-6),
)
def test_every_moment_of_at_least_a_clip_has_a_candidate_near(clips: int, places: tuple[float, float]) -> None:
    start, end = (place * clips for place in sorted(places))
    end = max(end, min(start + 1, clips))
    start = min(start, end - 1)
    first, last = proposal_edges(clips)
    best = span_iou(torch.stack([first, last], -1).double(), torch.tensor([start, end], dtype=torch.double)).max()
    assert best >= (0.48 if end - start < 2 else 0.65)


@pytest.mark.parametrize("clips", [5, 40])
def test_a_longer_video_begins_with_the_lengths_of_a_shorter_one(clips: int) -> None:
    assert proposal_layout(clips + 30)[: len(proposal_layout(clips))] == proposal_layout(clips)


@pytest.mark.parametrize("clips", [1, 3, 9, 30])
def test_span_sum_is_its_loop(clips: int) -> None:
    torch.manual_seed(clips)
    parts, mask = torch.randn(2, clips, 6), torch.ones(2, clips, dtype=torch.bool)
    summed = proposal_sum(parts, mask)
    first, last = proposal_edges(clips)
    assert summed.shape == (2, len(first), 2)
    for place, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        expected = parts[:, a, :2] + parts[:, b - 1, 2:4] + parts[:, a:b, 4:].mean(1)
        torch.testing.assert_close(summed[:, place], expected, atol=1e-5, rtol=1e-5)


def test_span_sum_does_not_see_the_padding() -> None:
    parts, mask = torch.randn(1, 12, 6), torch.arange(12)[None] < 9
    clean = proposal_sum(parts * mask[..., None], mask)
    parts[:, 9:] = 1e6
    assert torch.equal(proposal_sum(parts, mask), clean)


@pytest.mark.parametrize("clips", [1, 2, 11, 20])
def test_the_hand_written_gradient_of_span_sum(clips: int) -> None:
    torch.manual_seed(0)
    parts = torch.randn(2, clips, 6, dtype=torch.double, requires_grad=True)
    mask = torch.arange(clips) < torch.tensor([[clips], [max(1, clips - 3)]])
    assert torch.autograd.gradcheck(lambda x: proposal_sum(x, mask), parts)


def test_iou_of_tensors() -> None:
    a, b = torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0, 6.0], [0.0, 4.0], [4.0, 5.0]])
    assert span_iou(a[:, None], b[None]).tolist() == [[pytest.approx(1 / 3), 1.0, 0.0]]


@settings(max_examples=30)
@given(clips=st.integers(1, 40), top=st.integers(1, 6), seed=st.integers(0, 1000), spread=st.sampled_from([0.1, 1, 8]))
def test_answers_are_ranked_apart_and_scored_as_chances(clips: int, top: int, seed: int, spread: float) -> None:
    torch.manual_seed(seed)
    first, last = proposal_edges(clips)
    choice = select_proposals(torch.randn(3, len(first)) * spread, edges(first, last), top)
    assert choice.candidate.shape == choice.score.shape == (3, top)
    assert ((choice.score >= 0) & (choice.score <= 1)).all()
    for row in range(3):
        kept = choice.candidate[row][choice.score[row] > 0]
        bounds = torch.stack([first[kept], last[kept]], -1).float()
        overlap = span_iou(bounds[:, None], bounds[None]) - torch.eye(len(kept))
        assert (overlap <= NMS_IOU + 1e-6).all()
        assert len(kept) >= 1


def test_the_first_answer_is_the_one_of_largest_expected_utility() -> None:
    torch.manual_seed(1)
    first, last = proposal_edges(9)
    bounds = torch.stack([first, last], -1).float()
    overlap = span_iou(bounds[:, None], bounds[None])
    utility = 0.5 * overlap + 0.25 * (overlap >= 0.5) + 0.25 * (overlap >= 0.7)
    logits = torch.randn(20, len(first)) * 3
    chosen = select_proposals(logits, edges(first, last), 1)
    for row in range(20):
        believed = (spans._SHARPEN * logits[row] + spans._LONGER * (last - first).log()).softmax(0)
        expected = torch.stack([(utility[p] * believed).sum() for p in range(len(first))])
        assert int(chosen.candidate[row, 0]) == int(expected.argmax())


def test_candidates_past_the_end_are_never_chosen() -> None:
    first, last = proposal_edges(20)
    lowest = torch.finfo(torch.float32).min / 8
    logits = torch.randn(1, len(first)).masked_fill(last > 3, lowest)
    choice = select_proposals(logits, edges(first, last), 8)
    kept = choice.candidate[0][choice.score[0] > 0]
    assert (last[kept] <= 3).all()
    assert (choice.score[0] == 0).any()  # three clips have no eight answers apart
