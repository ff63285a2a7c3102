"""The cross-modal memory: which entries a query reads, which are excluded, and when the queue changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mttsg_core.modeling.backbone import EncodedQueries, EncodedVideos
from mttsg_core.modeling.cross_sentence_memory import BatchEntries, CrossSentenceMemory, EnrichedQueries
from mttsg_core.modeling.layers import QueryGroups
from tests.helpers.small_networks import small_config

VIDEO_INDEX = torch.tensor([0, 0, 0, 1, 2, 2])
EMPTY, UNKNOWN = -1, -2


def _memory(**changes: object) -> CrossSentenceMemory:
    torch.manual_seed(0)
    memory = CrossSentenceMemory(small_config(**changes))  # type: ignore[arg-type]
    for layer in (memory.from_video, memory.from_memory, memory.to_words):
        torch.nn.init.normal_(layer.weight, std=0.3)
    memory.enqueue(torch.randn(5, 16))
    return memory.eval()


def _inputs(excluded_sources: Tensor | None = None) -> tuple[EncodedQueries, EncodedVideos]:
    generator = torch.Generator().manual_seed(1)
    words, sentence, clips = (torch.randn(*shape, generator=generator) for shape in ((6, 4, 16), (6, 16), (3, 7, 16)))
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, 4:] = False
    queries = EncodedQueries(words, sentence, torch.ones(6, 4, dtype=torch.bool), excluded_sources)
    return queries, EncodedVideos(clips * mask[..., None], None, mask, torch.ones(3))


def _enrich(memory: CrossSentenceMemory, *, joint: bool = False, negatives: int = 0) -> EnrichedQueries:
    enriched: EnrichedQueries = memory(*_inputs(), QueryGroups(VIDEO_INDEX, 3), joint=joint, negatives=negatives)
    return enriched


def test_entries_of_excluded_sources_are_never_retrieved() -> None:
    memory = _memory(memory_top=1)
    entries, sources = torch.randn(4, 16), torch.tensor([1, 2, 3, 4])
    memory.enqueue(entries, sources)
    for source, entry in zip(sources.tolist(), entries, strict=True):
        for excluded, allowed in (((8, 9), True), ((source, 9), False), ((8, source), False), ((8, 9, source), False)):
            retrieved = memory.retrieve(entry[None], torch.tensor([excluded]))
            assert torch.allclose(retrieved[0], entry, atol=1e-5) == allowed


def test_by_default_a_query_does_not_depend_on_the_others() -> None:
    memory = _memory()
    queries, videos = _inputs()
    together = _enrich(memory)
    for row, video in enumerate(VIDEO_INDEX.tolist()):
        own = EncodedVideos(videos.clips[[video]], None, videos.mask[[video]], videos.durations[[video]])
        alone = memory(queries.part(torch.tensor([row])), own, QueryGroups(torch.zeros(1, dtype=torch.long), 1))
        torch.testing.assert_close(alone.sentence[0], together.sentence[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.words[0], together.words[row], atol=1e-5, rtol=0)


def test_in_joint_mode_only_queries_of_the_same_video_matter_and_their_order_does_not() -> None:
    memory = _memory()
    queries, videos = _inputs()
    plain, joint = _enrich(memory), _enrich(memory, joint=True)
    changed = (joint.sentence - plain.sentence).abs().amax(1) > 1e-4
    assert changed.tolist() == [True, True, True, False, True, True]  # the fourth is the only query of its video
    order = torch.tensor([2, 4, 0, 3, 5, 1])
    shuffled = memory(queries.part(order), videos, QueryGroups(VIDEO_INDEX[order], 3), joint=True)
    torch.testing.assert_close(shuffled.sentence, joint.sentence[order], atol=1e-5, rtol=0)
    sentence = queries.sentence.clone()
    sentence[4] += 1  # of the third video
    moved = memory(queries._replace(sentence=sentence), videos, QueryGroups(VIDEO_INDEX, 3), joint=True)
    torch.testing.assert_close(moved.sentence[:4], joint.sentence[:4], atol=1e-5, rtol=0)
    assert (moved.sentence[5] - joint.sentence[5]).abs().max() > 1e-4


def test_the_queue_is_first_in_first_out() -> None:
    memory = _memory(memory_queue=8)
    before = memory.queue.clone()
    entries = torch.arange(6.0)[:, None].expand(6, 16)
    memory.enqueue(entries, torch.arange(6))
    assert torch.equal(memory.queue[[5, 6, 7, 0, 1, 2]], entries)
    assert torch.equal(memory.queue[3:5], before[3:5])
    assert memory.sources.tolist() == [3, 4, 5, UNKNOWN, UNKNOWN, 0, 1, 2]
    memory.enqueue(torch.arange(20.0)[:, None].expand(20, 16))
    assert sorted(memory.queue[:, 0].tolist()) == list(range(12, 20))
    assert set(memory.sources.tolist()) == {UNKNOWN}


@pytest.mark.parametrize("joint", [False, True])
def test_evaluation_leaves_the_queue_unchanged(joint: bool) -> None:
    memory = _memory()
    before = {name: value.clone() for name, value in memory.named_buffers()}
    _enrich(memory, joint=joint)
    assert all(torch.equal(value, before[name]) for name, value in memory.named_buffers())
    assert (memory.sources != EMPTY).sum() == 5


def test_training_fills_the_queue_without_gradient() -> None:
    memory = _memory(co_query_dropout=0.0).train()
    queries, videos = _inputs(torch.tensor([[7, 1], [7, 1], [8, 1], [9, 2], [3, 3], [3, 3]]))
    enriched = memory(queries, videos, QueryGroups(VIDEO_INDEX, 3))
    assert memory.sources[:11].tolist() == [UNKNOWN] * 5 + [7, 7, 8, 9, 3, 3]
    assert (memory.sources[11:] == EMPTY).all()
    assert not memory.queue.requires_grad
    enriched.sentence.square().sum().backward()
    for name, parameter in memory.named_parameters():
        if name != "to_words.weight":
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_mismatched_queries_in_training_read_the_queue_only_and_are_not_enqueued() -> None:
    memory = _memory()
    expected = _enrich(memory)
    before = memory.queue.clone()
    enriched = _enrich(memory.train(), negatives=6)
    torch.testing.assert_close(enriched.sentence, expected.sentence)
    assert torch.equal(memory.queue, before)
    assert (memory.sources != EMPTY).sum() == 5


def test_empty_slots_of_the_queue_have_no_effect() -> None:
    memory = _memory()
    expected = _enrich(memory)
    memory.queue[memory.sources == EMPTY] = 1e6
    torch.testing.assert_close(_enrich(memory).sentence, expected.sentence)


@pytest.mark.parametrize("training", [False, True])
def test_a_memory_without_a_queue_works(training: bool) -> None:
    memory = CrossSentenceMemory(small_config(memory_queue=0)).train(training)
    assert _enrich(memory).sentence.isfinite().all()


def test_co_query_dropout_of_1_hides_the_other_queries_from_all() -> None:
    training, evaluation = _memory(co_query_dropout=1.0).train(), _memory(co_query_dropout=1.0)
    torch.testing.assert_close(_enrich(training).sentence, _enrich(evaluation).sentence, atol=1e-5, rtol=0)


def test_co_query_dropout_hides_the_other_queries_from_a_share_of_them() -> None:
    memory = _memory(memory_queue=0, co_query_dropout=0.5)
    alone = _enrich(memory).sentence
    memory.train()
    changed = torch.stack([(_enrich(memory).sentence - alone).abs().amax(1) > 1e-4 for _ in range(40)])
    assert 0.35 < changed.float().mean() < 0.65


def test_a_fresh_memory_leaves_the_words_unchanged() -> None:
    fresh = CrossSentenceMemory(small_config()).eval()
    queries, _ = _inputs()
    torch.testing.assert_close(_enrich(fresh).words, queries.words)


def test_a_state_dict_restores_the_memory() -> None:
    memory, fresh = _memory(), CrossSentenceMemory(small_config()).eval()
    fresh.load_state_dict(memory.state_dict())
    torch.testing.assert_close(_enrich(fresh).sentence, _enrich(memory).sentence)
    assert int(fresh.position) == 5


def test_different_queries_retrieve_different_entries() -> None:
    """All entries have much in common; what is retrieved must not be the same for every query because of that."""
    memory = _memory(memory_queue=64)
    generator = torch.Generator().manual_seed(0)
    memory.enqueue(5 + torch.randn(64, 16, generator=generator))
    entries = 5 + torch.randn(20, 16, generator=generator)
    retrieved = memory.retrieve(entries, None)
    assert (retrieved - retrieved.mean(0)).norm(dim=1).mean() > 0.1 * retrieved.mean(0).norm()
    nearest = (entries[:, None] - memory.queue).norm(dim=-1).argsort(dim=1)[:, : memory.top]  # (N, K)
    mean = memory.queue[nearest].mean(1)
    assert (retrieved - mean).norm(dim=1).mean() < (retrieved - mean.roll(1, 0)).norm(dim=1).mean()


def test_in_training_a_query_never_retrieves_entries_of_its_own_video() -> None:
    memory = _memory(memory_queue=6, memory_top=6)
    entries = torch.randn(6, 16, generator=torch.Generator().manual_seed(2))
    memory.enqueue(entries, torch.full((6,), 7))
    assert not memory.retrieve(entries, torch.full((6, 1), 7)).any()
    assert memory.retrieve(entries, torch.full((6, 1), 8)).any(dim=1).all()
    assert memory.retrieve(entries, None).any(dim=1).all()  # no restriction outside training


def test_in_training_a_query_reads_entries_of_other_videos_of_its_batch_unless_they_are_excluded() -> None:
    memory = CrossSentenceMemory(small_config(memory_queue=0, memory_top=1))
    entries, index = torch.randn(3, 16), torch.tensor([0, 0, 1])
    sees_batch = torch.tensor([True, False, True])
    retrieved = memory.retrieve(entries, None, sees_batch, BatchEntries(entries, None, index, index))
    torch.testing.assert_close(retrieved[0], entries[2])  # the only one of another video
    assert not retrieved[1].any()
    excluded = torch.tensor([[5, 5], [5, 5], [6, 5]])
    batch = BatchEntries(entries, excluded[:, 0], index, index)
    assert not memory.retrieve(entries, excluded, sees_batch, batch)[2].any()
    torch.testing.assert_close(memory.retrieve(entries, excluded, sees_batch, batch)[0], entries[2])


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
def test_the_temperature_of_the_retrieval_is_a_setting(temperature: float) -> None:
    memory = _memory(memory_temperature=temperature, memory_top=5)
    entries = torch.randn(1, 16)
    retrieved = memory.retrieve(entries, None)[0]
    best = int((memory.centred_directions(memory.queue[:5]) @ memory.centred_directions(entries)[0]).argmax())
    expected = memory.queue[best] if temperature < 1 else memory.queue[:5].mean(0)
    torch.testing.assert_close(retrieved, expected, atol=1e-2, rtol=0)
