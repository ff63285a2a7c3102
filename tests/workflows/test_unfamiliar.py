"""Warnings about sentences and videos unlike the training, and scores that are lower there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mttsg_core import Grounder
from mttsg_core.data.familiarity import Familiarity, learn_familiarity
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.video.discovery import VideoFile
from mttsg_core.workflows.unfamiliar import VideoWarnings, warn_of_queries
from tests.conftest import Mttsg
from tests.helpers.tiny import features, model

HEARD = ["the red circle moves", "the blue star grows"]


def known(*, knows_words: bool = False) -> Familiarity:
    return learn_familiarity(HEARD, (features(20, seed=seed).clips for seed in range(8)), knows_words=knows_words)


def shifted(video: VideoFeatures, shift: float) -> VideoFeatures:
    return replace(video, clips=video.clips + np.float32(shift))


@pytest.fixture
def pair() -> tuple[Grounder, Grounder]:
    """One model that does not know what it was trained on, and one that does."""
    plain = model()
    return Grounder(MKTNPredictor(plain)), Grounder(MKTNPredictor(replace(plain, familiarity=known())))


def test_scores_are_lower_and_in_the_same_order(pair: tuple[Grounder, Grounder]) -> None:
    plain, knowing = pair
    video = features(20, seed=3)
    for query, factor in (("the red star moves", 1.0), ("a dog sleeps", 0.25)):
        before, after = plain.ground_features(video, query), knowing.ground_features(video, query)
        assert [moment[:2] for moment in after] == [moment[:2] for moment in before]
        assert [moment.score for moment in after] == pytest.approx([moment.score * factor for moment in before])
        np.testing.assert_allclose(knowing.saliency(video, query), factor * plain.saliency(video, query), rtol=1e-5)
    far = shifted(video, 30.0)
    [first], [second] = plain.ground_features(far, HEARD[0], 1), knowing.ground_features(far, HEARD[0], 1)
    assert second[:2] == first[:2] and second.score < 0.05 * first.score


def test_each_sentence_of_each_video_has_its_own_factor(pair: tuple[Grounder, Grounder]) -> None:
    plain, knowing = pair
    asked = [(features(12, seed=1), ["a dog", "red"]), (shifted(features(9, seed=2), 30.0), ["red"]), (features(5), [])]
    before, after = list(plain.ground_many(asked)), list(knowing.ground_many(asked))
    [[dog, red], [far], none] = [
        [new[0].score / old[0].score for new, old in zip(news, olds, strict=True)]
        for news, olds in zip(after, before, strict=True)
    ]
    assert (dog, red, none) == (pytest.approx(0.25), pytest.approx(1.0), [])
    assert far < 0.05


def test_unheard_words_are_named_once() -> None:
    [warning] = warn_of_queries(known(), ["a dog walks", "the red circle", "the cat's dog"])
    assert warning.text == (
        'the model never heard "dog", "walks", "cat\'s" (2 of 3 sentences): their scores are lowered'
    )
    [warning] = warn_of_queries(known(knows_words=True), ["a dog walks"])
    assert warning.text == 'the model never heard "dog", "walks": only its text encoder knows them'
    [warning] = warn_of_queries(known(), [" ".join(f"word{number}" for number in range(11))])
    assert warning.text.endswith('"word7" and 3 more: their scores are lowered')
    assert not [*warn_of_queries(known(), HEARD), *warn_of_queries(None, ["a dog"])]
    [warning] = warn_of_queries(known(), ["a dog walks"], shows_scores=False)
    assert warning.text == 'the model never heard "dog", "walks": answers are unsure'


def test_of_many_videos_the_first_are_named() -> None:
    warnings = VideoWarnings(known())
    near, far = features(20, seed=3).clips, shifted(features(20, seed=3), 30.0).clips
    files = [VideoFile(Path(f"{number}.mp4"), Path(f"{number}.mp4")) for number in range(6)]
    named = [warning.text for file in files for warning in warnings.check(file, near if file is files[0] else far)]
    assert [text.partition(":")[0] for text in named] == ["1.mp4", "2.mp4", "3.mp4"]
    assert [warning.text for warning in warnings.rest()] == [
        "2 other videos are unlike those of the training, scores are lowered"
    ]
    unscored = VideoWarnings(known(), shows_scores=False)
    [*_, last] = [warning.text for file in files for warning in unscored.check(file, far)]
    assert last == "2.mp4: unlike the videos of the training, answers are unsure"
    assert [warning.text for warning in unscored.rest()] == [
        "3 other videos are unlike those of the training, answers are unsure"
    ]
    assert not list(VideoWarnings(None).check(files[0], far))
    assert not list(warnings.check(files[0], far[:, :2]))  # features of another width are refused elsewhere


def test_ground_says_it(ground: Mttsg, clip: Path) -> None:
    ran = ground(clip, "the red circle moves left", "a dog sleeps on a sofa", "--format", "jsonl", "--top", "1")
    assert ran.code == 0, ran.err
    assert 'warning: the model never heard "dog", "sleeps", "sofa" (1 of 2 sentences)' in ran.err
    assert "unlike the videos" not in ran.err
    assert "never heard" not in ground(clip, "the red circle moves left").err
    assert "never heard" not in ground(clip, "a dog", "--quiet").err
