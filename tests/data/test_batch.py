"""Batches of several videos with several sentences each, and their targets."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mttsg_core.data.batch import (
    Batch,
    NegativeQueries,
    Sources,
    Targets,
    VideoItem,
    collate,
    collate_targets,
    draw_batches,
)
from tests.helpers.tiny import CLIP_DIM, batch, features, item, targets, words


def test_a_batch_holds_every_value_and_is_zero_elsewhere() -> None:
    items = [item(5, 2, seed=1), item(9, 1, seed=2), item(1, 3, seed=3)]
    collated = collate(items)
    assert collated.clips.shape == (3, 9, CLIP_DIM)
    assert collated.video_index.tolist() == [0, 0, 1, 2, 2, 2]
    assert collated.clip_mask.sum(1).tolist() == [5, 9, 1]
    assert collated.durations.tolist() == [2.5, 4.5, 0.5]
    assert collated.regions is not None
    for row, video in enumerate(items):
        clips = len(video.features.clips)
        assert np.array_equal(collated.clips[row, :clips], video.features.clips)
        assert video.features.regions is not None
        assert np.array_equal(collated.regions[row, :clips], video.features.regions)
        assert (collated.clips[row, clips:] == 0).all()
        assert (collated.regions[row, clips:] == 0).all()
    for row, sentence in enumerate(sentence for video in items for sentence in video.words):
        assert np.array_equal(collated.words[row, : len(sentence)], sentence)
        assert collated.word_mask[row].tolist() == [index < len(sentence) for index in range(collated.words.shape[1])]
        assert (collated.words[row, len(sentence) :] == 0).all()


def test_targets_hold_the_true_moments_in_the_order_of_the_queries() -> None:
    items = [item(5, 2, seed=1), item(9, 1, seed=2), item(1, 3, seed=3)]
    spans = collate_targets(items).spans
    assert spans.dtype == torch.float32
    np.testing.assert_allclose(spans, np.concatenate([video.spans for video in items if video.spans is not None]))


def test_several_moments_of_one_sentence_share_an_id_within_their_video() -> None:
    door, window = words(2, seed=1), words(3, seed=2)
    first = VideoItem(features(4), [door, window, door.copy()], np.zeros((3, 2), dtype=np.float32))
    second = VideoItem(features(5), [window, door], np.zeros((2, 2), dtype=np.float32))
    assert collate_targets([first, second]).sentence_ids.tolist() == [0, 1, 0, 2, 3]


def test_half_precision_becomes_single_precision() -> None:
    single = features(4)
    half = VideoItem(type(single)(single.clips.astype(np.float16), None, 2.0, {}), [words()])
    assert collate([half]).clips.dtype == torch.float32


def test_targets_without_true_moments_are_refused() -> None:
    without = replace(item(), spans=None)
    assert collate([item(), without]).clips.shape[0] == 2, "grounding needs none"
    for items in ([without], [item(), without]):
        with pytest.raises(ValueError, match="true moments"):
            collate_targets(items)


def test_outside_training_a_batch_has_neither_sources_nor_negatives() -> None:
    assert batch().sources is None
    assert batch().negatives is None


def test_sources_name_the_training_videos_of_queries_and_videos() -> None:
    first = replace(item(5, 2), sources=[7, 8], pairs=[70, 71], video_sources=[7, 8])
    second = replace(item(4, 1), sources=[9], pairs=[72], video_sources=[9])
    sources = collate([first, second]).sources
    assert sources is not None
    assert sources.queries.tolist() == [7, 8, 9]
    assert sources.pairs.tolist() == [70, 71, 72]
    assert sources.videos.tolist() == [[7, 8], [9, 9]], "the last one is repeated"
    excluded = sources.excluded(torch.tensor([9, 7]), torch.tensor([0, 1]))
    assert excluded.tolist() == [[9, 7, 8], [7, 9, 9]]


def test_negatives_are_padded_and_name_their_video() -> None:
    first, second = words(2, seed=1), words(4, seed=2)
    items = [item(5, 2), replace(item(4, 1), negatives=[first, second]), replace(item(3, 1), negatives=[first])]
    negatives = collate(items).negatives
    assert negatives is not None
    assert negatives.video_index.tolist() == [1, 1, 2]
    assert negatives.mask.sum(1).tolist() == [2, 4, 2]
    assert np.array_equal(negatives.words[1], second)
    assert np.array_equal(negatives.words[2, :2], first)
    assert not negatives.words[0, 2:].any()


def device_types(record: object) -> set[str]:
    """Return where the tensors of a record are, at any depth."""
    types: set[str] = set()
    for declared in fields(record):  # type: ignore[arg-type]
        value = getattr(record, declared.name)
        if isinstance(value, Tensor):
            types.add(value.device.type)
        elif is_dataclass(value):
            types |= device_types(value)
    return types


def test_batch_and_targets_move_to_a_device_as_a_whole() -> None:
    whole = collate([replace(item(), sources=[1, 1], pairs=[4, 5], video_sources=[1], negatives=[words()])])
    moved = whole.to(torch.device("meta"))
    assert device_types(moved) == {"meta"}
    assert isinstance(moved, Batch)
    assert isinstance(moved.sources, Sources)
    assert isinstance(moved.negatives, NegativeQueries)
    assert device_types(whole) == {"cpu"}
    moved_targets = targets().to(torch.device("meta"))
    assert isinstance(moved_targets, Targets)
    assert device_types(moved_targets) == {"meta"}
    assert batch().to(torch.device("cpu")).sources is None


@pytest.mark.parametrize("videos", [1, 3, 100])
def test_every_video_with_queries_is_drawn_once(videos: int) -> None:
    counts = [2, 0, 1, 1, 0, 5, 1, 1]
    drawn = list(draw_batches(counts, videos, np.random.default_rng(0)))
    assert sorted(index for indices in drawn for index in indices) == [0, 2, 3, 5, 6, 7]
    assert all(len(indices) == videos for indices in drawn[:-1])
    assert 1 <= len(drawn[-1]) <= videos
    assert list(draw_batches(counts, videos, np.random.default_rng(0))) == drawn


def test_videos_are_drawn_in_random_order() -> None:
    generator = np.random.default_rng(0)
    orders = {tuple(next(draw_batches([1] * 20, 20, generator))) for _ in range(5)}
    assert len(orders) == 5
