"""What is familiar to a model, and what scores are multiplied by where something is not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.data.familiarity import Familiarity, content_words, learn_familiarity, stem
from mttsg_core.encoders.base import Array

SENTENCES = ["the red circle moves left", "a blue star grows", "the circles are moving"]


def video(shift: float = 0.0, seed: int = 0, clips: int = 20) -> Array:
    return (np.random.default_rng(seed).normal(size=(clips, 8)) + shift).astype(np.float32)


@pytest.fixture
def familiar() -> Familiarity:
    return learn_familiarity(SENTENCES, (video(seed=seed) for seed in range(12)), knows_words=False)


def test_words_count_in_all_their_forms(familiar: Familiarity) -> None:
    assert familiar.unheard("The red circles grow") == ([], 0.0)
    assert familiar.unheard("a dog walks to the left") == (["dog", "walks"], 2 / 3)
    assert familiar.unheard("moved, moving and MOVES") == ([], 0.0)
    assert familiar.unheard("it is on the")[0] == ["it", "is", "on", "the"]  # nothing else is there
    assert familiar.unheard("?!") == ([], 0.0)
    assert [familiar.is_unfamiliar(query) for query in ("a red dog", "a red circle", "a dog")] == [True, False, True]


def test_scripts_without_spaces_are_taken_by_character() -> None:
    known = learn_familiarity(["紫色の四角", "ดาวสีแดง"], [video()], knows_words=False)
    assert known.unheard("四角の紫色") == ([], 0.0)
    assert known.unheard("赤い円")[1] == 1.0
    assert known.unheard("สีแดง") == ([], 0.0)
    assert content_words("das lila Quadrat") == ["das", "lila", "quadrat"]


def test_the_factor_of_a_sentence_falls_with_its_unheard_words(familiar: Familiarity) -> None:
    queries = ("red circle", "red circle star dog", "red circle dog cat", "red dog cat cow", "dog cat cow ant")
    factors = [familiar.query_factor(query) for query in queries]
    assert factors == sorted(factors, reverse=True)
    assert (factors[0], factors[-1]) == (1.0, 0.25)
    reader = learn_familiarity(SENTENCES, [video()], knows_words=True)
    assert reader.query_factor("dog cat") == 1.0 and reader.is_unfamiliar("dog cat")  # said, but not counted


def test_the_factor_of_a_video_falls_with_its_distance(familiar: Familiarity) -> None:
    assert [familiar.video_factor(video(seed=seed)) for seed in range(40)] == [1.0] * 40
    factors = [familiar.video_factor(video(shift)) for shift in np.linspace(0, 20, 30)]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] == 1.0 and factors[-1] < 0.01
    assert [familiar.is_unlike(video(shift)) for shift in (0.0, 10.0)] == [False, True]


def test_channels_that_never_changed_do_not_make_everything_far() -> None:
    constant = [np.concatenate([video(seed=seed), np.zeros((20, 2), np.float32)], axis=1) for seed in range(5)]
    known = learn_familiarity(SENTENCES, constant, knows_words=False)
    other = constant[0].copy()
    other[:, -1] = 0.01
    assert known.video_factor(other) == 1.0


@given(st.integers(1, 3), st.integers(1, 5))
def test_a_single_short_video_is_enough(videos: int, clips: int) -> None:
    known = learn_familiarity(SENTENCES, [video(seed=seed, clips=clips) for seed in range(videos)], knows_words=False)
    assert known.video_factor(video(seed=0, clips=clips)) == 1.0
    assert np.isfinite(known.spread).all() and (known.spread > 0).all() and known.reach > 0


def test_it_survives_json(familiar: Familiarity) -> None:
    again = Familiarity.from_dict(json.loads(json.dumps(familiar.as_dict())))
    assert again.stems == familiar.stems and again.reach == familiar.reach
    assert np.array_equal(again.center, familiar.center) and np.array_equal(again.spread, familiar.spread)


@pytest.mark.parametrize(
    "change",
    [
        {"stems": None},
        {"stems": [1]},
        {"center": []},
        {"center": [[1.0]]},
        {"center": [float("nan")] * 8},
        {"spread": [0.0] * 8},
        {"spread": [1.0] * 7},
        {"reach": 0},
        {"reach": "x"},
        {"reach": float("inf")},
    ],
)
def test_damaged_records_are_refused(familiar: Familiarity, change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Familiarity.from_dict({**familiar.as_dict(), **change})


def test_the_vocabulary_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mttsg_core.data.familiarity._MAX_STEMS", 2)
    known = learn_familiarity(["red red red", "blue blue", "green"], [video()], knows_words=False)
    assert known.stems == {stem("red"), stem("blue")}
