"""Object and phrase prototypes, and the loss that aligns them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mttsg_core.config import LossConfig
from mttsg_core.data.batch import Targets
from mttsg_core.modeling.layers import QueryGroups
from mttsg_core.modeling.object_phrase import (
    ObjectPhraseAlignment,
    Prototypes,
    object_phrase_loss,
    object_phrase_scores,
)
from tests.helpers.small_networks import small_config

VIDEO_INDEX = torch.tensor([0, 0, 1, 2, 3, 4, 4])


def _alignment(regions: int = 3, **changes: int) -> ObjectPhraseAlignment:
    torch.manual_seed(0)
    alignment = ObjectPhraseAlignment(small_config(regions=regions, **changes))
    torch.nn.init.normal_(alignment.out.weight)
    return alignment


def _valid(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def test_a_prototype_is_a_weighted_mean() -> None:
    torch.manual_seed(0)
    prototypes = Prototypes(4, 3, 5)
    same = torch.randn(4).expand(2, 6, 4)
    pooled = prototypes(same)
    assert pooled.shape == (2, 3, 5)
    torch.testing.assert_close(pooled, prototypes.value(same[:, :1]).expand(2, 3, 5))
    mask = torch.tensor([[True] * 3 + [False] * 3] * 2)
    x = torch.randn(2, 6, 4)
    torch.testing.assert_close(prototypes(x, mask), prototypes(x[:, :3]))


@pytest.mark.parametrize("regions", [0, 3])
def test_the_evidence_is_the_best_object_for_each_phrase(regions: int) -> None:
    alignment = _alignment(regions)
    objects = alignment(torch.randn(2, 6, 16), torch.randn(2, 6, 3, 8) if regions else None)
    assert objects.shape == (2, 6, 4, 8)
    phrases = alignment.phrases(torch.randn(6, 5, 16), _valid(6, 5))  # (6, 8, 8)
    features = alignment.match_features(objects, phrases, QueryGroups(torch.tensor([0, 1, 0, 1, 0, 1]), 2))
    assert features.shape == (6, 6, 8)
    best = (phrases[5] @ objects[1, 4].T).max(1).values
    expected = alignment.out(torch.cat([best, best.mean(0, keepdim=True)]))
    torch.testing.assert_close(features[5, 4], expected)


def test_phrases_ignore_padding_and_one_word_is_enough() -> None:
    alignment = _alignment()
    words, mask = torch.randn(1, 3, 16), _valid(1, 3)
    longer = torch.cat([words, torch.randn(1, 4, 16)], dim=1)
    padded = alignment.phrases(longer, torch.cat([mask, ~_valid(1, 4)], dim=1))
    torch.testing.assert_close(padded, alignment.phrases(words, mask), atol=1e-5, rtol=0)
    assert alignment.phrases(words[:, :1], mask[:, :1]).isfinite().all()


@pytest.mark.parametrize("words", [1, 3])
def test_the_length_of_the_longest_phrase_is_a_setting(words: int) -> None:
    alignment = _alignment(phrase_words=words)
    assert [gram.kernel_size for gram in alignment.grams] == [(length,) for length in range(1, words + 1)]
    assert alignment.phrases(torch.randn(1, 2, 16), _valid(1, 2)).shape == (1, 8, 8)


def _loss(
    alignment: ObjectPhraseAlignment, config: LossConfig | None = None, false_videos: Tensor | None = None
) -> Tensor:
    """Compute the loss of seven queries of five videos, one of which is shorter."""
    torch.manual_seed(1)
    objects, mask = alignment(torch.randn(5, 6, 16), torch.randn(5, 6, 3, 8)), _valid(5, 6)
    mask[2, 3:] = False
    phrases = alignment.phrases(torch.randn(7, 4, 16), _valid(7, 4))
    targets = Targets(torch.tensor([[0.5, 2.5]] * 7), torch.arange(7))
    if false_videos is None:
        false_videos = torch.zeros(7, 5, dtype=torch.bool)
    config = config or LossConfig()
    scores = object_phrase_scores(objects, mask, phrases, config.object_clips)
    return object_phrase_loss(objects, mask, phrases, scores, VIDEO_INDEX, targets, false_videos, config)


def test_the_loss_does_not_depend_on_how_many_videos_are_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    alignment = _alignment()
    loss = _loss(alignment)
    monkeypatch.setattr("mttsg_core.modeling.object_phrase._VIDEOS_AT_ONCE", 2)
    torch.testing.assert_close(_loss(alignment), loss)
    loss.backward()
    for name, parameter in alignment.named_parameters():
        if name != "out.weight":
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_false_negatives_take_no_part_in_the_loss() -> None:
    alignment = _alignment()
    other_videos = VIDEO_INDEX[:, None] != torch.arange(5)
    assert _loss(alignment, false_videos=other_videos) < _loss(alignment) - 0.1


@pytest.mark.parametrize("change", [{"object_temperature": 1.0}, {"object_clips": 3}, {"prototype_diversity": 1.0}])
def test_the_constants_of_the_loss_are_settings(change: dict[str, Any]) -> None:
    alignment = _alignment()
    assert abs(_loss(alignment, LossConfig(**change)) - _loss(alignment)) > 1e-3


def test_pseudo_regions_depend_on_the_neighbouring_clips_only() -> None:
    alignment = _alignment(regions=0)
    clips = torch.randn(1, 7, 16)
    other = clips.clone()
    other[:, 3] += 1
    changed = (alignment(clips, None) - alignment(other, None)).abs().amax((0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, True, True, False, False]


def test_a_network_for_regions_refuses_features_without() -> None:
    with pytest.raises(ValueError, match="regions"):
        _alignment()(torch.randn(1, 2, 16), None)


def test_the_scores_and_their_gradients_are_those_of_all_objects() -> None:
    """Only the best objects are part of the backward pass; those of padding never are."""
    alignment = _alignment()
    objects = alignment(torch.randn(11, 9, 16), torch.randn(11, 9, 3, 8)).detach().requires_grad_()
    phrases, mask = alignment.phrases(torch.randn(5, 4, 16), _valid(5, 4)).detach().requires_grad_(), _valid(11, 9)
    mask[2, 3:] = False
    scores = object_phrase_scores(objects, mask, phrases, 5)
    cosines = torch.einsum("nkc,vtoc->vnkto", phrases, objects[:, ::2])
    cosines = cosines.masked_fill(~mask[:, None, None, ::2, None], -torch.inf)
    expected = cosines.flatten(3).max(-1).values.mean(-1)
    torch.testing.assert_close(scores, expected)
    weights = torch.randn(11, 5)
    for made, wanted in zip(
        *(torch.autograd.grad((some * weights).sum(), [objects, phrases]) for some in (scores, expected)), strict=True
    ):
        torch.testing.assert_close(made, wanted)


def test_phrases_may_match_any_moment_of_their_sentence() -> None:
    alignment = _alignment()
    objects = alignment(torch.randn(1, 6, 16), torch.randn(1, 6, 3, 8))
    phrases = alignment.phrases(torch.randn(1, 4, 16), _valid(1, 4)).expand(2, -1, -1)

    def loss(spans: Tensor, sentence_ids: list[int]) -> float:
        targets = Targets(spans, torch.tensor(sentence_ids))
        index, false_videos = torch.tensor([0, 0]), torch.zeros(2, 1, dtype=torch.bool)
        mask, config = _valid(1, 6), LossConfig()
        scores = object_phrase_scores(objects, mask, phrases, config.object_clips)
        return object_phrase_loss(objects, mask, phrases, scores, index, targets, false_videos, config).item()

    whole = loss(torch.tensor([[0.0, 6.0]] * 2), [0, 1])
    spans = torch.tensor([[0.0, 2.0], [2.0, 6.0]])
    assert loss(spans, [0, 0]) == pytest.approx(whole)
    assert loss(spans, [0, 1]) > whole + 0.1
