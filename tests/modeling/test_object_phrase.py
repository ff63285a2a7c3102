"""Object and phrase prototypes."""

import pytest
import torch

from mttsg_core.modeling.layers import QueryGroups
from mttsg_core.modeling.object_phrase import ObjectPhraseAlignment, Prototypes
from tests.helpers.small_networks import small_config


def _objects(regions: int = 3) -> ObjectPhraseAlignment:
    torch.manual_seed(0)
    objects = ObjectPhraseAlignment(small_config(regions=regions))
    torch.nn.init.normal_(objects.out.weight)
    return objects


NONE = torch.zeros(7, 5, dtype=torch.bool)


def test_a_prototype_is_a_weighted_mean() -> None:
    torch.manual_seed(0)
    prototypes = Prototypes(4, 3, 5)
    same = torch.randn(4).expand(2, 6, 4)
    found = prototypes(same)
    assert found.shape == (2, 3, 5)
    torch.testing.assert_close(found, prototypes.value(same[:, :1]).expand(2, 3, 5))
    mask = torch.tensor([[True] * 3 + [False] * 3] * 2)
    x = torch.randn(2, 6, 4)
    torch.testing.assert_close(prototypes(x, mask), prototypes(x[:, :3]))


@pytest.mark.parametrize("regions", [0, 3])
def test_evidence_is_the_best_object_for_each_phrase(regions: int) -> None:
    objects = _objects(regions)
    clips = torch.randn(2, 6, 16)
    found = objects(clips, torch.randn(2, 6, 3, 8) if regions else None)
    assert found.shape == (2, 6, 4, 8)
    phrases = objects.phrases(torch.randn(6, 5, 16), torch.ones(6, 5, dtype=torch.bool))  # (6, 8, 8)
    evidence = objects.evidence(found, phrases, QueryGroups(torch.tensor([0, 1, 0, 1, 0, 1]), 2))
    assert evidence.shape == (6, 6, 8)
    best = torch.stack([(phrases[5] @ found[1, 4].T).max(1).values]).squeeze(0)
    expected = objects.out(torch.cat([best, best.mean(0, keepdim=True)]))
    torch.testing.assert_close(evidence[5, 4], expected)


def test_phrases_ignore_padding_and_one_word_is_enough() -> None:
    objects = _objects()
    words = torch.randn(1, 3, 16)
    mask = torch.ones(1, 3, dtype=torch.bool)
    longer = torch.cat([words, torch.randn(1, 4, 16)], dim=1)
    padded = objects.phrases(longer, torch.cat([mask, torch.zeros(1, 4, dtype=torch.bool)], dim=1))
    torch.testing.assert_close(padded, objects.phrases(words, mask), atol=1e-5, rtol=0)
    assert objects.phrases(words[:, :1], mask[:, :1]).isfinite().all()


def test_the_loss_does_not_depend_on_how_videos_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = _objects()
    found, mask = objects(torch.randn(5, 6, 16), torch.randn(5, 6, 3, 8)), torch.ones(5, 6, dtype=torch.bool)
    mask[2, 3:] = False
    phrases = objects.phrases(torch.randn(7, 4, 16), torch.ones(7, 4, dtype=torch.bool))
    index, bounds = torch.tensor([0, 0, 1, 2, 3, 4, 4]), torch.tensor([[0.5, 2.5]] * 7)
    whole = objects.loss(found, mask, phrases, index, bounds, torch.arange(7), NONE)
    monkeypatch.setattr("mttsg_core.modeling.object_phrase._CHUNK", 2)
    torch.testing.assert_close(objects.loss(found, mask, phrases, index, bounds, torch.arange(7), NONE), whole)
    whole.backward()
    for name, parameter in objects.named_parameters():
        if name != "out.weight":
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_pseudo_regions_see_their_neighbours_only() -> None:
    objects = _objects(regions=0)
    clips = torch.randn(1, 7, 16)
    other = clips.clone()
    other[:, 3] += 1
    changed = (objects(clips, None) - objects(other, None)).abs().amax((0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, True, True, False, False]


def test_regions_are_needed_where_they_were_promised() -> None:
    with pytest.raises(ValueError, match="regions"):
        _objects()(torch.randn(1, 2, 16), None)


def test_phrases_may_be_found_in_any_moment_of_their_sentence() -> None:
    objects = _objects()
    found, mask = objects(torch.randn(1, 6, 16), torch.randn(1, 6, 3, 8)), torch.ones(1, 6, dtype=torch.bool)
    phrases = objects.phrases(torch.randn(1, 4, 16), torch.ones(1, 4, dtype=torch.bool)).expand(2, -1, -1)
    index, bounds = torch.tensor([0, 0]), torch.tensor([[0.0, 2.0], [2.0, 6.0]])

    def loss(bounds: torch.Tensor, numbers: list[int]) -> float:
        return objects.loss(found, mask, phrases, index, bounds, torch.tensor(numbers), NONE[:2, :1]).item()

    whole = loss(torch.tensor([[0.0, 6.0]] * 2), [0, 1])
    assert loss(bounds, [0, 0]) == pytest.approx(whole)
    assert loss(bounds, [0, 1]) > whole + 0.1
