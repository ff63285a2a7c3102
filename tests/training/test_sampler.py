"""The batches of an epoch: every video once, beside videos of about its length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mttsg_core.config import TrainingConfig
from mttsg_core.data.batch import Batch, Targets
from mttsg_core.encoders import build_text_encoder
from mttsg_core.training.sampler import TrainingSampler
from tests.helpers.tiny import dataset, network

PLAIN = TrainingConfig(batch_videos=3, temporal_crop=0, temporal_concat=0, remove_moment=0)
AUGMENTED = TrainingConfig(batch_videos=3, temporal_crop=0.3, temporal_concat=0.4, remove_moment=0.2)


@pytest.fixture
def sampler(tmp_path: Path) -> TrainingSampler:
    return TrainingSampler(dataset(tmp_path / "features", 40), build_text_encoder("hashed"))


def lengths(batches: Iterable[tuple[Batch, Targets]]) -> list[list[int]]:
    return [batch.clip_mask.sum(1).tolist() for batch, _ in batches]


@pytest.mark.parametrize("config", [PLAIN, AUGMENTED])
def test_every_video_comes_once_an_epoch(sampler: TrainingSampler, config: TrainingConfig) -> None:
    sizes = [len(batch) for batch in lengths(sampler.batches(config, 1))]
    assert sizes.count(3) == 13
    assert sum(sizes) == 40
    assert len(sizes) == config.steps_per_epoch(40)


def test_videos_that_are_not_augmented_keep_their_lengths_and_are_batched_by_them(sampler: TrainingSampler) -> None:
    batches = lengths(sampler.batches(PLAIN, 1))
    whole = [len(sampler.store.load(video).clips) for video in sampler.videos]
    assert sorted(clips for batch in batches for clips in batch) == sorted(whole)
    ranges = [max(batch) - min(batch) for batch in batches]
    assert np.mean(ranges) < 0.5 * (max(whole) - min(whole))
    unsorted = lengths(sampler.batches(replace(PLAIN, sorted_batches=1), 1))
    assert np.mean([max(batch) - min(batch) for batch in unsorted]) > np.mean(ranges)


@pytest.mark.parametrize("config", [PLAIN, AUGMENTED])
def test_batches_and_targets_belong_together(sampler: TrainingSampler, config: TrainingConfig) -> None:
    for batch, targets in sampler.batches(config, 1):
        queries = len(batch.words)
        assert len(targets.spans) == len(targets.sentence_ids) == len(batch.video_index) == queries
        assert (targets.spans[:, 0] <= targets.spans[:, 1]).all()
        assert (targets.spans[:, 1] <= batch.clip_mask.sum(1)[batch.video_index]).all()
        assert batch.sources is not None
        assert len(batch.sources.queries) == queries
        assert len(batch.sources.videos) == len(batch.clips)
        if config is PLAIN:
            assert torch.equal(batch.sources.videos[batch.video_index, 0], batch.sources.queries)
            assert batch.negatives is None


def test_an_epoch_is_the_same_for_the_same_seed_and_different_for_the_next(sampler: TrainingSampler) -> None:
    config = TrainingConfig(batch_videos=3)
    first, again, other = (list(sampler.batches(config, epoch)) for epoch in (1, 1, 2))
    for (batch, targets), (same_batch, same_targets) in zip(first, again, strict=True):
        assert torch.equal(batch.clips, same_batch.clips)
        assert torch.equal(targets.spans, same_targets.spans)
    assert lengths(first) != lengths(other)
    assert lengths(first) != lengths(sampler.batches(replace(config, seed=1), 1))


def test_short_batches_do_not_always_come_first(sampler: TrainingSampler) -> None:
    longest = [max(lengths(sampler.batches(PLAIN, epoch))[0]) for epoch in range(8)]
    assert len(set(longest)) > 1


def test_in_a_small_data_set_any_two_videos_may_share_a_batch(tmp_path: Path) -> None:
    sampler = TrainingSampler(dataset(tmp_path / "few", 9), build_text_encoder("hashed"))
    whole = sorted(len(sampler.store.load(video).clips) for video in sampler.videos)
    shared = [
        {whole[0], whole[-1]} <= set(clips) for epoch in range(30) for clips in lengths(sampler.batches(PLAIN, epoch))
    ]
    assert any(shared)


def test_a_video_gives_at_most_its_share_of_queries(sampler: TrainingSampler) -> None:
    for count in (1, 2):
        config = replace(PLAIN, queries_per_video=count)
        for batch, _ in sampler.batches(config, 1):
            assert batch.video_index.bincount().tolist() == [count] * len(batch.clips)


@pytest.mark.parametrize("videos", [7, 1000])
def test_the_network_gets_the_mean_and_deviation_of_a_sample_of_videos(sampler: TrainingSampler, videos: int) -> None:
    net = network()
    sampler.fit_statistics(net, videos)
    sample = sampler.videos[:: -(-40 // videos)]
    assert len(sample) <= videos
    clips = np.concatenate([sampler.store.load(video).clips for video in sample])
    standardise = net.video_encoder.standardise
    np.testing.assert_allclose(standardise.mean, clips.mean(0), atol=1e-5)
    np.testing.assert_allclose(standardise.scale, 1 / clips.std(0), rtol=1e-4)
