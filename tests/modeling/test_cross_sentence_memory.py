"""The cross-modal memory: who mines whom, and what stays as it is."""

import torch

from mttsg_core.modeling.cross_sentence_memory import CrossSentenceMemory, EnrichedQueries
from mttsg_core.modeling.layers import QueryGroups
from tests.helpers.small_networks import small_config

VIDEO_INDEX = torch.tensor([0, 0, 0, 1, 2, 2])


def _mining(**changes: object) -> CrossSentenceMemory:
    torch.manual_seed(0)
    mining = CrossSentenceMemory(small_config(**changes))  # type: ignore[arg-type]
    for layer in (mining.from_video, mining.from_memory, mining.to_words):
        torch.nn.init.normal_(layer.weight, std=0.3)
    mining.remember(torch.randn(5, 16))
    return mining.eval()


def _inputs(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, None, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, 4:] = False
    words, sentence, clips = (torch.randn(*shape, generator=generator) for shape in ((6, 4, 16), (6, 16), (3, 7, 16)))
    return words, sentence, None, clips * mask[..., None], mask


def _mine(mining: CrossSentenceMemory, *, joint: bool = False) -> EnrichedQueries:
    result: EnrichedQueries = mining(*_inputs(), QueryGroups(VIDEO_INDEX, 3), joint=joint)
    return result


def test_no_entry_of_the_video_asked_nor_of_the_own_one_is_found() -> None:
    mining = _mining(memory_top=1)
    entries, numbers = torch.randn(4, 16), torch.tensor([1, 2, 3, 4])
    mining.remember(entries, numbers)
    for own, entry in zip(numbers.tolist(), entries, strict=True):
        for origins, seen in (((8, 9), True), ((own, 9), False), ((8, own), False), ((8, 9, own), False)):
            found = mining.memory(entry[None], torch.tensor([origins]), None, torch.tensor([0]))
            assert torch.allclose(found[0], entry, atol=1e-5) == seen


def test_alone_a_query_does_not_see_the_others() -> None:
    mining = _mining()
    words, sentence, _, clips, mask = _inputs()
    together = _mine(mining)
    for i, video in enumerate(VIDEO_INDEX):
        groups = QueryGroups(torch.zeros(1, dtype=torch.long), 1)
        alone = mining(words[i : i + 1], sentence[i : i + 1], None, clips[video][None], mask[video][None], groups)
        torch.testing.assert_close(alone.sentence[0], together.sentence[i], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.words[0], together.words[i], atol=1e-5, rtol=0)


def test_jointly_only_queries_of_the_same_video_matter_and_in_no_order() -> None:
    mining = _mining()
    words, sentence, _, clips, mask = _inputs()
    plain, joint = _mine(mining), _mine(mining, joint=True)
    changed = (joint.sentence - plain.sentence).abs().amax(1) > 1e-4
    assert changed.tolist() == [True, True, True, False, True, True]  # the fourth has no company
    order = torch.tensor([2, 4, 0, 3, 5, 1])
    shuffled = mining(words[order], sentence[order], None, clips, mask, QueryGroups(VIDEO_INDEX[order], 3), joint=True)
    torch.testing.assert_close(shuffled.sentence, joint.sentence[order], atol=1e-5, rtol=0)
    other = sentence.clone()
    other[4] += 1  # of the third video
    moved = mining(words, other, None, clips, mask, QueryGroups(VIDEO_INDEX, 3), joint=True)
    torch.testing.assert_close(moved.sentence[:4], joint.sentence[:4], atol=1e-5, rtol=0)
    assert (moved.sentence[5] - joint.sentence[5]).abs().max() > 1e-4


def test_the_queue_is_first_in_first_out_and_frozen_outside_training() -> None:
    mining = _mining(memory_queue=8)
    before = mining.queue.clone()
    _mine(mining)
    assert torch.equal(mining.queue, before)
    assert (mining.origins != -1).sum() == 5
    entries = torch.arange(6.0)[:, None].expand(6, 16)
    mining.remember(entries)
    assert (mining.origins != -1).all()
    assert torch.equal(mining.queue[[5, 6, 7, 0, 1, 2]], entries)
    assert torch.equal(mining.queue[3:5], before[3:5])
    mining.remember(torch.arange(20.0)[:, None].expand(20, 16))
    assert sorted(mining.queue[:, 0].tolist()) == list(range(12, 20))


def test_training_fills_the_queue_without_gradient() -> None:
    mining = _mining(co_query_dropout=0.0).train()
    mined = _mine(mining)
    assert (mining.origins != -1).sum() == 11
    assert not mining.queue.requires_grad
    mined.sentence.square().sum().backward()
    for name, parameter in mining.named_parameters():
        if name != "to_words.weight":
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_entries_never_hold_a_place_that_is_empty() -> None:
    mining = _mining()
    mining.queue[mining.origins == -1] = 1e6
    assert _mine(mining).sentence.abs().max() < 100


def test_co_query_dropout_takes_everyone_out() -> None:
    mining = _mining(co_query_dropout=1.0).train()
    alone = _mining(co_query_dropout=1.0)
    torch.testing.assert_close(_mine(mining).sentence, _mine(alone).sentence, atol=1e-5, rtol=0)


def test_a_fresh_memory_changes_no_word_and_survives_a_state_dict() -> None:
    torch.manual_seed(0)
    fresh = CrossSentenceMemory(small_config()).eval()
    words, *_ = _inputs()
    torch.testing.assert_close(_mine(fresh).words, words)
    trained = _mining()
    fresh.load_state_dict(trained.state_dict())
    torch.testing.assert_close(_mine(fresh).sentence, _mine(trained).sentence)


def test_sentences_mine_different_entries() -> None:
    """All entries have much in common; what is mined must not be the same for every query for that."""
    mining = _mining(memory_queue=64)
    random = torch.Generator().manual_seed(0)
    mining.remember(5 + torch.randn(64, 16, generator=random))
    entries = 5 + torch.randn(20, 16, generator=random)
    found = mining.memory(entries, None, None, torch.zeros(20, dtype=torch.long))
    assert (found - found.mean(0)).norm(dim=1).mean() > 0.1 * found.mean(0).norm()
    nearest = (entries[:, None] - mining.queue).norm(dim=-1).argsort(dim=1)[:, : mining.top]  # (N, K)
    near = mining.queue[nearest].mean(1)
    assert (found - near).norm(dim=1).mean() < (found - near.roll(1, 0)).norm(dim=1).mean()


def test_training_never_finds_its_own_video_in_the_memory() -> None:
    mining = _mining(memory_queue=6, memory_top=6)
    entries = torch.randn(6, 16, generator=torch.Generator().manual_seed(2))
    mining.remember(entries, torch.tensor([7, 7, 7, 7, 7, 7]))
    assert not mining.memory(entries, torch.full((6, 1), 7), None, VIDEO_INDEX).any()
    assert mining.memory(entries, torch.full((6, 1), 8), None, VIDEO_INDEX).any(dim=1).all()
    assert mining.memory(entries, None, None, VIDEO_INDEX).any(dim=1).all()  # nothing is hidden outside training
