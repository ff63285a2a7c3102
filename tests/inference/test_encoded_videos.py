"""Videos that are encoded once answer as those that are encoded for every sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mttsg_core.config import NETWORKS
from mttsg_core.data.familiarity import learn_familiarity
from mttsg_core.errors import DataError, FeatureError
from mttsg_core.inference.encoded_videos import EncodedVideo, NetworkAsker, PlainAsker, asker
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.inference.zero_shot import ZeroShotPredictor
from mttsg_core.moments import Moment
from tests.helpers.tiny import FINGERPRINT, features, model

QUERIES = ["person opens door", "the red circle moves left slowly and then stops", "?!"]
CLIPS = (12, 40, 3, 12, 70)


def make_grounder(*, window: float | None = None, regions: bool = True, **settings: Any) -> Grounder:
    predictor = MKTNPredictor(model(regions=regions, **settings))
    predictor.max_window_seconds = window
    videos = [features(clips, regions=regions, seed=seed).clips for seed, clips in enumerate(CLIPS)]
    predictor.familiarity = learn_familiarity(QUERIES[:1], [clip * 0.1 for clip in videos], knows_words=False)
    return Grounder(predictor)


def same(found: Sequence[Sequence[Moment]], expected: Sequence[Sequence[Moment]]) -> None:
    assert [len(moments) for moments in found] == [len(moments) for moments in expected]
    for moments, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.array(moments), np.array(others), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("regions", [True, False])
@pytest.mark.parametrize("window", [None, 10.0])
def test_answers_are_those_of_the_grounder(network: str, regions: bool, window: float | None) -> None:
    grounder = make_grounder(window=window, regions=regions, network=network, max_clips=32)
    videos = [features(clips, regions=regions, seed=seed) for seed, clips in enumerate(CLIPS)]
    asks = asker(grounder)
    numbers = [[0, 1, 2], [2], [0, 2], [1], [0, 1]]
    found = asks.ground([*zip(asks.encode(videos), numbers, strict=True)], asks.question(QUERIES), 3)
    for video, some, moments in zip(videos, numbers, found, strict=True):
        same(moments, grounder.ground_features(video, [QUERIES[number] for number in some], 3))


@pytest.mark.parametrize("regions", [True, False])
def test_a_glance_depends_on_no_other_video_and_is_the_presence_of_a_short_one(regions: bool) -> None:
    grounder = make_grounder(regions=regions, window=10.0)
    asks = asker(grounder)
    videos = asks.encode([features(clips, regions=regions, seed=seed) for seed, clips in enumerate(CLIPS)])
    question = asks.question(QUERIES)
    numbers = [[0, 1, 2], [2], [0, 2], [1], [0, 1]]
    together = asks.glance([*zip(videos, numbers, strict=True)], question)
    for video, some, seen in zip(videos, numbers, together, strict=True):
        [alone] = asks.glance([(video, some)], question)
        np.testing.assert_allclose(seen, alone, atol=1e-5)
    assert isinstance(grounder.predictor, MKTNPredictor)
    curve = grounder.saliency(features(3, regions=regions, seed=2), QUERIES[0])  # presence times shares of at most 1
    assert curve.max() <= 1 / (1 + np.exp(-together[2][0])) + 1e-6


def test_every_fourth_clip_is_seen_at_a_glance() -> None:
    [long] = asker(make_grounder()).encode([features(40)])
    [short] = asker(make_grounder()).encode([features(15)])
    assert isinstance(long, EncodedVideo) and isinstance(short, EncodedVideo)
    assert long.windows[0].thinned.projected.shape[1] == 10
    assert short.windows[0].thinned.projected.shape[1] == 15
    assert long.nbytes > short.nbytes > 0


def test_without_presence_there_is_nothing_to_see_at_a_glance() -> None:
    asks = asker(make_grounder(presence=False))
    assert asker(make_grounder()).can_glance and not asks.can_glance
    with pytest.raises(ValueError, match="without presence"):
        asks.glance([(video, [0]) for video in asks.encode([features(9)])], asks.question(QUERIES))


def test_what_cannot_be_asked_is_an_error() -> None:
    asks = asker(make_grounder())
    with pytest.raises(FeatureError, match="numbers a clip"):
        asks.encode([features(9), features(9, regions=False)])
    with pytest.raises(DataError):
        asks.question(["  "])
    damaged = make_grounder()
    assert isinstance(damaged.predictor, MKTNPredictor)
    next(damaged.predictor.network.head.parameters()).data.fill_(float("nan"))
    asks = asker(damaged)
    with pytest.raises(FeatureError, match="not finite"):
        asks.ground([(video, [0]) for video in asks.encode([features(9)])], asks.question(QUERIES), 1)


def test_without_training_features_are_kept() -> None:
    def embed(sentences: Sequence[str]) -> np.ndarray:
        return np.stack([np.random.default_rng(len(each)).normal(size=4) for each in sentences]).astype(np.float32)

    grounder = Grounder(ZeroShotPredictor(embed, FINGERPRINT))
    asks = asker(grounder)
    assert isinstance(asks, PlainAsker) and isinstance(asker(make_grounder()), NetworkAsker)
    video = features(9, regions=False)
    video = type(video)(video.clips[:, :4], None, video.duration, video.fingerprint)
    question, [encoded] = asks.question(QUERIES), asks.encode([video])
    assert not asks.can_glance
    with pytest.raises(ValueError, match="cannot glance"):
        asks.glance([(encoded, [0])], question)
    [found] = asks.ground([(encoded, [1, 0])], question, 2)
    same(found, grounder.ground_features(video, [QUERIES[1], QUERIES[0]], 2))
