"""A prediction belongs to one video and one sentence: neither padding nor company changes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core.config import NetworkConfig
from mttsg_core.data.batch import Batch, VideoItem, collate
from mttsg_core.modeling.backbone import Standardise, time_features
from mttsg_core.modeling.grounding_head import decode
from mttsg_core.modeling.mktn import MKTN, build_network
from tests.helpers.tiny import CLIP_DIM, REGION_DIM, REGIONS, SIZES, WORD_DIM, batch, item, network

LENGTHS = ((12, 3), (1, 1), (30, 2))


@pytest.fixture(scope="module")
def net() -> MKTN:
    return network()


@torch.inference_mode()
def answers(net: MKTN, made: Batch, top: int = 3) -> list[np.ndarray]:
    """For each query (top, 3): start and end in clips, and score."""
    bounds, scores = decode(net(made).head, top)
    return list(torch.cat([bounds, scores[..., None]], -1).numpy())


def same(found: np.ndarray, expected: np.ndarray) -> None:
    alive = expected[:, 2] > 0
    assert (found[:, 2] > 0).tolist() == alive.tolist()
    np.testing.assert_allclose(found[alive], expected[alive], atol=1e-5, rtol=1e-5)


def test_a_query_alone_is_the_query_among_others(net: MKTN) -> None:
    items = [item(clips, queries, seed=seed) for seed, (clips, queries) in enumerate(LENGTHS)]
    together = answers(net, collate(items))
    row = 0
    for one in items:
        for sentence in one.words:
            [alone] = answers(net, collate([VideoItem(one.features, [sentence])]))
            same(together[row], alone)
            row += 1
    assert row == len(together) == 6


def test_neither_the_order_of_the_queries_nor_of_the_videos_counts(net: MKTN) -> None:
    items = [item(clips, queries, seed=seed) for seed, (clips, queries) in enumerate(LENGTHS)]
    straight = answers(net, collate(items))
    turned = answers(net, collate([VideoItem(one.features, list(one.words)[::-1]) for one in items[::-1]]))
    for found, expected in zip(turned, straight[::-1], strict=True):
        same(found, expected)


def test_queries_of_a_video_need_not_lie_side_by_side(net: MKTN) -> None:
    made = batch(LENGTHS)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    mixed = replace(made, words=made.words[order], word_mask=made.word_mask[order], video_index=made.video_index[order])
    expected = answers(net, made)
    for found, place in zip(answers(net, mixed), order.tolist(), strict=True):
        same(found, expected[place])


def test_what_lies_in_the_padding_never_counts(net: MKTN) -> None:
    made = batch(LENGTHS)
    assert made.regions is not None
    clips, regions, words = made.clips.clone(), made.regions.clone(), made.words.clone()
    clips[~made.clip_mask] = 1e3
    regions[~made.clip_mask] = -1e3
    words[~made.word_mask] = 1e3
    dirty = replace(made, clips=clips, regions=regions, words=words)
    for found, expected in zip(answers(net, dirty), answers(net, made), strict=True):
        same(found, expected)


def test_more_padding_changes_nothing(net: MKTN) -> None:
    made = batch(LENGTHS)
    assert made.regions is not None
    pad = torch.nn.functional.pad
    wider = replace(
        made,
        clips=pad(made.clips, (0, 0, 0, 9)),
        clip_mask=pad(made.clip_mask, (0, 9)),
        regions=pad(made.regions, (0, 0, 0, 0, 0, 9)),
        words=pad(made.words, (0, 0, 0, 4)),
        word_mask=pad(made.word_mask, (0, 4)),
    )
    for found, expected in zip(answers(net, wider), answers(net, made), strict=True):
        same(found, expected)


def test_the_answer_depends_on_the_sentence_the_clips_and_the_regions(net: MKTN) -> None:
    """The tests above would also hold for a network that ignores its input."""
    made = batch(((12, 2),))
    assert made.regions is not None
    spans = net(made).head.spans
    assert (spans[0] - spans[1]).abs().max() > 1e-2
    for change in (
        {"clips": made.clips.flip(1)},
        {"regions": made.regions.flip(1)},
        {"words": made.words.flip(2)},
        {"durations": made.durations * 9},
    ):
        assert (net(replace(made, **change)).head.spans - spans).abs().max() > 1e-3, list(change)  # type: ignore[arg-type]


def test_the_order_of_time_and_of_words_counts(net: MKTN) -> None:
    made = batch(((12, 1),))
    turned = replace(made, words=made.words.flip(1), word_mask=made.word_mask.flip(1))
    assert (net(turned).head.spans - net(made).head.spans).abs().max() > 1e-4


@settings(max_examples=15, deadline=None)
@given(clips=st.one_of(st.just(1), st.integers(1, 60)), length=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_network_that_has_learned_nothing_still_answers_inside_the_video(clips: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    inputs = {"clip_dim": CLIP_DIM, "word_dim": WORD_DIM, "regions": REGIONS, "region_dim": REGION_DIM}
    net = build_network(NetworkConfig(**SIZES, **inputs)).eval()
    made = item(clips, 1, seed=seed)
    sentence = np.random.default_rng(seed).normal(size=(length, WORD_DIM)).astype(np.float32)
    [found] = answers(net, collate([VideoItem(made.features, [sentence])]))
    assert np.isfinite(found).all()
    alive = found[found[:, 2] > 0]
    assert len(alive) >= 1
    assert ((alive[:, 0] >= 0) & (alive[:, 0] < alive[:, 1]) & (alive[:, 1] <= clips)).all()


def test_one_clip_and_two_thousand_in_one_batch(net: MKTN) -> None:
    made = batch(((1, 1), (2000, 1)))
    short, long = answers(net, made, top=5)
    for found, clips in ((short, 1), (long, 2000)):
        alive = found[found[:, 2] > 0]
        assert len(alive) >= 1
        assert ((alive[:, 0] >= 0) & (alive[:, 0] < alive[:, 1]) & (alive[:, 1] <= clips)).all()


def test_features_without_regions() -> None:
    net = network(regions=False)
    made = collate([item(12, 2, regions=False), item(5, 1, seed=1, regions=False)])
    assert made.regions is None
    assert len(answers(net, made)) == 3


def test_every_parameter_is_used() -> None:
    """Parameters that nothing reaches are dead weight."""
    net = network()
    output = net(batch(LENGTHS)).head
    total = output.spans.clamp_min(-1e3).sum() + output.boundaries.sum() + output.inside.sum() + output.offsets.sum()
    total = total + output.presence.sum()
    total.backward()
    basic = ("video_encoder.", "query_encoder.", "fusion.", "head.")
    dead = [name for name, value in net.named_parameters() if name.startswith(basic) and value.grad is None]
    assert dead == []


def test_a_video_is_encoded_once_whatever_the_number_of_its_queries(net: MKTN) -> None:
    seen: list[tuple[int, ...]] = []
    handle = net.video_encoder.register_forward_hook(lambda *call: seen.append(tuple(call[1][0].shape)))
    answers(net, batch(((12, 7), (5, 1))))
    handle.remove()
    assert [shape[0] for shape in seen] == [2]


def test_presence_alone_is_that_of_a_whole_answer(net: MKTN) -> None:
    made = batch(LENGTHS)
    with torch.inference_mode():
        videos, queries = net.encode_videos(made), net.query_encoder(made.words, made.word_mask)
        alone = net.presence(videos, queries, made.video_index)
    assert alone.isfinite().all()
    torch.testing.assert_close(alone, net(made).head.presence)


def test_every_query_looks_at_the_clips_of_every_video(net: MKTN) -> None:
    made = collate([item(20, 2, seed=0), item(1, 1, seed=1)])
    output = net(made)
    torch.manual_seed(0)
    seen, there = net.everywhere(output)  # (N, V, T', C), (V, T')
    assert there.all()  # none is drawn from the padding
    assert seen.shape[:2] == (3, 2)
    for query in range(3):
        own = output.meeting.own
        assert own is not None
        for clip in seen[query, made.video_index[query]]:  # each is one of those that the query sees in its own video
            assert (own.vectors[query] - clip).abs().amax(-1).min() < 1e-5
    assert (seen[0] - seen[1]).abs().max() > 1e-3
    assert len(seen[0, 0].unique(dim=0)) > 4


def test_without_regions_all_queries_see_the_same_clips() -> None:
    net = network(regions=False)
    made = collate([item(6, 2, regions=False), item(3, 1, seed=1, regions=False)])
    output = net(made)
    seen, there = net.everywhere(output)
    assert seen.shape[:3] == (1, 2, 6)
    assert there.tolist() == output.videos.encoded.mask.tolist()
    assert output.meeting.own is not None
    torch.testing.assert_close(output.meeting.own.vectors[2], seen[0, 1])


def test_dropout_is_off_when_answering_and_on_when_learning() -> None:
    net, made = network(dropout=0.5), batch()
    assert torch.equal(net(made).head.spans, net(made).head.spans)
    net.train()
    assert not torch.equal(net(made).head.spans, net(made).head.spans)


def test_standardise_centres_and_scales_but_leaves_what_never_varies() -> None:
    layer = Standardise(3)
    values = torch.tensor([[1.0, 5.0, 7.0], [3.0, 5.0, 7.5]])
    layer.fit(values.mean(0), values.std(0, unbiased=False))
    assert layer(values).tolist() == [[-1, 0, -1], [1, 0, 1]]
    assert layer(torch.tensor([0.0, 6.0, 7.25])).tolist() == [-2, 1, 0]


def test_a_clips_place_in_time_is_that_of_its_own_video() -> None:
    mask = torch.arange(8) < torch.tensor([[8], [3]])
    together = time_features(mask, torch.tensor([16.0, 90.0]))
    alone = time_features(mask[1:, :3], torch.tensor([90.0]))
    torch.testing.assert_close(together[1, :3], alone[0])
    assert together.isfinite().all()
    place = together[0, :, 0]
    assert place.tolist() == pytest.approx([(step + 0.5) / 8 for step in range(8)])
