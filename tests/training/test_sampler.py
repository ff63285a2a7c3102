"""The batches of an epoch: every video once, in company that has about its length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mttsg_core.config import TrainingConfig
from mttsg_core.data.batch import Batch
from mttsg_core.encoders import build_text_encoder
from mttsg_core.training.sampler import TrainingSampler
from tests.helpers.tiny import dataset

PLAIN = TrainingConfig(batch_videos=3, cut=0, join=0, erase=0)


@pytest.fixture
def examples(tmp_path: Path) -> TrainingSampler:
    return TrainingSampler(dataset(tmp_path / "features", 40), build_text_encoder("hashed"))


def lengths(batches: list[Batch]) -> list[list[int]]:
    return [batch.clip_mask.sum(1).tolist() for batch in batches]


@pytest.mark.parametrize("config", [PLAIN, TrainingConfig(batch_videos=3, cut=0.3, join=0.4, erase=0.2)])
def test_every_video_comes_once_an_epoch(examples: TrainingSampler, config: TrainingConfig) -> None:
    made = lengths(list(examples.batches(config, 1)))
    assert [len(batch) for batch in made].count(3) == 13
    assert sum(len(batch) for batch in made) == 40
    assert len(made) == config.steps_per_epoch(40)


def test_whole_videos_keep_their_lengths_and_stand_with_others_of_like_length(examples: TrainingSampler) -> None:
    made = lengths(list(examples.batches(PLAIN, 1)))
    whole = [len(examples.store.load(video).clips) for video in examples.videos]
    assert sorted(clips for batch in made for clips in batch) == sorted(whole)
    apart = [max(batch) - min(batch) for batch in made]
    assert np.mean(apart) < 0.5 * (max(whole) - min(whole))


def test_an_epoch_is_the_same_for_the_same_seed_and_another_for_the_next(examples: TrainingSampler) -> None:
    config = TrainingConfig(batch_videos=3)
    first, again, other = (list(examples.batches(config, epoch)) for epoch in (1, 1, 2))
    assert all(torch.equal(one.clips, two.clips) for one, two in zip(first, again, strict=True))
    assert lengths(first) != lengths(other)


def test_short_batches_do_not_always_come_first(examples: TrainingSampler) -> None:
    longest = [max(next(examples.batches(PLAIN, epoch)).clip_mask.sum(1).tolist()) for epoch in range(8)]
    assert len(set(longest)) > 1


def test_of_few_videos_any_may_stand_with_any(tmp_path: Path) -> None:
    examples = TrainingSampler(dataset(tmp_path / "few", 9), build_text_encoder("hashed"))
    whole = sorted(len(examples.store.load(video).clips) for video in examples.videos)
    extremes = [
        {whole[0], whole[-1]} <= set(clips)
        for epoch in range(30)
        for clips in lengths(list(examples.batches(PLAIN, epoch)))
    ]
    assert any(extremes)
