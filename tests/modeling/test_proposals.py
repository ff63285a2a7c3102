"""Proposals and the selection of answers among them, against plain loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.proposals import (
    NMS_IOU,
    calibrated_logits,
    clip_occupancy,
    coverage_probability,
    proposal_edges,
    proposal_layout,
    proposal_sum,
    select_proposals,
    shared_occupancy,
    span_iou,
)


def config(**changes: Any) -> NetworkConfig:
    return NetworkConfig(clip_dim=1, word_dim=1, **changes)


CONFIG = config()


def proposal_spans(clips: int) -> Tensor:
    """Return the proposals as spans (P, 2)."""
    return torch.stack(proposal_edges(clips), dim=-1).float()


@pytest.mark.parametrize("clips", [1, 2, 7, 8, 9, 64, 256, 2000])
def test_proposals_are_distinct_inside_the_video_and_at_most_18_a_clip(clips: int) -> None:
    first, last = proposal_edges(clips)
    assert first.min() == 0
    assert last.max() == clips
    assert (first < last).all()
    assert len(first) <= 18 * clips
    assert len(set(zip(first.tolist(), last.tolist(), strict=True))) == len(first)


@given(
    clips=st.integers(1, 300),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-6),
)
def test_every_moment_of_at_least_a_clip_has_a_near_proposal(clips: int, shares: tuple[float, float]) -> None:
    start, end = (share * clips for share in sorted(shares))
    end = max(end, min(start + 1, clips))
    start = min(start, end - 1)
    best = span_iou(proposal_spans(clips).double(), torch.tensor([start, end], dtype=torch.double)).max()
    assert best >= (0.48 if end - start < 2 else 0.65)


@pytest.mark.parametrize("clips", [5, 40])
def test_the_layout_of_a_longer_video_starts_with_that_of_a_shorter_one(clips: int) -> None:
    assert proposal_layout(clips + 30)[: len(proposal_layout(clips))] == proposal_layout(clips)


@pytest.mark.parametrize("clips", [1, 3, 9, 30])
def test_a_proposal_sum_equals_a_plain_loop(clips: int) -> None:
    torch.manual_seed(clips)
    parts, mask = torch.randn(2, clips, 6), torch.ones(2, clips, dtype=torch.bool)
    summed = proposal_sum(parts, mask)
    first, last = proposal_edges(clips)
    assert summed.shape == (2, len(first), 2)
    for index, (start, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        expected = parts[:, start, :2] + parts[:, end - 1, 2:4] + parts[:, start:end, 4:].mean(1)
        torch.testing.assert_close(summed[:, index], expected, atol=1e-5, rtol=1e-5)


def test_a_proposal_sum_ignores_the_padding() -> None:
    parts, mask = torch.randn(1, 12, 6), torch.arange(12)[None] < 9
    expected = proposal_sum(parts * mask[..., None], mask)
    parts[:, 9:] = 1e6
    assert torch.equal(proposal_sum(parts, mask), expected)


@pytest.mark.parametrize("clips", [1, 2, 11, 20])
def test_the_gradient_of_a_proposal_sum_is_correct(clips: int) -> None:
    torch.manual_seed(0)
    parts = torch.randn(2, clips, 6, dtype=torch.double, requires_grad=True)
    mask = torch.arange(clips) < torch.tensor([[clips], [max(1, clips - 3)]])
    assert torch.autograd.gradcheck(lambda x: proposal_sum(x, mask), parts)


def test_the_iou_of_spans() -> None:
    first, second = torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0, 6.0], [0.0, 4.0], [4.0, 5.0]])
    assert span_iou(first[:, None], second[None]).tolist() == [[pytest.approx(1 / 3), 1.0, 0.0]]


@settings(max_examples=30)
@given(clips=st.integers(1, 40), top=st.integers(1, 6), seed=st.integers(0, 1000), spread=st.sampled_from([0.1, 1, 8]))
def test_answers_do_not_overlap_and_scores_are_decreasing_probabilities(
    clips: int, top: int, seed: int, spread: float
) -> None:
    torch.manual_seed(seed)
    spans = proposal_spans(clips)
    selected = select_proposals(torch.randn(3, len(spans)) * spread, spans[None], top, CONFIG)
    assert selected.proposal.shape == selected.score.shape == (3, top)
    assert ((selected.score >= 0) & (selected.score <= 1)).all()
    assert (selected.score.diff(dim=1) <= 0).all()
    for row in range(3):
        answers = spans[selected.proposal[row][selected.score[row] > 0]]
        overlap = span_iou(answers[:, None], answers[None]) - torch.eye(len(answers))
        assert (overlap <= NMS_IOU + 1e-6).all()
        assert len(answers) >= 1


@pytest.mark.parametrize("nms_iou", [0.0, 0.5, 0.9])
def test_the_overlap_of_answers_is_a_setting(nms_iou: float) -> None:
    assert CONFIG.nms_iou == NMS_IOU
    torch.manual_seed(0)
    spans = proposal_spans(20)
    selected = select_proposals(torch.zeros(1, len(spans)), spans[None], 4, config(nms_iou=nms_iou))
    answers = spans[selected.proposal[0][selected.score[0] > 0]]
    overlap = (span_iou(answers[:, None], answers[None]) - torch.eye(len(answers))).max()
    assert nms_iou - 0.15 < overlap <= nms_iou + 1e-6 or (nms_iou == 0 and overlap == 0)


@pytest.mark.parametrize("changes", [{}, {"inverse_temperature": 0.6, "length_prior_power": -1.0}])
def test_the_first_answer_has_the_largest_expected_utility(changes: dict[str, float]) -> None:
    torch.manual_seed(1)
    spans, settings = proposal_spans(9), config(**changes)
    overlap = span_iou(spans[:, None], spans[None])
    utility = 0.5 * overlap + 0.25 * (overlap >= 0.5) + 0.25 * (overlap >= 0.7)
    logits = torch.randn(20, len(spans)) * 3
    selected = select_proposals(logits, spans[None], 1, settings)
    for row in range(20):
        lengths = spans[:, 1] - spans[:, 0]
        calibrated = settings.inverse_temperature * logits[row] + settings.length_prior_power * lengths.log()
        expected = torch.stack([(utility[p] * calibrated.softmax(0)).sum() for p in range(len(spans))])
        assert int(selected.proposal[row, 0]) == int(expected.argmax())


def test_the_constants_of_the_selection_are_those_found_by_cross_validation() -> None:
    assert (CONFIG.inverse_temperature, CONFIG.length_prior_power) == (1.4, 0.5)
    logits, lengths = torch.tensor([[2.0, -1.0]]), torch.tensor([4.0, 0.5])
    expected = torch.tensor([[1.4 * 2 + 0.5 * torch.tensor(4.0).log(), -1.4]])
    torch.testing.assert_close(calibrated_logits(logits, lengths, CONFIG), expected)


def test_fewer_considered_proposals_leave_fewer_answers() -> None:
    spans = proposal_spans(30)
    logits = torch.linspace(0, 1, len(spans))[None]
    selected = select_proposals(logits, spans[None], 5, config(considered_proposals=1))
    assert (selected.score[0] > 0).tolist() == [True, False, False, False, False]
    assert int(selected.proposal[0, 0]) == len(spans) - 1


def test_queries_are_selected_for_independently_of_how_many_are_compared_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    spans = proposal_spans(12)
    logits = torch.randn(7, len(spans))
    expected = select_proposals(logits, spans[None], 3, CONFIG)
    monkeypatch.setattr("mttsg_core.modeling.proposals._COMPARED_AT_ONCE", 2)
    selected = select_proposals(logits, spans[None], 3, CONFIG)
    assert torch.equal(selected.proposal, expected.proposal)
    torch.testing.assert_close(selected.score, expected.score)


def test_proposals_past_the_end_are_never_selected() -> None:
    first, last = proposal_edges(20)
    lowest = torch.finfo(torch.float32).min / 8
    logits = torch.randn(1, len(first)).masked_fill(last > 3, lowest)
    selected = select_proposals(logits, proposal_spans(20)[None], 8, CONFIG)
    answers = selected.proposal[0][selected.score[0] > 0]
    assert (last[answers] <= 3).all()
    assert (selected.score[0] == 0).any()  # three clips have fewer than eight answers that do not overlap


@pytest.mark.parametrize("clips", [1, 5, 30])
@pytest.mark.parametrize("changes", [{}, {"inverse_temperature": 0.6, "length_prior_power": -1.0}])
def test_the_coverage_of_a_clip_is_the_probability_of_all_proposals_over_it(
    clips: int, changes: dict[str, float]
) -> None:
    torch.manual_seed(clips)
    first, last = proposal_edges(clips)
    logits, settings = 3 * torch.randn(2, len(first)), config(**changes)
    coverage = coverage_probability(logits, clips, settings)
    weight = settings.inverse_temperature * logits + settings.length_prior_power * (last - first).log()
    assert coverage.shape == (2, clips)
    for clip in range(clips):
        covers = (first <= clip) & (clip < last)
        expected = weight.softmax(-1)[:, covers].sum(-1)
        torch.testing.assert_close(coverage[:, clip], expected, atol=1e-5, rtol=1e-5)


def test_the_occupancy_of_clips() -> None:
    spans = torch.tensor([[0.5, 2.0], [1.0, 1.0], [2.25, 9.0]])
    expected = [[0.5, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.75, 1.0]]
    assert clip_occupancy(spans, 4).tolist() == expected
    shared = [[0.5, 1.0, 0.75, 1.0], [0.0, 0.0, 0.0, 0.0], [0.5, 1.0, 0.75, 1.0]]
    assert shared_occupancy(spans, torch.tensor([0, 1, 0]), 4).tolist() == shared
