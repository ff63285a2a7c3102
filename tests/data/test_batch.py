"""Batches of several videos with several sentences each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mttsg_core.data.batch import VideoItem, collate, draw_batches
from tests.helpers.tiny import CLIP_DIM, batch, features, item, words


def test_everything_is_in_its_place_and_the_rest_is_zero() -> None:
    items = [item(5, 2, seed=1, bounds=True), item(9, 1, seed=2, bounds=True), item(1, 3, seed=3, bounds=True)]
    made = collate(items)
    assert made.clips.shape == (3, 9, CLIP_DIM)
    assert made.video_index.tolist() == [0, 0, 1, 2, 2, 2]
    assert made.clip_mask.sum(1).tolist() == [5, 9, 1]
    assert made.durations.tolist() == [2.5, 4.5, 0.5]
    assert made.regions is not None
    assert made.bounds is not None
    sentences = [sentence for one in items for sentence in one.words]
    for row, one in enumerate(items):
        clips = len(one.features.clips)
        assert np.array_equal(made.clips[row, :clips], one.features.clips)
        assert one.features.regions is not None
        assert np.array_equal(made.regions[row, :clips], one.features.regions)
        assert (made.clips[row, clips:] == 0).all()
        assert (made.regions[row, clips:] == 0).all()
    for row, sentence in enumerate(sentences):
        assert np.array_equal(made.words[row, : len(sentence)], sentence)
        assert made.word_mask[row].tolist() == [place < len(sentence) for place in range(made.words.shape[1])]
        assert (made.words[row, len(sentence) :] == 0).all()
    np.testing.assert_allclose(made.bounds, np.concatenate([one.bounds for one in items if one.bounds is not None]))


def test_one_sentence_with_several_moments_has_one_number_in_its_video() -> None:
    door, window = words(2, seed=1), words(3, seed=2)
    first = VideoItem(features(4), [door, window, door.copy()])
    assert collate([first, VideoItem(features(5), [window, door])]).sentences.tolist() == [0, 1, 0, 2, 3]


def test_half_precision_becomes_single() -> None:
    made = features(4)
    half = VideoItem(type(made)(made.clips.astype(np.float16), None, 2.0, {}), [words()])
    assert collate([half]).clips.dtype == torch.float32


def test_without_true_moments_there_are_no_bounds() -> None:
    assert batch().bounds is None
    assert collate([item(bounds=True), item()]).bounds is None


def test_a_batch_moves_as_a_whole() -> None:
    moved = batch(bounds=True).to(torch.device("meta"))
    assert {value.device.type for value in vars(moved).values() if value is not None} == {"meta"}
    assert moved.bounds is not None
    assert batch().to(torch.device("cpu")).bounds is None


@pytest.mark.parametrize("videos", [1, 3, 100])
def test_an_epoch_sees_every_video_with_sentences_once(videos: int) -> None:
    counts = [2, 0, 1, 1, 0, 5, 1, 1]
    drawn = list(draw_batches(counts, videos, np.random.default_rng(0)))
    assert sorted(index for one in drawn for index in one) == [0, 2, 3, 5, 6, 7]
    assert all(len(one) == videos for one in drawn[:-1])
    assert 1 <= len(drawn[-1]) <= videos
    again = list(draw_batches(counts, videos, np.random.default_rng(0)))
    assert drawn == again


def test_the_order_is_random() -> None:
    generator = np.random.default_rng(0)
    orders = {tuple(next(draw_batches([1] * 20, 20, generator))) for _ in range(5)}
    assert len(orders) == 5
