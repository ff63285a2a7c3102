"""The head: boundaries are real numbers inside the video, and padding changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.modeling.grounding_head import GroundingHead, HeadOutput, decode, refined_spans
from mttsg_core.modeling.proposals import proposal_edges, select_proposals, span_iou
from tests.helpers.tiny import SIZES

WIDTH = SIZES["head_width"]


def config(**changes: Any) -> NetworkConfig:
    return NetworkConfig(**{"clip_dim": 1, "word_dim": 1, **SIZES, **changes})


def perfect_output(clips: int, start: float, end: float) -> HeadOutput:
    """Return what a perfect head outputs: the nearest proposal wins clearly, and the offsets refine it."""
    first, last = proposal_edges(clips)
    nearest = int(span_iou(torch.stack([first, last], -1).double(), torch.tensor([start, end]).double()).argmax())
    proposals = torch.zeros(1, len(first))
    proposals[0, nearest] = 60.0
    clip = torch.arange(clips, dtype=torch.double)
    offsets = torch.stack([start - clip, end - (clip + 1)], dim=-1)[None]
    return HeadOutput(
        proposals=proposals,
        boundaries=torch.zeros(1, clips, 2),
        foreground=torch.zeros(1, clips),
        offsets=offsets.float(),
        presence=torch.tensor([60.0]),
        mask=torch.ones(1, clips, dtype=torch.bool),
    )


@settings(max_examples=150)
@given(
    clips=st.one_of(st.integers(1, 40), st.integers(1, 2000)),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_perfect_output_is_decoded_without_loss(clips: int, shares: tuple[float, float]) -> None:
    start, end = (share * clips for share in sorted(shares))
    start = min(start, clips - 0.06)
    end = max(end, start + 0.06)  # the shortest answer is a twentieth of a clip
    spans, scores = decode(perfect_output(clips, start, end), 1, config())
    # single precision resolves 1.2e-4 at 2000
    assert spans[0, 0].tolist() == pytest.approx([start, end], abs=1.3e-4 if clips > 1000 else 1e-4)
    assert float(scores[0, 0]) == pytest.approx(1)


def random_output(lengths: list[int], spread: float) -> HeadOutput:
    clips = max(lengths)
    mask = torch.arange(clips) < torch.tensor(lengths)[:, None]
    first, last = proposal_edges(clips)
    lowest = torch.finfo(torch.float32).min / 8
    proposals = torch.randn(len(lengths), len(first)) * spread
    shape = len(lengths), clips
    return HeadOutput(
        proposals=proposals.masked_fill(last > mask.sum(1, keepdim=True), lowest),
        offsets=torch.randn(*shape, 2) * spread,
        presence=torch.randn(len(lengths)) * spread,
        boundaries=torch.randn(*shape, 2),
        foreground=torch.randn(shape),
        mask=mask,
    )


@pytest.mark.parametrize("spread", [0.0, 1.0, 50.0])
def test_answers_are_finite_ordered_and_inside_videos_of_1_to_2000_clips(spread: float) -> None:
    torch.manual_seed(0)
    lengths = [1, 2000, 2, 37]
    spans, scores = decode(random_output(lengths, spread), 5, config())
    assert spans.isfinite().all()
    assert scores.isfinite().all()
    for row, length in enumerate(lengths):
        answers = spans[row][scores[row] > 0]
        assert len(answers) >= 1
        assert (answers[:, 0] >= 0).all()
        assert (answers[:, 0] < answers[:, 1]).all()
        assert (answers[:, 1] <= length).all()


def test_the_best_answer_comes_first_and_top_limits_their_number() -> None:
    torch.manual_seed(0)
    output = random_output([40], 3.0)
    spans, scores = decode(output, 4, config())
    assert spans.shape == (1, 4, 2)
    assert (scores.diff(dim=1) <= 0).all()
    best_span, best_score = decode(output, 1, config())
    assert torch.equal(best_span[:, 0], spans[:, 0])
    assert torch.equal(best_score[:, 0], scores[:, 0])


@pytest.mark.parametrize("shortest", [0.05, 1.5])
def test_the_shortest_answer_is_a_setting(shortest: float) -> None:
    output = perfect_output(10, 3.0, 3.0)
    spans, _ = decode(output, 1, config(min_moment_clips=shortest))
    assert float(spans[0, 0].diff()) == pytest.approx(shortest)


@pytest.mark.parametrize("offsets", [True, False])
def test_padding_does_not_change_the_output(offsets: bool) -> None:
    torch.manual_seed(0)
    head = GroundingHead(config(offsets=offsets)).eval()
    lengths = (9, 1, 30)
    mask = torch.arange(30) < torch.tensor(lengths)[:, None]
    fused = torch.randn(3, 30, WIDTH) * mask[..., None]
    seconds = torch.tensor([10.0, 0.5, 100.0])
    together = head(fused, mask, seconds)
    first, last = proposal_edges(30)
    number = {edges: index for index, edges in enumerate(zip(first.tolist(), last.tolist(), strict=True))}
    for row, length in enumerate(lengths):
        alone = head(fused[row : row + 1, :length], mask[row : row + 1, :length], seconds[row : row + 1])
        short_first, short_last = proposal_edges(length)
        same = [number[edges] for edges in zip(short_first.tolist(), short_last.tolist(), strict=True)]
        pairs = [
            (together.proposals[row, same], alone.proposals[0]),
            (together.foreground[row, :length], alone.foreground[0]),
            (together.boundaries[row, :length], alone.boundaries[0]),
            (together.presence[row], alone.presence[0]),
            (decode(together, 1, config())[0][row], decode(alone, 1, config())[0][0]),
        ]
        if offsets:
            pairs.append((together.offsets[row, :length], alone.offsets[0]))
        else:
            assert together.offsets is None and alone.offsets is None
        for padded, expected in pairs:
            torch.testing.assert_close(padded, expected, atol=1e-5, rtol=1e-5)


def test_without_offsets_boundaries_are_whole_clips() -> None:
    torch.manual_seed(0)
    head = GroundingHead(config(offsets=False)).eval()
    output = head(torch.randn(2, 20, WIDTH), torch.ones(2, 20, dtype=torch.bool), torch.tensor([10.0, 20.0]))
    spans, _ = decode(output, 3, config())
    assert torch.equal(spans, spans.round())
    assert not any("offset" in name for name, _ in head.named_parameters())


def test_without_presence_a_score_is_the_probability_of_the_answer_alone() -> None:
    torch.manual_seed(0)
    head = GroundingHead(config(presence=False)).eval()
    output = head(torch.randn(2, 6, WIDTH), torch.ones(2, 6, dtype=torch.bool), torch.tensor([6.0, 9.0]))
    _, scores = decode(output, 3, config())
    spans = refined_spans(output, config())
    torch.testing.assert_close(scores, select_proposals(output.proposals, spans, 3, config()).score)
    assert not [name for name, _ in head.named_parameters() if name.startswith("presence")]


def test_presence_logits_are_those_of_the_whole_output() -> None:
    torch.manual_seed(0)
    head = GroundingHead(config()).eval()
    mask = torch.arange(6) < torch.tensor([[6], [2]])
    fused = torch.randn(2, 6, WIDTH) * mask[..., None]
    output = head(fused, mask, torch.tensor([6.0, 9.0]))
    torch.testing.assert_close(head.presence_logits(head.read(fused, mask), mask), output.presence)
    _, scores = decode(output, 1, config())
    likely = output._replace(presence=torch.full((2,), torch.inf))
    torch.testing.assert_close(scores[:, 0], decode(likely, 1, config())[1][:, 0] * output.presence.sigmoid())


def test_every_moment_of_a_sentence_is_a_right_answer_of_it() -> None:
    """A sentence with two moments is asked for either; a proposal at the other one is not a wrong answer."""
    first, last = proposal_edges(20)
    edges = torch.stack([first, last], -1).float()
    moments = torch.tensor([[2.0, 6.0], [12.0, 17.0]])
    overlap = span_iou(edges, moments[:, None])  # (2, P)
    logits = (10 * overlap.amax(0)).repeat(2, 1).requires_grad_()
    output = HeadOutput(
        proposals=logits,
        boundaries=torch.zeros(2, 20, 2),
        foreground=torch.zeros(2, 20),
        offsets=None,
        presence=torch.zeros(2),
        mask=torch.ones(2, 20, dtype=torch.bool),
        prior=logits,
    )
    for sentences, are_right in (([0, 0], True), ([0, 1], False)):
        terms = output.losses(Targets(moments, torch.tensor(sentences)), LossConfig())
        for term in ("proposal", "prior"):
            (gradient,) = torch.autograd.grad(terms[term], logits, retain_graph=True)
            assert (float(gradient.abs().sum()) < 1e-5) is are_right


def test_the_head_adds_to_what_proposals_start_from_without_changing_it() -> None:
    head = GroundingHead(config())
    hidden, mask = torch.randn(1, 9, WIDTH), torch.ones(1, 9, dtype=torch.bool)
    prior = torch.randn(1, len(proposal_edges(9)[0]), requires_grad=True)
    seconds, presence = torch.tensor([9.0]), torch.zeros(1)
    output = head.ground(hidden, mask, seconds, presence, prior)
    torch.testing.assert_close(output.proposals, head.ground(hidden, mask, seconds, presence, None).proposals + prior)
    assert output.prior is prior
    output.proposals.sum().backward()
    assert prior.grad is None
