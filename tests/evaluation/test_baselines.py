"""Baselines: spans that can be found by hand, and shuffles that really shuffle."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.dataset import Dataset
from mttsg_core.data.folder import Pair
from mttsg_core.evaluation.baselines import (
    BLIND,
    _ShuffledStore,
    constant_span,
    evaluate_blind,
    evaluate_shuffled_features,
    evaluate_shuffled_sentences,
    other_videos,
    prior_spans,
    relative_moments,
)
from mttsg_core.evaluation.evaluation_report import EvaluationReport, blind_baselines
from mttsg_core.evaluation.evaluator import Evaluation, evaluate, score
from mttsg_core.evaluation.figures import MetricConfig
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.moments import Moment
from tests.helpers import tiny


def pairs_at(spans: list[tuple[float, float]], duration: float | None = 10.0) -> list[Pair]:
    return [Pair(str(n), f"v{n // 2}", f"sentence {n}", (span,), duration) for n, span in enumerate(spans)]


def test_spans_of_two_sorts() -> None:
    spans = [(0.0, 4.0)] * 6 + [(6.0, 10.0)] * 3
    moments = relative_moments(pairs_at(spans), [10.0] * 9)
    assert moments.shape == (9, 2)
    start, end, share = constant_span(moments)[0]
    assert share == pytest.approx(6 / 9)
    first, second = prior_spans(moments)
    assert first.score == pytest.approx(6 / 9)
    assert second.score == pytest.approx(3 / 9)
    for (low, high), (found_start, found_end) in (((0, 0.4), (start, end)), ((0, 0.4), first[:2])):
        assert min(high, found_end) - max(low, found_start) >= 0.5 * (high - low)
    assert (second.start + second.end) / 2 == pytest.approx(0.8, abs=0.1)


def test_relative_moments_lie_in_the_video() -> None:
    pairs = [*pairs_at([(2, 12), (11, 12)]), *pairs_at([(0, 1)], None)]
    assert relative_moments(pairs, [10.0, 10.0, None]).tolist() == [[0.2, 1.0]]
    assert relative_moments([], []).shape == (0, 2)


def test_blind_baselines_stand_beside_an_evaluation() -> None:
    pairs = pairs_at([(0.0, 4.0), (0.0, 4.0), (6.0, 10.0)])
    measures = MetricConfig((1, 5), (0.5,), strict=True, precision=True)
    main = replace(score("val", pairs, [[Moment(0, 4)]] * 3, "predictions"), measures=measures)
    found = blind_baselines(main, [10.0, 10.0, None], pairs, [10.0] * 3)
    assert [(other.name, other.mode, other.missed) for other in found] == [
        ("constant span", BLIND, 1),
        ("prior over spans", BLIND, 1),
        ("whole video", BLIND, 1),
    ]
    assert all(other.measures == measures and other.pairs is pairs for other in found)
    assert list(found[2].predictions) == [[Moment(0, 10)], [Moment(0, 10)], []]
    assert [other.name for other in blind_baselines(main, [None] * 3, [], [])] == ["whole video"]
    EvaluationReport(main, [10.0, 10.0, None], found)


def test_modes_are_never_mixed() -> None:
    main = score("val", pairs_at([(0, 4)]), [[Moment(0, 4)]], "independent")
    joint = replace(main, mode="joint")
    with pytest.raises(ValueError, match="joint"):
        EvaluationReport(main, [10.0], [joint])
    with pytest.raises(ValueError, match="measures"):
        EvaluationReport(main, [10.0], [replace(main, measures=MetricConfig(strict=True))])
    with pytest.raises(ValueError, match="joint"):
        evaluate_shuffled_sentences(lambda _: joint, Dataset("val", main.pairs, _Nowhere()), main)
    EvaluationReport(main, [10.0], [evaluate_blind("whole video", [Moment(0, 1)], main, [10.0])])


class _Nowhere:
    files: dict[str, Path] = {}  # noqa: RUF012 -- never changed

    def load(self, video: str) -> tiny.VideoFeatures:
        raise AssertionError(video)


@pytest.mark.parametrize("sizes", [(3, 1, 2), (1, 1), (2, 2, 2, 2), (5, 3, 2)])
def test_every_sentence_goes_to_another_video(sizes: tuple[int, ...]) -> None:
    videos = [f"v{number}" for number, size in enumerate(sizes) for _ in range(size)]
    for seed in range(5):
        order = other_videos(videos, seed)
        assert sorted(order) == list(range(len(videos)))
        assert all(videos[place] != videos[other] for place, other in enumerate(order))
    assert other_videos(videos, 1) == other_videos(videos, 1)


def test_one_video_alone_still_swaps_sentences() -> None:
    assert all(place != other for place, other in enumerate(other_videos(["a"] * 3, 0)))
    assert other_videos(["a"], 0) == [0]


def test_clips_are_permuted_and_nothing_else(tmp_path: Path) -> None:
    data = tiny.dataset(tmp_path, videos=2)
    shuffled = _ShuffledStore(data.store, 0)
    for video in shuffled.files:
        before, after = data.store.load(video), shuffled.load(video)
        assert not np.array_equal(before.clips, after.clips)
        assert np.array_equal(np.sort(before.clips, axis=0), np.sort(after.clips, axis=0))
        assert before.duration == after.duration
        assert np.array_equal(after.clips, shuffled.load(video).clips)
        places = [np.flatnonzero((before.clips == row).all(axis=1))[0] for row in after.clips]
        assert after.regions is not None
        assert before.regions is not None
        assert np.array_equal(after.regions, before.regions[places])


def test_shuffles_with_a_model(tmp_path: Path) -> None:
    data = tiny.dataset(tmp_path, videos=5)
    answer = partial(evaluate, Grounder(MKTNPredictor(tiny.model())))
    main = answer(data)
    asked: list[Dataset] = []

    def watched(dataset: Dataset) -> Evaluation:
        asked.append(dataset)
        return answer(dataset)

    sentences = evaluate_shuffled_sentences(watched, data, main)
    features = evaluate_shuffled_features(watched, data, main)
    assert sorted(pair.query for pair in asked[0].pairs) == sorted(pair.query for pair in data.pairs)
    assert [pair.moments for pair in asked[0].pairs] == [pair.moments for pair in data.pairs]
    assert asked[1].pairs is data.pairs
    for found in (sentences, features):
        assert found.pairs is main.pairs
        assert (found.mode, found.missed) == ("independent", 0)
        assert found.predictions != main.predictions
