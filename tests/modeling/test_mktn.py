"""A prediction belongs to one video and one sentence: neither padding nor the rest of the batch changes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Batch, NegativeQueries, Sources, VideoItem, collate
from mttsg_core.data.draws import draw
from mttsg_core.modeling.backbone import Standardise, time_features
from mttsg_core.modeling.contrastive import QueryConditionedClips
from mttsg_core.modeling.grounding_head import decode
from mttsg_core.modeling.mktn import MKTN, build_network
from mttsg_core.modeling.network_output import MKTNOutput
from mttsg_core.training.losses import MKTNCriterion
from tests.helpers.tiny import (
    CLIP_DIM,
    NO_DROPOUT,
    REGION_DIM,
    REGIONS,
    SIZES,
    WORD_DIM,
    batch,
    item,
    items,
    network,
    targets,
)

LENGTHS = ((12, 3), (1, 1), (30, 2))


@pytest.fixture(scope="module")
def net() -> MKTN:
    return network()


@torch.inference_mode()
def predict(net: MKTN, inputs: Batch, top: int = 3) -> list[np.ndarray]:
    """Return (top, 3) for each query: start and end in clips, and score."""
    spans, scores = decode(net(inputs).head, top, net.config)
    return list(torch.cat([spans, scores[..., None]], -1).numpy())


def assert_same(answers: np.ndarray, expected: np.ndarray) -> None:
    valid = expected[:, 2] > 0
    assert (answers[:, 2] > 0).tolist() == valid.tolist()
    np.testing.assert_allclose(answers[valid], expected[valid], atol=1e-5, rtol=1e-5)


def assert_inside(answers: np.ndarray, clips: int) -> None:
    valid = answers[answers[:, 2] > 0]
    assert len(valid) >= 1
    assert ((valid[:, 0] >= 0) & (valid[:, 0] < valid[:, 1]) & (valid[:, 1] <= clips)).all()


def test_a_query_alone_gets_the_same_answer_as_among_others(net: MKTN) -> None:
    videos = items(LENGTHS)
    together = predict(net, collate(videos))
    row = 0
    for video in videos:
        for sentence in video.words:
            [alone] = predict(net, collate([VideoItem(video.features, [sentence])]))
            assert_same(together[row], alone)
            row += 1
    assert row == len(together) == 6


def test_the_order_of_queries_and_videos_does_not_matter(net: MKTN) -> None:
    videos = items(LENGTHS)
    forward = predict(net, collate(videos))
    backward = predict(net, collate([VideoItem(video.features, list(video.words)[::-1]) for video in videos[::-1]]))
    for answers, expected in zip(backward, forward[::-1], strict=True):
        assert_same(answers, expected)


def test_queries_of_a_video_need_not_be_adjacent(net: MKTN) -> None:
    inputs = batch(LENGTHS)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    mixed = replace(
        inputs, words=inputs.words[order], word_mask=inputs.word_mask[order], video_index=inputs.video_index[order]
    )
    expected = predict(net, inputs)
    for answers, row in zip(predict(net, mixed), order.tolist(), strict=True):
        assert_same(answers, expected[row])


def test_values_in_the_padding_have_no_effect(net: MKTN) -> None:
    inputs = batch(LENGTHS)
    assert inputs.regions is not None
    clips, regions, words = inputs.clips.clone(), inputs.regions.clone(), inputs.words.clone()
    clips[~inputs.clip_mask] = 1e3
    regions[~inputs.clip_mask] = -1e3
    words[~inputs.word_mask] = 1e3
    filled = replace(inputs, clips=clips, regions=regions, words=words)
    for answers, expected in zip(predict(net, filled), predict(net, inputs), strict=True):
        assert_same(answers, expected)


def test_more_padding_changes_nothing(net: MKTN) -> None:
    inputs = batch(LENGTHS)
    assert inputs.regions is not None
    pad = torch.nn.functional.pad
    wider = replace(
        inputs,
        clips=pad(inputs.clips, (0, 0, 0, 9)),
        clip_mask=pad(inputs.clip_mask, (0, 9)),
        regions=pad(inputs.regions, (0, 0, 0, 0, 0, 9)),
        words=pad(inputs.words, (0, 0, 0, 4)),
        word_mask=pad(inputs.word_mask, (0, 4)),
    )
    for answers, expected in zip(predict(net, wider), predict(net, inputs), strict=True):
        assert_same(answers, expected)


def test_the_answer_depends_on_the_sentence_the_clips_and_the_regions(net: MKTN) -> None:
    """The tests above would also pass for a network that ignores its input."""
    inputs = batch(((12, 2),))
    assert inputs.regions is not None
    proposals = net(inputs).head.proposals
    assert (proposals[0] - proposals[1]).abs().max() > 1e-2
    for change in (
        {"clips": inputs.clips.flip(1)},
        {"regions": inputs.regions.flip(1)},
        {"words": inputs.words.flip(2)},
        {"durations": inputs.durations * 9},
    ):
        changed = net(replace(inputs, **change)).head.proposals  # type: ignore[arg-type]
        assert (changed - proposals).abs().max() > 1e-3, list(change)


def test_the_order_of_the_words_matters(net: MKTN) -> None:
    inputs = batch(((12, 1),))
    reversed_words = replace(inputs, words=inputs.words.flip(1), word_mask=inputs.word_mask.flip(1))
    assert (net(reversed_words).head.proposals - net(inputs).head.proposals).abs().max() > 1e-4


@settings(max_examples=15)
@given(clips=st.one_of(st.just(1), st.integers(1, 60)), length=st.integers(1, 12), seed=st.integers(0, 99))
def test_an_untrained_network_answers_inside_the_video(clips: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    config = NetworkConfig(clip_dim=CLIP_DIM, word_dim=WORD_DIM, regions=REGIONS, region_dim=REGION_DIM, **SIZES)
    net = build_network(config).eval()
    sentence = np.random.default_rng(seed).normal(size=(length, WORD_DIM)).astype(np.float32)
    [answers] = predict(net, collate([VideoItem(item(clips, 1, seed=seed).features, [sentence])]))
    assert np.isfinite(answers).all()
    assert_inside(answers, clips)


def test_videos_of_1_and_2000_clips_in_one_batch(net: MKTN) -> None:
    short, long = predict(net, batch(((1, 1), (2000, 1))), top=5)
    assert_inside(short, 1)
    assert_inside(long, 2000)


def test_features_without_regions() -> None:
    inputs = batch(((12, 2), (5, 1)), regions=False)
    assert inputs.regions is None
    assert len(predict(network(regions=False), inputs)) == 3


def test_every_parameter_of_encoders_fusion_and_head_gets_a_gradient() -> None:
    net = network()
    head = net(batch(LENGTHS)).head
    total = head.proposals.clamp_min(-1e3).sum() + head.boundaries.sum() + head.foreground.sum() + head.offsets.sum()
    (total + head.presence.sum()).backward()
    parts = ("video_encoder.", "query_encoder.", "fusion.", "head.")
    unused = [name for name, value in net.named_parameters() if name.startswith(parts) and value.grad is None]
    assert unused == []


def test_a_video_is_encoded_once_whatever_the_number_of_its_queries(net: MKTN) -> None:
    shapes: list[tuple[int, ...]] = []
    handle = net.video_encoder.register_forward_hook(lambda *call: shapes.append(tuple(call[1][0].shape)))
    predict(net, batch(((12, 7), (5, 1))))
    handle.remove()
    assert [shape[0] for shape in shapes] == [2]


def _clips_of_all_videos(net: MKTN, output: MKTNOutput) -> QueryConditionedClips:
    queries, videos = output.queries, output.videos
    drawn = draw(net.config, *queries.mask.shape, *videos.encoded.mask.shape).clips
    return net.clips_of_all_videos(videos, queries.sentence, drawn)


def test_every_query_attends_to_clips_of_every_video(net: MKTN) -> None:
    inputs = collate([item(20, 2, seed=0), item(1, 1, seed=1)])
    output = net(inputs)
    torch.manual_seed(0)
    vectors, mask = _clips_of_all_videos(net, output)  # (N, V, T', C), (V, T')
    assert mask.all(), "a clip was drawn from the padding"
    assert vectors.shape[:2] == (3, 2)
    own = output.fused.own_clips
    assert own is not None
    for query in range(3):
        for clip in vectors[query, inputs.video_index[query]]:  # each is a clip as the query sees its own video
            assert (own.vectors[query] - clip).abs().amax(-1).min() < 1e-5
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3
    assert len(vectors[0, 0].unique(dim=0)) > 4


@pytest.mark.parametrize("count", [1, 5])
def test_the_number_of_clips_that_queries_attend_to_is_a_setting(count: int) -> None:
    net = network(contrast_clips=count)
    assert _clips_of_all_videos(net, net(batch(LENGTHS))).vectors.shape[2] == count


def test_without_regions_the_clips_of_all_videos_are_the_same_for_all_queries() -> None:
    net = network(regions=False)
    output = net(batch(((6, 2), (3, 1)), regions=False))
    vectors, mask = _clips_of_all_videos(net, output)
    assert vectors.shape[:3] == (1, 2, 6)
    assert mask.tolist() == output.videos.encoded.mask.tolist()
    assert output.fused.own_clips is not None
    torch.testing.assert_close(output.fused.own_clips.vectors[2], vectors[0, 1])


def test_a_network_without_contrast_has_no_common_space() -> None:
    net = network(contrast=False)
    output = net(batch())
    assert output.fused.own_clips is None
    with pytest.raises(ValueError, match="without contrast"):
        _clips_of_all_videos(net, output)


def test_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    net, inputs = network(dropout=0.5), batch()
    assert torch.equal(net(inputs).head.proposals, net(inputs).head.proposals)
    net.train()
    assert not torch.equal(net(inputs).head.proposals, net(inputs).head.proposals)


def test_the_training_output_exists_in_training_only() -> None:
    net, inputs = network(), batch()
    assert net(inputs).training is None
    training = net.train()(inputs).training
    assert training is not None
    assert training.contrast is not None
    assert training.negatives is not None
    queries, width = len(inputs.words), net.config.contrast_width
    assert training.text.shape == training.clean_text.shape == (queries, width)
    for text in (training.text, training.clean_text):
        torch.testing.assert_close(text.norm(dim=-1), torch.ones(queries))
    assert not training.clean_text.requires_grad


def test_clips_are_contrasted_bare_as_well_where_regions_condition_them() -> None:
    for regions in (True, False):
        output = network(regions=regions).train()(batch(regions=regions))
        assert output.training is not None and output.training.contrast is not None
        bare, videos = output.training.contrast.bare_clips, output.videos
        assert (bare is not None) == regions
        if bare is not None and videos.contrast is not None:
            torch.testing.assert_close(bare.vectors, videos.contrast[None])
            assert bare.mask is videos.encoded.mask


def test_proposals_may_start_from_what_the_curve_of_the_contrast_says() -> None:
    net = network(contrast_curve_width=8)
    assert net.curve_scores is not None
    torch.nn.init.normal_(net.curve_scores.score.weight)
    output = net.train()(batch())
    terms = output.head.losses(targets(), LossConfig())
    terms["prior"].backward()
    assert all(parameter.grad is not None for parameter in net.curve_scores.parameters())
    assert net.contrast is not None
    assert all(parameter.grad is None for parameter in net.contrast.parameters()), "the curve is read, not bent"
    alone = predict(net.eval(), batch())
    net.curve_scores = None
    assert any(not np.allclose(one, other) for one, other in zip(alone, predict(net, batch()), strict=True))


def test_the_training_output_without_contrast_and_presence_holds_the_sentences() -> None:
    net, inputs = network(contrast=False, presence=False, **NO_DROPOUT).train(), batch()
    training = net(inputs).training
    assert training is not None
    assert training.contrast is None
    assert training.negatives is None
    sentence = net.query_encoder(inputs.words, inputs.word_mask).sentence
    torch.testing.assert_close(training.text, torch.nn.functional.normalize(sentence, dim=-1))
    torch.testing.assert_close(training.clean_text, training.text)


def test_the_clean_sentences_are_encoded_without_dropout() -> None:
    net, inputs = network(dropout=0.5, word_dropout=0.5).train(), batch()
    assert net.contrast is not None
    first, second = net(inputs).training, net(inputs).training
    assert first is not None and second is not None
    assert torch.equal(first.clean_text, second.clean_text)
    assert not torch.equal(first.text, second.text)
    sentence = net.eval().query_encoder(inputs.words, inputs.word_mask).sentence
    torch.testing.assert_close(first.clean_text, net.contrast.project_sentence(sentence))


@pytest.mark.parametrize(("share", "drawn"), [(0.0, 0), (1.0, 5)])
def test_the_share_of_queries_that_are_also_negatives_is_a_setting(share: float, drawn: int) -> None:
    net = network(negative_share=share, negatives=False).train()
    training = net(batch(((12, 2), (5, 3)))).training
    assert training is not None
    assert training.negatives is not None
    assert training.negatives.presence.shape == training.negatives.valid.shape == (drawn,)
    assert training.negatives.valid.all()


@pytest.mark.parametrize("more_words", [-2, 0, 3])
def test_negative_queries_of_the_batch_are_asked_of_their_video(more_words: int) -> None:
    net = network(negative_share=0.0, **NO_DROPOUT).train()
    inputs = batch(LENGTHS)
    pad = torch.nn.functional.pad
    words, mask = pad(inputs.words[[3, 0]], (0, 0, 0, more_words)), pad(inputs.word_mask[[3, 0]], (0, more_words))
    assert mask.any(1).all()
    index = torch.tensor([2, 1])
    output = net(replace(inputs, negatives=NegativeQueries(words, mask, index)))
    assert output.training is not None
    assert output.training.negatives is not None
    assert output.training.negatives.valid.tolist() == [True, True]
    asked = replace(inputs, words=words, word_mask=mask, video_index=index)
    assert MKTNCriterion(LossConfig(), net.config)(output, targets(LENGTHS)).total.isfinite()
    expected = net.eval()(asked).head.presence  # with the queue as the step has left it
    torch.testing.assert_close(output.training.negatives.presence, expected)


def test_a_query_that_every_video_may_show_is_not_a_negative() -> None:
    net = network(negative_share=1.0, **NO_DROPOUT).train()
    inputs = batch(LENGTHS)
    same = replace(inputs, words=inputs.words[[0] * 6], word_mask=inputs.word_mask[[0] * 6])
    for asked, valid in ((inputs, [True] * 6), (same, [False] * 6)):
        training = net(asked).training
        assert training is not None and training.negatives is not None
        assert training.negatives.valid.tolist() == valid
    training = net(batch(((12, 2),))).training
    assert training is not None and training.negatives is not None
    assert not len(training.negatives.presence), "there is no other video"


def test_negatives_do_not_enter_the_memory() -> None:
    net = network(negative_share=1.0).train()
    assert net.memory is not None
    inputs = batch(LENGTHS)
    net(replace(inputs, negatives=NegativeQueries(inputs.words, inputs.word_mask, inputs.video_index.flip(0))))
    assert int((net.memory.sources != -1).sum()) == len(inputs.words)


def test_queries_carry_the_sources_that_they_must_not_retrieve(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(negative_share=0.0).train()
    assert net.memory is not None
    excluded: list[list[list[int]] | None] = []
    retrieve = net.memory.retrieve

    def record(entries: torch.Tensor, sources: torch.Tensor | None, *rest: Any) -> torch.Tensor:
        excluded.append(None if sources is None else sources.tolist())
        return retrieve(entries, sources, *rest)

    monkeypatch.setattr(net.memory, "retrieve", record)
    inputs = batch(((12, 2), (5, 1)))
    sources = Sources(torch.tensor([10, 11, 12]), torch.tensor([[10, 11], [12, 12]]), torch.tensor([0, 1, 2]))
    negatives = NegativeQueries(inputs.words[:1], inputs.word_mask[:1], torch.tensor([1]))
    net(replace(inputs, sources=sources, negatives=negatives))
    assert excluded == [[[10, 10, 11], [11, 10, 11], [12, 12, 12]], [[12, 12, 12]]]
    excluded.clear()
    net(inputs)
    assert excluded == [None]


def test_standardise_centres_and_scales_but_only_centres_a_constant() -> None:
    layer = Standardise(3)
    values = torch.tensor([[1.0, 5.0, 7.0], [3.0, 5.0, 7.5]])
    layer.fit(values.mean(0), values.std(0, unbiased=False))
    assert layer(values).tolist() == [[-1, 0, -1], [1, 0, 1]]
    assert layer(torch.tensor([0.0, 6.0, 7.25])).tolist() == [-2, 1, 0]


def test_the_position_of_a_clip_is_relative_to_its_own_video() -> None:
    mask = torch.arange(8) < torch.tensor([[8], [3]])
    together = time_features(mask, torch.tensor([16.0, 90.0]))
    alone = time_features(mask[1:, :3], torch.tensor([90.0]))
    torch.testing.assert_close(together[1, :3], alone[0])
    assert together.isfinite().all()
    assert together[0, :, 0].tolist() == pytest.approx([(step + 0.5) / 8 for step in range(8)])
