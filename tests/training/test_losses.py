"""The loss prefers what is right, ignores padding, and reaches every output of the head."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mttsg_core.config import LossConfig
from mttsg_core.modeling.grounding_head import HeadOutput
from mttsg_core.modeling.proposals import proposal_edges, span_iou
from mttsg_core.training.losses import grounding_terms, objective
from tests.helpers.tiny import ONLY_THE_HEAD, batch, network

TERMS = {"span", "boundary", "inside", "offset"}
ALWAYS = TERMS | {"presence"}
ONE = torch.zeros(1, dtype=torch.long)  # the only sentence


def output(clips: int = 10, lengths: tuple[int, ...] = (10,), *, scale: float = 0.0) -> HeadOutput:
    torch.manual_seed(0)
    mask = torch.arange(clips) < torch.tensor(lengths)[:, None]
    first, last = proposal_edges(clips)
    count = len(lengths)
    return HeadOutput(
        spans=(torch.randn(count, len(first)) * scale).masked_fill(last > mask.sum(1, keepdim=True), -1e30),
        boundaries=torch.randn(count, clips, 2) * scale,
        inside=torch.randn(count, clips) * scale,
        offsets=torch.randn(count, clips, 2) * scale,
        presence=torch.randn(count) * scale,
        mask=mask,
    )


def test_a_head_that_knows_nothing_has_the_entropy_of_the_uniform() -> None:
    terms = grounding_terms(output(), torch.tensor([[2.0, 6.0]]), ONE)
    first, _ = proposal_edges(10)
    assert terms.keys() >= TERMS
    assert float(terms["span"]) == pytest.approx(math.log(len(first)))
    assert float(terms["boundary"]) == pytest.approx(2 * math.log(10))
    assert float(terms["inside"]) == pytest.approx(math.log(2))


def test_each_term_falls_when_its_output_is_right() -> None:
    start, end = 2.3, 6.6
    bounds, blank = torch.tensor([[start, end]]), output()
    first, last = proposal_edges(10)
    overlap = span_iou(torch.stack([first, last], -1).float(), bounds)
    clip = torch.arange(10)
    distance = torch.stack([start - clip, end - (clip + 1)], -1)[None]
    right = {
        "spans": (overlap * 10)[None],
        "boundaries": -(distance**2),
        "inside": torch.where((clip >= 2) & (clip <= 6), 5.0, -5.0)[None],
        "offsets": distance,
    }
    before = grounding_terms(blank, bounds, ONE)
    for (part, value), name in zip(right.items(), ("span", "boundary", "inside", "offset"), strict=True):
        after = grounding_terms(blank._replace(**{part: value}), bounds, ONE)
        assert after[name] < before[name] - 0.05, name
        wrong = grounding_terms(blank._replace(**{part: value.flip(1) * 2}), bounds, ONE)
        assert wrong[name] > after[name], name
    right_offsets = grounding_terms(blank._replace(offsets=distance), bounds, ONE)
    assert float(right_offsets["offset"]) == pytest.approx(0, abs=1e-6)


def test_clips_of_any_moment_of_the_sentence_lie_inside() -> None:
    bounds, clip = torch.tensor([[1.0, 3.0], [6.0, 9.0]]), torch.arange(10)
    shown = ((clip >= 1) & (clip < 3)) | ((clip >= 6) & (clip < 9))
    made = output(10, (10, 10))._replace(inside=torch.where(shown, 9.0, -9.0).expand(2, 10))
    assert float(grounding_terms(made, bounds, torch.tensor([0, 0]))["inside"]) < 0.001
    assert float(grounding_terms(made, bounds, torch.tensor([0, 1]))["inside"]) > 1


def test_padding_does_not_count() -> None:
    bounds = torch.tensor([[1.2, 3.4]])
    short = output(5, (5,), scale=1.0)
    first, last = proposal_edges(5)
    long_first, long_last = proposal_edges(12)
    where = {edges: place for place, edges in enumerate(zip(long_first.tolist(), long_last.tolist(), strict=True))}
    same = [where[edges] for edges in zip(first.tolist(), last.tolist(), strict=True)]
    spans = torch.full((1, len(long_first)), 77.0)
    spans[:, same] = short.spans

    def pad(values: Tensor) -> Tensor:
        padded = torch.full((1, 12, *values.shape[2:]), 77.0)
        padded[:, :5] = values
        return padded

    mask = torch.arange(12)[None] < 5
    long = HeadOutput(spans, pad(short.boundaries), pad(short.inside), pad(short.offsets), short.presence, mask)
    for name, value in grounding_terms(short, bounds, ONE).items():
        torch.testing.assert_close(grounding_terms(long, bounds, ONE)[name], value, msg=name)


@pytest.mark.parametrize(
    "bounds", [(0.0, 10.0), (0.0, 0.01), (9.99, 10.0), (3.0, 3.0), (4.0, 4.2), (0.0, 1.0), (10.0, 10.0)]
)
def test_moments_at_the_edges_and_tiny_ones_give_finite_losses_and_gradients(bounds: tuple[float, float]) -> None:
    made = output(scale=3.0)
    parts = [made.boundaries, made.inside, made.offsets]
    for part in parts:
        part.requires_grad_()
    total = sum(grounding_terms(made, torch.tensor([bounds]), ONE).values(), torch.zeros(()))
    total.backward()
    assert total.isfinite()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in parts)


@pytest.mark.parametrize("switches", [{}, ONLY_THE_HEAD], ids=["whole", "only the head"])
@pytest.mark.parametrize("weights", [LossConfig(), LossConfig(span=2.0, boundary=0.0, inside=1.5, offset=3.0)])
def test_the_total_is_the_weighted_sum_of_its_terms(switches: dict[str, bool], weights: LossConfig) -> None:
    net, made = network(**switches), batch(bounds=True)
    losses = objective(net, net(made), made, weights)
    assert losses.terms.keys() >= ALWAYS
    assert (losses.terms.keys() > ALWAYS) == (not switches)
    expected = sum(getattr(weights, name) * float(value) for name, value in losses.terms.items())
    assert float(losses.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert losses.total.isfinite()
    assert not any(value.requires_grad for value in losses.terms.values())


def test_a_term_without_weight_is_not_computed() -> None:
    net, made = network(), batch(bounds=True)
    weights = LossConfig(contrast=0, intra=0, objects=0, activities=0, presence=0)
    assert objective(net, net(made), made, weights).terms.keys() == TERMS


def test_presence_switched_off_asks_nothing_of_other_videos() -> None:
    net, made = network(presence=False), batch(bounds=True)
    assert objective(net, net(made), made, LossConfig()).terms.keys() >= TERMS
    assert "presence" not in objective(net, net(made), made, LossConfig()).terms


def test_without_true_moments_there_is_no_loss() -> None:
    net, made = network(), batch()
    with pytest.raises(ValueError, match="true moments"):
        objective(net, net(made), made, LossConfig())


@pytest.mark.parametrize(
    ("name", "reached"),
    [("span", "span_score"), ("boundary", "clip_scores"), ("inside", "clip_scores"), ("offset", "offsets")],
)
def test_each_term_reaches_the_parameters_it_should(name: str, reached: str) -> None:
    made, net = batch(bounds=True), network()
    assert made.bounds is not None
    grounding_terms(net(made).head, made.bounds, made.sentences)[name].backward()
    gradients = {key: value.grad for key, value in net.named_parameters()}
    own = gradients[f"head.{reached}.weight"]
    assert own is not None
    assert own.abs().sum() > 0
    for part in ("video_encoder.project.weight", "query_encoder.project.weight", "fusion.gate.weight"):
        grad = gradients[part]
        assert grad is not None, part
        assert grad.abs().sum() > 0, part
