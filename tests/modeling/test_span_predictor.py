"""The span predictor: distributions of start and end."""

from __future__ import annotations

import pytest
import torch

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.modeling.proposals import span_iou
from mttsg_core.modeling.span_predictor import SpanOutput

CONFIG = NetworkConfig(clip_dim=1, word_dim=1)


def output(boundaries: torch.Tensor, highlight: torch.Tensor | None = None, clips: int | None = None) -> SpanOutput:
    count, length = boundaries.shape[:2]
    mask = (torch.arange(length) < (clips or length)).expand(count, -1)
    highlight = torch.zeros(count, length) if highlight is None else highlight
    return SpanOutput(boundaries, highlight, torch.full((count,), torch.inf), mask)


def test_the_answer_is_the_likeliest_span_that_ends_after_it_starts() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 9, 2) * 2
    spans, scores = output(logits, clips=7).answers(1, CONFIG)
    start, end = logits[:, :7].softmax(1).unbind(-1)
    for query in range(6):
        joint = torch.outer(start[query], end[query]).triu()
        first, last = divmod(int(joint.argmax()), 7)
        assert spans[query, 0].tolist() == [first, last + 1]
        rows, columns = torch.triu_indices(7, 7)
        each = torch.stack([rows, columns + 1], dim=-1).float()
        near = span_iou(each, spans[query]) >= 0.5
        probability = joint[rows, columns] / joint.sum()
        assert float(scores[query, 0]) == pytest.approx(float(probability[near].sum()), abs=1e-5)


def test_the_loss_is_least_at_the_clips_of_the_true_boundaries() -> None:
    targets = Targets(torch.tensor([[2.4, 6.0]]), torch.tensor([0]))

    def loss(first: int, last: int) -> float:
        logits = torch.zeros(1, 8, 2)
        logits[0, first, 0] = logits[0, last, 1] = 30.0
        return float(output(logits).losses(targets, LossConfig())["start_end"])

    assert loss(2, 5) == pytest.approx(0, abs=1e-6)
    assert loss(3, 5) > 10
    assert loss(2, 6) > 10


@pytest.mark.parametrize("span", [(-0.5, 0.5), (7.9, 9.0), (0.0, 8.0)])
def test_a_moment_at_an_end_of_the_video_has_a_loss(span: tuple[float, float]) -> None:
    losses = output(torch.randn(1, 12, 2), clips=8).losses(
        Targets(torch.tensor([span]), torch.tensor([0])), LossConfig()
    )
    assert all(0 < float(value) < 100 for value in losses.values())


def test_the_moment_and_a_margin_are_highlighted() -> None:
    wanted = torch.tensor([[0.0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0]])  # 4 to 9, and half a clip on either side
    targets = Targets(torch.tensor([[4.0, 9.0]]), torch.tensor([0]))
    wanted[0, 3] = wanted[0, 9] = 0.5

    def loss(labels: torch.Tensor) -> float:
        logits = torch.logit(labels, 1e-3)
        return float(output(torch.zeros(1, 12, 2), logits).losses(targets, LossConfig())["highlight"])

    assert loss(wanted) < min(loss(wanted.roll(1, dims=1)), loss(wanted.roll(-1, dims=1)), loss(wanted.round()))
