"""The losses prefer what is right, ignore padding, reach every output of the head, and draw nothing at random."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mttsg_core.config import LossConfig
from mttsg_core.data.batch import Targets
from mttsg_core.modeling.grounding_head import HeadOutput, grounding_losses
from mttsg_core.modeling.network_output import MKTNOutput, Negatives
from mttsg_core.modeling.proposals import proposal_edges, span_iou
from mttsg_core.training.losses import MKTNCriterion, presence_loss
from tests.helpers.tiny import NO_DROPOUT, ONLY_THE_HEAD, batch, network, targets

HEAD_TERMS = ("proposal", "boundary", "foreground", "offset")
MODULE_TERMS = ("contrast", "intra", "objects", "activities", "presence")  # those that need no memory of moments
WEIGHTS = (*HEAD_TERMS, *MODULE_TERMS)


def output(clips: int = 10, lengths: tuple[int, ...] = (10,), *, scale: float = 0.0) -> HeadOutput:
    torch.manual_seed(0)
    mask = torch.arange(clips) < torch.tensor(lengths)[:, None]
    first, last = proposal_edges(clips)
    count = len(lengths)
    return HeadOutput(
        proposals=(torch.randn(count, len(first)) * scale).masked_fill(last > mask.sum(1, keepdim=True), -1e30),
        boundaries=torch.randn(count, clips, 2) * scale,
        foreground=torch.randn(count, clips) * scale,
        offsets=torch.randn(count, clips, 2) * scale,
        presence=torch.randn(count) * scale,
        mask=mask,
    )


def head_losses(
    head: HeadOutput, spans: Tensor, sentence_ids: tuple[int, ...] = (0,), config: LossConfig | None = None
) -> dict[str, Tensor]:
    return grounding_losses(head, Targets(spans, torch.tensor(sentence_ids)), config or LossConfig())


def test_a_uniform_output_has_the_entropy_of_the_uniform_distribution() -> None:
    terms = head_losses(output(), torch.tensor([[2.0, 6.0]]))
    first, _ = proposal_edges(10)
    assert tuple(terms) == HEAD_TERMS
    assert float(terms["proposal"]) == pytest.approx(math.log(len(first)))
    assert float(terms["boundary"]) == pytest.approx(2 * math.log(10))
    assert float(terms["foreground"]) == pytest.approx(math.log(2))


def test_each_term_falls_where_its_output_is_right() -> None:
    start, end = 2.3, 6.6
    spans, blank = torch.tensor([[start, end]]), output()
    first, last = proposal_edges(10)
    overlap = span_iou(torch.stack([first, last], -1).float(), spans)
    clip = torch.arange(10)
    distance = torch.stack([start - clip, end - (clip + 1)], -1)[None]
    right = {
        "proposals": (overlap * 10)[None],
        "boundaries": -(distance**2),
        "foreground": torch.where((clip >= 2) & (clip <= 6), 5.0, -5.0)[None],
        "offsets": distance,
    }
    before = head_losses(blank, spans)
    for (part, value), term in zip(right.items(), HEAD_TERMS, strict=True):
        after = head_losses(blank._replace(**{part: value}), spans)
        assert after[term] < before[term] - 0.05, term
        wrong = head_losses(blank._replace(**{part: value.flip(1) * 2}), spans)
        assert wrong[term] > after[term], term
    assert float(head_losses(blank._replace(offsets=distance), spans)["offset"]) == pytest.approx(0, abs=1e-6)


def test_clips_of_any_moment_of_the_sentence_are_foreground() -> None:
    spans, clip = torch.tensor([[1.0, 3.0], [6.0, 9.0]]), torch.arange(10)
    foreground = ((clip >= 1) & (clip < 3)) | ((clip >= 6) & (clip < 9))
    head = output(10, (10, 10))._replace(foreground=torch.where(foreground, 9.0, -9.0).expand(2, 10))
    assert float(head_losses(head, spans, (0, 0))["foreground"]) < 0.001
    assert float(head_losses(head, spans, (0, 1))["foreground"]) > 1


def test_padding_does_not_count() -> None:
    spans = torch.tensor([[1.2, 3.4]])
    short = output(5, (5,), scale=1.0)
    first, last = proposal_edges(5)
    long_first, long_last = proposal_edges(12)
    number = {edges: index for index, edges in enumerate(zip(long_first.tolist(), long_last.tolist(), strict=True))}
    same = [number[edges] for edges in zip(first.tolist(), last.tolist(), strict=True)]
    proposals = torch.full((1, len(long_first)), 77.0)
    proposals[:, same] = short.proposals

    def pad(values: Tensor | None) -> Tensor:
        assert values is not None
        padded = torch.full((1, 12, *values.shape[2:]), 77.0)
        padded[:, :5] = values
        return padded

    mask = torch.arange(12)[None] < 5
    long = HeadOutput(proposals, pad(short.boundaries), pad(short.foreground), pad(short.offsets), short.presence, mask)
    padded = head_losses(long, spans)
    for term, value in head_losses(short, spans).items():
        torch.testing.assert_close(padded[term], value, msg=term)


@pytest.mark.parametrize(
    "span", [(0.0, 10.0), (0.0, 0.01), (9.99, 10.0), (3.0, 3.0), (4.0, 4.2), (0.0, 1.0), (10.0, 10.0)]
)
def test_moments_at_the_ends_and_tiny_ones_give_finite_losses_and_gradients(span: tuple[float, float]) -> None:
    head = output(scale=3.0)
    parts = [head.boundaries, head.foreground, head.offsets]
    for part in parts:
        assert part is not None
        part.requires_grad_()
    total = sum(head_losses(head, torch.tensor([span])).values(), torch.zeros(()))
    total.backward()
    assert total.isfinite()
    assert all(part is not None and part.grad is not None and part.grad.isfinite().all() for part in parts)


@pytest.mark.parametrize(
    ("change", "term"),
    [
        ({"proposal_sharpness": 2.0}, "proposal"),
        ({"boundary_spread": 0.5}, "boundary"),
        ({"offset_reach": 0.9}, "offset"),
    ],
)
def test_the_shape_of_the_labels_is_a_setting(change: dict[str, Any], term: str) -> None:
    head, spans = output(scale=1.0), torch.tensor([[2.0, 6.0]])
    default, changed = head_losses(head, spans), head_losses(head, spans, config=replace(LossConfig(), **change))
    assert {name for name in default if not torch.equal(default[name], changed[name])} == {term}


def test_the_presence_loss_is_the_mean_of_both_kinds_of_queries() -> None:
    present, negative = torch.tensor([2.0, 0.0]), torch.tensor([1.0])
    own = (math.log1p(math.exp(-2)) + math.log(2)) / 2
    expected, valid = (own + math.log1p(math.e)) / 2, torch.tensor([True])

    def loss(negative: torch.Tensor, valid: torch.Tensor) -> float:
        return float(presence_loss(present, Negatives(negative, valid, valid.sum())))

    assert loss(negative, valid) == pytest.approx(expected)
    assert loss(negative[:0], valid[:0]) == pytest.approx(own)
    assert loss(negative, ~valid) == pytest.approx(own), "a query that no video was found for"
    assert loss(torch.cat([negative, negative + 9]), torch.tensor([True, False])) == pytest.approx(expected)


def without(*terms: str) -> LossConfig:
    """Return the weights of the losses, 0 for some."""
    weights: dict[str, Any] = dict.fromkeys(terms, 0.0)
    return LossConfig(**weights)


def criterion_for(config: LossConfig, **settings: object) -> tuple[MKTNCriterion, MKTNOutput]:
    """Return a criterion and the training output of a small network."""
    net = network(**settings)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return MKTNCriterion(config, net.config), net.train()(batch())


@pytest.mark.parametrize("switches", [{}, ONLY_THE_HEAD], ids=["whole", "only the head"])
@pytest.mark.parametrize("config", [LossConfig(), LossConfig(proposal=2.0, boundary=0.0, foreground=1.5, offset=3.0)])
def test_the_total_is_the_weighted_sum_of_its_terms(switches: dict[str, bool], config: LossConfig) -> None:
    criterion, training_output = criterion_for(config, **switches)
    total, terms, _ = criterion(training_output, targets())
    assert set(terms) == (set(WEIGHTS) if not switches else {*HEAD_TERMS, "presence"})
    expected = sum(getattr(config, name) * float(value) for name, value in terms.items())
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert total.isfinite()
    assert not any(value.requires_grad for value in terms.values())


@pytest.mark.parametrize("switches", [{}, {"regions": False}, {"contrast": False}, ONLY_THE_HEAD])
def test_the_criterion_is_deterministic(switches: dict[str, bool]) -> None:
    net = network(**switches).train()
    criterion = MKTNCriterion(LossConfig(), net.config)
    training_output = net(batch(regions=switches.get("regions", True)))
    criterion(training_output, targets())  # phi learns
    criterion.eval()
    random_state = torch.get_rng_state()
    phi_state = {name: value.clone() for name, value in criterion.state_dict().items()}
    first, second = criterion(training_output, targets()), criterion(training_output, targets())
    assert torch.equal(first.total, second.total)
    assert first.terms.keys() == second.terms.keys()
    assert all(torch.equal(value, second.terms[name]) for name, value in first.terms.items())
    assert all(torch.equal(value, second.statistics[name]) for name, value in first.statistics.items())
    assert torch.equal(torch.get_rng_state(), random_state), "the criterion draws nothing at random"
    assert all(torch.equal(value, phi_state[name]) for name, value in criterion.state_dict().items())


def test_the_criterion_has_no_parameters_and_its_state_is_that_of_phi() -> None:
    criterion, training_output = criterion_for(LossConfig())
    assert not list(criterion.parameters())
    names = {f"false_negative_filter.thresholds.{name}" for name in ("phi", "running_statistics", "updates")}
    assert criterion.state_dict().keys() == names
    for updates in (1, 2):
        criterion(training_output, targets())
        assert int(criterion.state_dict()["false_negative_filter.thresholds.updates"]) == updates
    assert not criterion_for(LossConfig(), negatives=False)[0].state_dict()


def test_losses_of_an_output_outside_training_are_refused() -> None:
    net = network()
    with pytest.raises(ValueError, match="training mode"):
        MKTNCriterion(LossConfig(), net.config)(net(batch()), targets())


@pytest.mark.parametrize(
    ("absent", "function"),
    [
        (("contrast", "intra"), "contrast_losses"),
        (("objects",), "object_phrase_loss"),
        (("activities",), "activity_sentence_loss"),
        (("presence",), "presence_loss"),
    ],
)
def test_a_module_of_weight_0_is_not_computed(
    absent: tuple[str, ...], function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    criterion, training_output = criterion_for(LossConfig())
    whole = criterion.eval()(training_output, targets())
    config = without(*absent)
    monkeypatch.delattr(f"mttsg_core.training.losses.{function}")
    total, terms, _ = MKTNCriterion(config, criterion.network).eval()(training_output, targets())
    assert set(terms) == set(WEIGHTS) - set(absent)
    assert all(torch.equal(value, whole.terms[name]) for name, value in terms.items())
    left_out = sum(getattr(LossConfig(), name) * whole.terms[name] for name in absent)
    torch.testing.assert_close(total, whole.total - left_out)


@pytest.mark.parametrize(("term", "other"), [("contrast", "intra"), ("intra", "contrast")])
def test_either_part_of_the_contrast_may_have_weight_0(term: str, other: str) -> None:
    criterion, training_output = criterion_for(LossConfig())
    whole = criterion.eval()(training_output, targets())
    losses = MKTNCriterion(without(term), criterion.network).eval()(training_output, targets())
    assert torch.equal(losses.terms[other], whole.terms[other])
    torch.testing.assert_close(losses.total, whole.total - getattr(LossConfig(), term) * whole.terms[term])


def test_without_any_module_only_the_head_is_trained() -> None:
    criterion, training_output = criterion_for(without(*MODULE_TERMS))
    assert tuple(criterion(training_output, targets()).terms) == HEAD_TERMS


def test_without_presence_there_is_no_presence_loss() -> None:
    criterion, training_output = criterion_for(LossConfig(), presence=False)
    assert training_output.training is not None
    assert training_output.training.negatives is None
    assert set(criterion(training_output, targets()).terms) == set(WEIGHTS) - {"presence"}


def test_phi_of_1_drops_nothing_and_a_low_one_drops_pairs_of_other_videos() -> None:
    net = network(**NO_DROPOUT).train()
    inputs = replace(batch(), words=batch().words[[0] * 6], word_mask=batch().word_mask[[0] * 6])
    config = LossConfig(min_negatives=0)
    criterion = MKTNCriterion(config, net.config).eval()
    training_output = net(inputs)  # the same sentence six times
    assert not criterion.false_negatives(training_output).pairs.any()
    assert criterion.false_negative_filter is not None
    criterion.false_negative_filter.thresholds.phi.fill_(-1.0)
    false_negatives = criterion.false_negatives(training_output)
    other = inputs.video_index[:, None] != inputs.video_index
    assert torch.equal(false_negatives.pairs, other)
    assert torch.equal(false_negatives.videos, inputs.video_index[:, None] != torch.arange(3))
    assert float(criterion(training_output, targets()).statistics["dropped"]) == 1


def test_without_negatives_nothing_is_a_false_negative() -> None:
    criterion, training_output = criterion_for(LossConfig(), negatives=False)
    assert not any(mask.any() for mask in criterion.false_negatives(training_output))
    assert set(criterion(training_output, targets()).statistics) == {"gate"}


def test_without_a_contrast_false_negatives_are_found_by_the_sentences() -> None:
    criterion, training_output = criterion_for(LossConfig(), contrast=False)
    statistics = criterion(training_output, targets()).statistics
    assert criterion.false_negative_filter is not None
    training = training_output.training
    assert training is not None
    scores = training.text @ training.clean_text.T
    running = criterion.false_negative_filter.thresholds.running_statistics
    torch.testing.assert_close(running[0, 0], scores.diagonal().mean().detach())
    assert set(statistics) == {"phi", "phi_same", "dropped", "gate"}


def test_every_weight_of_the_config_belongs_to_a_term() -> None:
    described = {field.name for field in fields(LossConfig) if field.metadata["meaning"].startswith("weight: ")}
    assert described == {*WEIGHTS, "mining"}


@pytest.mark.parametrize(
    ("term", "layer"),
    [
        ("proposal", "proposal_score"),
        ("boundary", "clip_scores"),
        ("foreground", "clip_scores"),
        ("offset", "offsets"),
    ],
)
def test_each_term_of_the_head_reaches_the_parameters_it_should(term: str, layer: str) -> None:
    net = network()
    grounding_losses(net(batch()).head, targets(), LossConfig())[term].backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    parts = ("video_encoder.project.weight", "query_encoder.project.weight", "fusion.gate.weight")
    for name in (f"head.{layer}.weight", *parts):
        gradient = gradients[name]
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name
