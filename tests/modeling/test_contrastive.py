"""InfoNCE with several positives, and the contrasts between and within sentences, moments, clips and videos."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mttsg_core.config import LossConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.draws import draw
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.contrastive import (
    ContrastDraws,
    ContrastLosses,
    ContrastOutput,
    CrossModalContrast,
    QueryConditionedClips,
    contrast_losses,
    contrast_scores,
)
from mttsg_core.modeling.layers import contrastive_loss, symmetric_contrastive_loss
from tests.helpers.small_networks import small_config

VIDEO_INDEX = torch.tensor([0, 0, 1, 2, 2])
SPANS = torch.tensor([[0.0, 3.0], [4.0, 7.5], [1.0, 4.0], [2.0, 6.0], [2.1, 6.0]])
TERMS = ("moment", "clip", "video", "intra")


def _contrast(**changes: int) -> CrossModalContrast:
    torch.manual_seed(0)
    return CrossModalContrast(small_config(**changes))


def _sentences() -> Tensor:
    return torch.randn(5, 16, generator=torch.Generator().manual_seed(2))


def _output(contrast: CrossModalContrast, spans: int = 8) -> ContrastOutput:
    """Make the output for five queries of three videos, one of which is shorter."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1, 5:] = False
    clips = contrast(torch.randn(3, 8, 16, generator=generator) * mask[..., None])
    words = torch.randn(5, 4, 16, generator=generator)
    word_mask = torch.arange(4) < torch.tensor([[4], [2], [4], [1], [4]])
    attended = torch.randn(5, 8, 16, generator=generator)
    own = contrast.condition_on_query(clips[VIDEO_INDEX], attended, mask[VIDEO_INDEX])
    all_clips = QueryConditionedClips(clips[None], mask)
    queries = EncodedQueries(words, _sentences(), word_mask)
    draws = ContrastDraws.of(draw(small_config(random_spans=spans), 5, 4, 3, 8), own.mask, word_mask)
    return contrast.training_output(own, all_clips, None, queries, contrast.project_sentence(queries.sentence), draws)


def _losses(
    output: ContrastOutput, spans: Tensor = SPANS, false_pairs: Tensor | None = None, config: LossConfig | None = None
) -> ContrastLosses:
    """Compute the losses of an output of `_output`, in which all sentences are different."""
    if false_pairs is None:
        false_pairs = torch.zeros(5, 5, dtype=torch.bool)
    false_videos = torch.zeros(5, 3, dtype=torch.bool)
    targets = Targets(spans, torch.arange(5))
    compared = contrast_scores(output, targets)
    return contrast_losses(output, compared, VIDEO_INDEX, targets, false_pairs, false_videos, config or LossConfig())


def test_one_positive_is_plain_cross_entropy() -> None:
    logits = torch.randn(6, 6)
    eye = torch.eye(6, dtype=torch.bool)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(6))
    torch.testing.assert_close(contrastive_loss(logits, eye, ~eye), expected)
    backward = torch.nn.functional.cross_entropy(logits.T, torch.arange(6))
    torch.testing.assert_close(symmetric_contrastive_loss(logits, eye, ~eye), (expected + backward) / 2)


def test_positives_do_not_compete_and_ignored_pairs_take_no_part() -> None:
    logits = torch.tensor([[5.0, -1.0, 0.0, 9.0]])
    positives = torch.tensor([[True, True, False, False]])
    negatives = torch.tensor([[False, False, True, False]])
    expected = 0.5 * ((1 + (-torch.tensor(5.0)).exp()).log() + (1 + torch.tensor(1.0).exp()).log())
    torch.testing.assert_close(contrastive_loss(logits, positives, negatives), expected)


def test_without_negatives_the_loss_and_its_gradient_are_zero() -> None:
    logits = torch.randn(3, 3, requires_grad=True)
    eye = torch.eye(3, dtype=torch.bool)
    loss = contrastive_loss(logits, eye, torch.zeros_like(eye))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("term", TERMS)
def test_every_term_reaches_the_projections_of_clips_and_sentences(term: str) -> None:
    contrast = _contrast()
    getattr(_losses(_output(contrast)), term).backward()
    for side in (contrast.clip_side, contrast.text_side):
        assert side.weight.grad is not None
        assert side.weight.grad.abs().sum() > 0


def test_the_losses_draw_nothing_at_random() -> None:
    output = _output(_contrast())
    state = torch.get_rng_state()
    first, second = _losses(output), _losses(output)
    assert all(torch.equal(getattr(first, term), getattr(second, term)) for term in TERMS)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_spans_are_ordered_inside_their_video_and_drawn_again_each_time() -> None:
    contrast = _contrast()
    first, second = _output(contrast, spans=50), _output(contrast, spans=50)
    assert first.draws.random_spans.shape == (5, 50, 2)
    assert (first.draws.random_spans[..., 0] <= first.draws.random_spans[..., 1]).all()
    assert first.draws.random_spans.min() >= 0
    for query, clips in enumerate((8, 8, 5, 8, 8)):
        assert 0.8 * clips < first.draws.random_spans[query].max() <= clips
    for name in ("random_spans", "word_views", "clip_views"):
        assert not torch.equal(getattr(first.draws, name), getattr(second.draws, name)), name


def test_training_matches_sentences_with_their_moments() -> None:
    contrast = _contrast()
    optimizer = torch.optim.Adam(contrast.parameters(), lr=0.02)
    for _ in range(80):
        losses = _losses(_output(contrast))
        optimizer.zero_grad()
        (losses.moment + losses.video).backward()
        optimizer.step()
    output = _output(contrast)
    scores = output.text @ moment_directions(output, SPANS).T
    assert scores[:3].argmax(1).tolist() == [0, 1, 2]
    assert (scores[3:].argmax(1) >= 3).all()  # the moments of the last two are nearly the same


def test_false_negatives_take_no_part() -> None:
    output = _output(_contrast())
    false_pairs = torch.zeros(5, 5, dtype=torch.bool)
    false_pairs[2, 3:] = True
    some = _losses(output, false_pairs=false_pairs).moment
    assert some < _losses(output).moment
    assert _losses(output, false_pairs=torch.ones_like(false_pairs)).moment < some


def test_which_moments_of_a_video_are_the_same_is_a_setting() -> None:
    """The moments of the last two queries overlap by 0.975."""
    output = _output(_contrast())
    config = LossConfig()
    usual = _losses(output).moment
    different = _losses(output, config=replace(config, same_moment_iou=0.99, other_moment_iou=0.99)).moment
    ignored = _losses(output, config=replace(config, same_moment_iou=0.99)).moment
    assert different > usual + 1e-3
    assert abs(ignored - usual) > 1e-4
    assert different > ignored


def test_more_negatives_of_a_clip_make_its_loss_larger() -> None:
    output = _output(_contrast())
    few, many = (_losses(output, config=LossConfig(clip_negatives=count)) for count in (1, 64))
    assert many.clip > few.clip
    assert many.moment == few.moment


def test_the_direction_of_a_moment_is_that_of_the_mean_of_its_clips_in_its_own_video() -> None:
    output = _output(_contrast())
    directions = moment_directions(output, SPANS)
    clips = output.own_clips.vectors
    torch.testing.assert_close(directions[0], normalize(clips[0, :3].mean(0), dim=-1))
    weights = torch.tensor([1.0, 1.0, 1.0, 0.5])  # from 4 to 7.5
    torch.testing.assert_close(directions[1], normalize(weights @ clips[1, 4:8], dim=-1))
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(5))
    past_the_end = SPANS.clone()
    past_the_end[2] = torch.tensor([1.0, 8.0])  # its video has five clips
    torch.testing.assert_close(moment_directions(output, past_the_end)[2], normalize(clips[2, 1:5].mean(0), dim=-1))


def test_projected_sentences_have_length_1() -> None:
    contrast = _contrast()
    text = contrast.project_sentence(_sentences())
    torch.testing.assert_close(text, normalize(contrast.text_side(_sentences()), dim=-1))


def test_a_moment_without_length_or_past_the_end_gives_finite_losses_and_gradients() -> None:
    contrast = _contrast()
    losses = _losses(_output(contrast), torch.tensor([[3.0, 3.0], [8.0, 8.0], [6.0, 7.0], [0.0, 8.0], [7.99, 8.0]]))
    total = losses.moment + losses.clip + losses.video + losses.intra
    total.backward()
    assert total.isfinite()
    gradients = [parameter.grad for parameter in contrast.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_match_features_ignore_padding() -> None:
    contrast = _contrast()
    torch.nn.init.normal_(contrast.out.weight)
    own, sentence, mask = torch.randn(2, 5, 8), torch.randn(2, 16), torch.ones(2, 5, dtype=torch.bool)
    longer = torch.cat([own, torch.randn(2, 3, 8)], dim=1)
    longer_mask = torch.cat([mask, ~mask[:, :3]], dim=1)
    padded = contrast.match_features(contrast.match(QueryConditionedClips(longer, longer_mask), sentence), longer_mask)
    expected = contrast.match_features(contrast.match(QueryConditionedClips(own, mask), sentence), mask)
    torch.testing.assert_close(padded[:, :5], expected)


@pytest.mark.parametrize("regions", [0, 3])
def test_clips_are_conditioned_on_the_regions_that_a_query_attends_to(regions: int) -> None:
    contrast = _contrast(regions=regions)
    clips, attended = torch.randn(3, 5, 8), torch.randn(3, 5, 16) if regions else None
    expected = clips
    if contrast.region_side is not None and attended is not None:
        expected = clips + contrast.region_side(attended)
    assert (contrast.region_side is not None) == bool(regions)
    mask = torch.ones(3, 5, dtype=torch.bool)
    conditioned = contrast.condition_on_query(clips, attended, mask)
    torch.testing.assert_close(conditioned.vectors, expected)
    assert conditioned.mask is mask


def _plain_losses(
    contrast: CrossModalContrast, sentence: Tensor, clips: Tensor, mask: Tensor, targets: Targets, false_videos: Tensor
) -> ContrastLosses:
    """Compute the losses of queries of the first video, whose clips (V, T, C) are the same for every query."""
    count = len(sentence)
    index = torch.zeros(count, dtype=torch.long)
    torch.manual_seed(1)
    queries = EncodedQueries(torch.randn(count, 2, 16), sentence, torch.ones(count, 2, dtype=torch.bool))
    own, all_clips = QueryConditionedClips(clips[index], mask[index]), QueryConditionedClips(clips[None], mask)
    draws = ContrastDraws.of(draw(small_config(), count, 2, *clips.shape[:2]), own.mask, queries.mask)
    output = contrast.training_output(own, all_clips, None, queries, contrast.project_sentence(sentence), draws)
    no_pairs = torch.zeros(count, count, dtype=torch.bool)
    compared = contrast_scores(output, targets)
    return contrast_losses(output, compared, index, targets, no_pairs, false_videos, LossConfig())


def moment_directions(output: ContrastOutput, spans: Tensor) -> Tensor:
    """Return the directions of the clips inside moments."""
    return contrast_scores(output, Targets(spans, torch.arange(len(spans)))).queries.moment


def test_bare_clips_are_contrasted_as_those_without_regions_are() -> None:
    contrast = _contrast(regions=0)
    conditioned = _output(contrast)
    bare = QueryConditionedClips(torch.randn(conditioned.all_clips.vectors.shape), conditioned.all_clips.mask)
    own = QueryConditionedClips(bare.vectors[0, VIDEO_INDEX], bare.mask[VIDEO_INDEX])
    with_bare, without = _losses(conditioned._replace(bare_clips=bare)), _losses(conditioned)
    alone = _losses(conditioned._replace(own_clips=own, all_clips=bare))
    torch.testing.assert_close(with_bare.clip, without.clip + alone.clip)
    torch.testing.assert_close(with_bare.video, without.video + alone.video)
    assert (with_bare.moment, with_bare.intra) == (without.moment, without.intra)


def test_clips_of_a_moment_are_contrasted_with_all_others_except_those_of_false_negatives() -> None:
    contrast = _contrast(regions=0)
    sentence, targets = torch.randn(1, 16), Targets(torch.tensor([[1.0, 3.0]]), torch.tensor([0]))
    text, mask = contrast.project_sentence(sentence)[0], torch.ones(2, 5, dtype=torch.bool)
    clips = (-text).expand(2, 5, -1).clone()
    clips[0, 1:3] = text

    def loss(clips: Tensor, *, is_false: bool = False, mask: Tensor = mask) -> float:
        false_videos = torch.tensor([[False, is_false]])
        return _plain_losses(contrast, sentence, clips, mask, targets, false_videos).clip.item()

    best = loss(clips)
    assert best < 1e-4
    outside, other_video, half = clips.clone(), clips.clone(), clips.clone()
    outside[0, 4], other_video[1, 2], half[0, 1] = text, text, -text
    assert loss(outside) > 0.5
    assert loss(other_video) > 0.5
    assert loss(other_video, is_false=True) == pytest.approx(best, abs=1e-4)
    shorter = mask.clone()
    shorter[1, 2:] = False
    assert loss(other_video, mask=shorter) == pytest.approx(best, abs=1e-4)
    assert loss(half) < 1e-3  # one clip of the moment that shows it is enough


def test_several_moments_of_one_sentence_are_not_negatives_of_each_other() -> None:
    contrast = _contrast(regions=0)
    sentence = torch.randn(1, 16).expand(2, 16)
    spans, mask = torch.tensor([[1.0, 3.0], [6.0, 8.0]]), torch.ones(1, 10, dtype=torch.bool)
    text = contrast.project_sentence(sentence)[0]
    clips = (-text).expand(1, 10, -1).clone()
    clips[0, 1:3] = clips[0, 6:8] = text

    def losses(sentence_ids: list[int]) -> ContrastLosses:
        targets = Targets(spans, torch.tensor(sentence_ids))
        return _plain_losses(contrast, sentence, clips, mask, targets, torch.zeros(2, 1, dtype=torch.bool))

    different, same = losses([0, 1]), losses([0, 0])
    assert different.clip > 0.5
    assert different.moment > 0.5
    assert same.clip < 1e-4
    assert same.moment < different.moment - 0.5
    assert same.intra == 0  # no sentence of the batch is a negative
