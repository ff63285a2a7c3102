"""The head: boundaries are real numbers, inside the video, and padding changes nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.grounding_head import GroundingHead, HeadOutput, decode, refined_spans
from mttsg_core.modeling.proposals import proposal_edges, select_proposals, span_iou
from tests.helpers.tiny import SIZES


def oracle(clips: int, start: float, end: float) -> HeadOutput:
    """What a perfect head would say: the nearest candidate wins by far, and the offsets tell the rest."""
    first, last = proposal_edges(clips)
    nearest = int(span_iou(torch.stack([first, last], -1).double(), torch.tensor([start, end]).double()).argmax())
    spans = torch.zeros(1, len(first))
    spans[0, nearest] = 60.0
    clip = torch.arange(clips, dtype=torch.double)
    offsets = torch.stack([start - clip, end - (clip + 1)], dim=-1)[None]
    mask = torch.ones(1, clips, dtype=torch.bool)
    return HeadOutput(
        spans, torch.zeros(1, clips, 2), torch.zeros(1, clips), offsets.float(), torch.tensor([60.0]), mask
    )


@settings(max_examples=150)
@given(
    clips=st.one_of(st.integers(1, 40), st.integers(1, 2000)),
    places=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_with_an_oracle_nothing_is_lost(clips: int, places: tuple[float, float]) -> None:
    start, end = (place * clips for place in sorted(places))
    start = min(start, clips - 0.06)
    end = max(end, start + 0.06)  # shorter than a twentieth of a clip is no moment
    bounds, scores = decode(oracle(clips, start, end), 1)
    # single precision resolves 1.2e-4 at 2000
    assert bounds[0, 0].tolist() == pytest.approx([start, end], abs=1.3e-4 if clips > 1000 else 1e-4)
    assert float(scores[0, 0]) == pytest.approx(1)


def _random_output(lengths: list[int], spread: float) -> HeadOutput:
    clips = max(lengths)
    mask = torch.arange(clips) < torch.tensor(lengths)[:, None]
    first, last = proposal_edges(clips)
    lowest = torch.finfo(torch.float32).min / 8
    spans = (torch.randn(len(lengths), len(first)) * spread).masked_fill(last > mask.sum(1, keepdim=True), lowest)
    shape = len(lengths), clips
    offsets, presence = torch.randn(*shape, 2) * spread, torch.randn(len(lengths)) * spread
    return HeadOutput(spans, torch.randn(*shape, 2), torch.randn(shape), offsets, presence, mask)


@pytest.mark.parametrize("spread", [0.0, 1.0, 50.0])
def test_answers_are_finite_ordered_and_inside_the_video_for_1_and_2000_clips(spread: float) -> None:
    torch.manual_seed(0)
    lengths = [1, 2000, 2, 37]
    bounds, scores = decode(_random_output(lengths, spread), 5)
    assert bounds.isfinite().all()
    assert scores.isfinite().all()
    for row, length in enumerate(lengths):
        answers = bounds[row][scores[row] > 0]
        assert len(answers) >= 1
        assert (answers[:, 0] >= 0).all()
        assert (answers[:, 0] < answers[:, 1]).all()
        assert (answers[:, 1] <= length).all()


def test_the_best_answer_comes_first_and_there_are_no_more_than_asked_for() -> None:
    torch.manual_seed(0)
    output = _random_output([40], 3.0)
    bounds, scores = decode(output, 4)
    assert bounds.shape == (1, 4, 2)
    assert (scores.diff(dim=1) <= 0).all()
    one, score = decode(output, 1)
    assert torch.equal(one[:, 0], bounds[:, 0])
    assert torch.equal(score[:, 0], scores[:, 0])


@pytest.mark.parametrize("offsets", [True, False])
def test_padding_never_changes_what_the_head_says(offsets: bool) -> None:
    torch.manual_seed(0)
    head = GroundingHead(NetworkConfig(clip_dim=1, word_dim=1, **SIZES, offsets=offsets)).eval()
    lengths, width = (9, 1, 30), SIZES["head_width"]
    mask = torch.arange(30) < torch.tensor(lengths)[:, None]
    fused = torch.randn(3, 30, width) * mask[..., None]
    seconds = torch.tensor([10.0, 0.5, 100.0])
    together = head(fused, mask, seconds)
    first, last = proposal_edges(30)
    for row, length in enumerate(lengths):
        alone = head(fused[row : row + 1, :length], mask[row : row + 1, :length], seconds[row : row + 1])
        short_first, short_last = proposal_edges(length)
        where = {edges: place for place, edges in enumerate(zip(first.tolist(), last.tolist(), strict=True))}
        same = [where[edges] for edges in zip(short_first.tolist(), short_last.tolist(), strict=True)]
        torch.testing.assert_close(together.spans[row, same], alone.spans[0], atol=1e-5, rtol=1e-5)
        if offsets:
            torch.testing.assert_close(together.offsets[row, :length], alone.offsets[0], atol=1e-5, rtol=1e-5)
        else:
            assert together.offsets is None and alone.offsets is None
        torch.testing.assert_close(together.inside[row, :length], alone.inside[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.boundaries[row, :length], alone.boundaries[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.presence[row], alone.presence[0], atol=1e-5, rtol=1e-5)
        padded, alone_bounds = decode(together, 1)[0][row], decode(alone, 1)[0][0]
        torch.testing.assert_close(padded, alone_bounds, atol=1e-5, rtol=1e-5)


def test_without_offsets_boundaries_are_whole_clips() -> None:
    torch.manual_seed(0)
    head = GroundingHead(NetworkConfig(clip_dim=1, word_dim=1, **SIZES, offsets=False)).eval()
    output = head(
        torch.randn(2, 20, SIZES["head_width"]), torch.ones(2, 20, dtype=torch.bool), torch.tensor([10.0, 20.0])
    )
    bounds, _ = decode(output, 3)
    assert torch.equal(bounds, bounds.round())
    assert not any("offset" in name for name, _ in head.named_parameters())


def test_without_presence_a_score_is_the_chance_of_the_moment_alone() -> None:
    torch.manual_seed(0)
    head = GroundingHead(NetworkConfig(clip_dim=4, word_dim=4, presence=False, **SIZES)).eval()
    output = head(torch.randn(2, 6, SIZES["head_width"]), torch.ones(2, 6, dtype=torch.bool), torch.tensor([6.0, 9.0]))
    _, scores = decode(output, 3)
    torch.testing.assert_close(scores, select_proposals(output.spans, refined_spans(output), 3).score)
    assert not [name for name, _ in head.named_parameters() if name.startswith("presence")]
