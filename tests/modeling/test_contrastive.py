"""InfoNCE with several positives, and the three contrasts built on it."""

import pytest
import torch

from mttsg_core.modeling.contrastive import ContrastLosses, CrossModalContrast, QueryConditionedClips
from mttsg_core.modeling.layers import contrastive_loss
from tests.helpers.small_networks import small_config

Parts = tuple[QueryConditionedClips, QueryConditionedClips, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _parts(contrast: CrossModalContrast) -> Parts:
    """All clips, those of its own video as each query sees them, words with their mask, sentences and videos."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1, 5:] = False
    clips = contrast(torch.randn(3, 8, 16, generator=generator) * mask[..., None])
    words = torch.randn(5, 4, 16, generator=generator)
    word_mask = torch.tensor([[True] * 4, [True] * 2 + [False] * 2, [True] * 4, [True] + [False] * 3, [True] * 4])
    sentence = torch.randn(5, 16, generator=generator)
    index = torch.tensor([0, 0, 1, 2, 2])
    own = contrast.as_seen(clips[index], torch.randn(5, 8, 16, generator=generator), mask[index])
    return QueryConditionedClips(clips[None], mask), own, words, word_mask, sentence, index


def _terms(contrast: CrossModalContrast, bounds: torch.Tensor, false: torch.Tensor | None = None) -> ContrastLosses:
    parts = _parts(contrast)
    false = torch.zeros(5, 5, dtype=torch.bool) if false is None else false
    return contrast.terms(*parts, bounds, torch.arange(5), false, torch.zeros(5, 3, dtype=torch.bool))


BOUNDS = torch.tensor([[0.0, 3.0], [4.0, 7.5], [1.0, 4.0], [2.0, 6.0], [2.1, 6.0]])


def test_one_positive_is_plain_cross_entropy() -> None:
    logits = torch.randn(6, 6)
    eye = torch.eye(6, dtype=torch.bool)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(6))
    torch.testing.assert_close(contrastive_loss(logits, eye, ~eye), expected)


def test_positives_do_not_compete_and_ignored_pairs_take_no_part() -> None:
    logits = torch.tensor([[5.0, -1.0, 0.0, 9.0]])
    positives = torch.tensor([[True, True, False, False]])
    negatives = torch.tensor([[False, False, True, False]])
    expected = 0.5 * ((1 + (-torch.tensor(5.0)).exp()).log() + (1 + torch.tensor(1.0).exp()).log())
    torch.testing.assert_close(contrastive_loss(logits, positives, negatives), expected)


def test_without_negatives_there_is_nothing_to_learn() -> None:
    logits = torch.randn(3, 3, requires_grad=True)
    eye = torch.eye(3, dtype=torch.bool)
    loss = contrastive_loss(logits, eye, torch.zeros_like(eye))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_every_term_reaches_both_sides() -> None:
    torch.manual_seed(0)
    for name in ("moment", "clip", "video", "intra"):
        contrast = CrossModalContrast(small_config())
        getattr(_terms(contrast, BOUNDS), name).backward()
        for side in (contrast.clip_side, contrast.text_side):
            assert side.weight.grad is not None
            assert side.weight.grad.abs().sum() > 0


def test_learning_brings_sentences_to_their_moments() -> None:
    torch.manual_seed(0)
    contrast = CrossModalContrast(small_config())
    optimizer = torch.optim.Adam(contrast.parameters(), lr=0.02)
    for _ in range(80):
        terms = _terms(contrast, BOUNDS)
        optimizer.zero_grad()
        (terms.moment + terms.video).backward()
        optimizer.step()
    _, own, _, _, sentence, _ = _parts(contrast)
    text = contrast.directions(sentence)
    scores = contrast.scores(own, text, text * 0, BOUNDS)
    assert scores[:3].argmax(1).tolist() == [0, 1, 2]
    assert (scores[3:].argmax(1) >= 3).all()  # the last two are one moment


def test_false_negatives_take_no_part() -> None:
    torch.manual_seed(0)
    contrast = CrossModalContrast(small_config())
    false = torch.zeros(5, 5, dtype=torch.bool)
    false[2, 3:] = True
    parts = _parts(contrast)

    def moment(false: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        found: ContrastLosses = contrast.terms(
            *parts, BOUNDS, torch.arange(5), false, torch.zeros(5, 3, dtype=torch.bool)
        )
        return found.moment

    assert moment(false) < moment(torch.zeros_like(false))
    assert moment(torch.ones_like(false)) < moment(false)


def test_scores_are_cosines_with_the_moment_and_the_sentence() -> None:
    torch.manual_seed(0)
    contrast = CrossModalContrast(small_config())
    _, own, _, _, sentence, _ = _parts(contrast)
    text = contrast.directions(sentence)
    torch.testing.assert_close(text, torch.nn.functional.normalize(contrast.text_side(sentence), dim=-1))
    scores = contrast.scores(own, text, text, BOUNDS)
    moment = torch.nn.functional.normalize(own.vectors[0, :3].mean(0), dim=-1)
    torch.testing.assert_close(scores[2, 0], 0.5 * (text[2] @ moment + text[2] @ text[0]))


def test_a_moment_without_length_or_past_the_end_is_finite() -> None:
    torch.manual_seed(0)
    contrast = CrossModalContrast(small_config())
    bounds = torch.tensor([[3.0, 3.0], [8.0, 8.0], [6.0, 7.0], [0.0, 8.0], [7.99, 8.0]])
    terms = _terms(contrast, bounds)
    total = terms.moment + terms.clip + terms.video + terms.intra
    total.backward()
    assert total.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in contrast.parameters())


def test_evidence_ignores_padding() -> None:
    torch.manual_seed(0)
    contrast = CrossModalContrast(small_config())
    torch.nn.init.normal_(contrast.out.weight)
    own, sentence, mask = torch.randn(2, 5, 8), torch.randn(2, 16), torch.ones(2, 5, dtype=torch.bool)
    longer = torch.cat([own, torch.randn(2, 3, 8)], dim=1)
    padded = contrast.evidence(QueryConditionedClips(longer, torch.cat([mask, ~mask[:, :3]], dim=1)), sentence)
    torch.testing.assert_close(padded[:, :5], contrast.evidence(QueryConditionedClips(own, mask), sentence))


@pytest.mark.parametrize("regions", [0, 3])
def test_a_query_sees_clips_with_what_it_looks_at(regions: int) -> None:
    torch.manual_seed(0)
    contrast = CrossModalContrast(small_config(regions=regions))
    clips, seen = torch.randn(3, 5, 8), torch.randn(3, 5, 16) if regions else None
    expected = clips
    if contrast.seen_side is not None and seen is not None:
        expected = clips + contrast.seen_side(seen)
    assert (contrast.seen_side is not None) == bool(regions)
    torch.testing.assert_close(contrast.as_seen(clips, seen, torch.ones(3, 5)).vectors, expected)


def test_the_clips_of_a_moment_are_told_from_all_others_but_those_of_false_negatives() -> None:
    torch.manual_seed(0)
    contrast = CrossModalContrast(small_config(regions=0))
    sentence, index, bounds = torch.randn(1, 16), torch.tensor([0]), torch.tensor([[1.0, 3.0]])
    text, mask = contrast.directions(sentence)[0], torch.ones(2, 5, dtype=torch.bool)
    clips = (-text).expand(2, 5, -1).clone()
    clips[0, 1:3] = text

    def loss(clips: torch.Tensor, *, false: bool = False, mask: torch.Tensor = mask) -> float:
        words = torch.randn(1, 2, 16)
        none = torch.zeros(1, 1, dtype=torch.bool)
        videos = torch.tensor([[False, false]])
        everywhere, own = QueryConditionedClips(clips[None], mask), QueryConditionedClips(clips[index], mask[index])
        terms = contrast.terms(
            everywhere, own, words, none.expand(1, 2), sentence, index, bounds, torch.tensor([0]), none, videos
        )
        return terms.clip.item()

    at_best = loss(clips)
    assert at_best < 1e-4
    outside, elsewhere, part = clips.clone(), clips.clone(), clips.clone()
    outside[0, 4], elsewhere[1, 2], part[0, 1] = text, text, -text
    assert loss(outside) > 0.5
    assert loss(elsewhere) > 0.5
    assert loss(elsewhere, false=True) == pytest.approx(at_best, abs=1e-4)
    shorter = mask.clone()
    shorter[1, 2:] = False
    assert loss(elsewhere, mask=shorter) == pytest.approx(at_best, abs=1e-4)
    assert loss(part) < 1e-3  # one clip of the moment that shows it is enough


def test_the_moments_of_one_sentence_are_not_told_from_each_other() -> None:
    torch.manual_seed(0)
    contrast = CrossModalContrast(small_config(regions=0))
    sentence, index = torch.randn(1, 16).expand(2, 16), torch.tensor([0, 0])
    bounds, mask = torch.tensor([[1.0, 3.0], [6.0, 8.0]]), torch.ones(1, 10, dtype=torch.bool)
    text = contrast.directions(sentence)[0]
    clips = (-text).expand(1, 10, -1).clone()
    clips[0, 1:3] = clips[0, 6:8] = text

    def loss(numbers: list[int]) -> ContrastLosses:
        torch.manual_seed(1)
        words, none = torch.randn(2, 2, 16), torch.zeros(2, 2, dtype=torch.bool)
        everywhere, own = QueryConditionedClips(clips[None], mask), QueryConditionedClips(clips[index], mask[index])
        parts = (everywhere, own, words, ~none, sentence, index, bounds, torch.tensor(numbers))
        return contrast.terms(*parts, none, none[:, :1])

    two, one = loss([0, 1]), loss([0, 0])
    assert two.clip > 0.5
    assert two.moment > 0.5
    assert one.clip < 1e-4
    assert one.moment < two.moment - 0.5
    assert one.intra == 0  # nothing in the batch is a negative of the sentence
