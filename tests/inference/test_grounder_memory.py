"""Many sentences, or long ones, take bounded memory, and give the same moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mttsg_core import Grounder
from mttsg_core.data.batch import VideoItem
from mttsg_core.inference import bounded_steps, query_memory, sliding_window
from mttsg_core.inference.modes import Mode
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.moments import Moment
from tests.helpers.tiny import features, model

SENTENCES = [f"person opens {'the big ' * (number % 7 == 3) * 6}door {number}" for number in range(30)]


class NotedPredictor(MKTNPredictor):
    """Notes the different sentences of each step by their numbers of words, and how many moments are wanted."""

    steps: list[list[int]]
    wanted: list[int]

    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        self.wanted.append(top)
        self.steps.append([*{id(words): len(words) for item in items for words in item.words}.values()])
        return super().ground(items, top, mode)


@pytest.fixture
def predictor() -> NotedPredictor:
    made = NotedPredictor(model())
    made.steps, made.wanted = [], []
    return made


def test_a_step_has_a_bounded_number_of_padded_words(
    predictor: NotedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [(features(12, seed=seed), SENTENCES[: 10 * seed]) for seed in range(4)]
    expected = list(Grounder(predictor).ground_many(videos, 2))
    predictor.steps.clear()
    monkeypatch.setattr(bounded_steps, "_MAX_PADDED_WORDS", 60)
    in_steps = list(Grounder(predictor).ground_many(videos, 2))
    assert len(predictor.steps) > 4
    assert all(len(step) == 1 or len(step) * max(step, default=0) <= 60 for step in predictor.steps)
    assert [len(moments) for moments in in_steps] == [0, 10, 20, 30]
    for moments, whole in zip(in_steps, expected, strict=True):
        for actual, wanted in zip(moments, whole, strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4)


def test_videos_with_the_same_sentences_share_a_step(predictor: NotedPredictor) -> None:
    list(Grounder(predictor).ground_many([(features(12, seed=seed), SENTENCES) for seed in range(8)]))
    assert [len(step) for step in predictor.steps] == [30]


def test_few_words_stay_in_memory(predictor: NotedPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_memory, "_MAX_WORDS", 50)
    grounder = Grounder(predictor)
    for sentence in SENTENCES:
        grounder.ground_features(features(12), sentence, 1)
        assert len(grounder._query_memory) <= 50 + 20


def test_no_more_moments_are_made_than_are_wanted_except_of_windows(predictor: NotedPredictor) -> None:
    grounder = Grounder(predictor)
    assert [len(moments) for moments in grounder.ground_features(features(12), SENTENCES, 2)] == [2] * 30
    predictor.max_window_seconds = features(12).timeline.duration
    long_video = [(features(40), SENTENCES[:2])]
    assert [len(moments) for moments in next(grounder.ground_many(long_video, 2, batch_size=1))] == [2, 2]
    assert predictor.wanted[0] == 2
    assert len(predictor.wanted) > 2
    assert set(predictor.wanted[1:]) == {sliding_window._MIN_PER_WINDOW}
