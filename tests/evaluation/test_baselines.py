"""Baselines: spans that can be checked by hand, and shuffles that really shuffle."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.data.dataset import Dataset
from mttsg_core.data.pairs import Pair
from mttsg_core.evaluation.baselines import (
    BLIND,
    _ShuffledStore,
    constant_span,
    evaluate_blind,
    evaluate_shuffled_features,
    evaluate_shuffled_sentences,
    prior_spans,
    relative_moments,
    shuffle_across_videos,
)
from mttsg_core.evaluation.evaluation_report import EvaluationReport, blind_baselines
from mttsg_core.evaluation.evaluator import Evaluation, evaluate, score
from mttsg_core.evaluation.metrics import MetricConfig
from mttsg_core.features.store import VideoFeatures
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.moments import Moment
from tests.helpers import tiny


def pairs_at(spans: list[tuple[float, float]], duration: float | None = 10.0) -> list[Pair]:
    return [Pair(str(n), f"v{n // 2}", f"sentence {n}", (span,), duration) for n, span in enumerate(spans)]


def test_spans_of_two_clusters() -> None:
    spans = [(0.0, 4.0)] * 6 + [(6.0, 10.0)] * 3
    moments = relative_moments(pairs_at(spans), [10.0] * 9)
    assert moments.shape == (9, 2)
    start, end, share = constant_span(moments)[0]
    assert share == pytest.approx(6 / 9)
    first, second = prior_spans(moments)
    assert first.score == pytest.approx(6 / 9)
    assert second.score == pytest.approx(3 / 9)
    for predicted_start, predicted_end in ((start, end), first[:2]):
        assert min(0.4, predicted_end) - max(0.0, predicted_start) >= 0.5 * 0.4
    assert (second.start + second.end) / 2 == pytest.approx(0.8, abs=0.1)


def test_relative_moments_are_inside_the_video() -> None:
    pairs = [*pairs_at([(2, 12), (11, 12)]), *pairs_at([(0, 1)], None)]
    assert relative_moments(pairs, [10.0, 10.0, None]).tolist() == [[0.2, 1.0]]
    assert relative_moments([], []).shape == (0, 2)


def test_blind_baselines_take_the_pairs_and_metrics_of_an_evaluation() -> None:
    pairs = pairs_at([(0.0, 4.0), (0.0, 4.0), (6.0, 10.0)])
    config = MetricConfig((1, 5), (0.5,), strict=True, average_precision=True)
    main = replace(score("val", pairs, [[Moment(0, 4)]] * 3, "predictions"), metric_config=config)
    baselines = blind_baselines(main, [10.0, 10.0, None], pairs, [10.0] * 3)
    assert [(baseline.name, baseline.mode, baseline.missed) for baseline in baselines] == [
        ("constant span", BLIND, 1),
        ("prior over spans", BLIND, 1),
        ("whole video", BLIND, 1),
    ]
    assert all(baseline.metric_config == config and baseline.pairs is pairs for baseline in baselines)
    assert list(baselines[2].predictions) == [[Moment(0, 10)], [Moment(0, 10)], []]
    assert [baseline.name for baseline in blind_baselines(main, [None] * 3, [], [])] == ["whole video"]
    EvaluationReport(main, [10.0, 10.0, None], baselines)


def test_modes_are_never_mixed() -> None:
    main = score("val", pairs_at([(0, 4)]), [[Moment(0, 4)]], "independent")
    joint = replace(main, mode="joint")
    with pytest.raises(ValueError, match="joint"):
        EvaluationReport(main, [10.0], [joint])
    with pytest.raises(ValueError, match="not the same metrics"):
        EvaluationReport(main, [10.0], [replace(main, metric_config=MetricConfig(strict=True))])
    with pytest.raises(ValueError, match="joint"):
        evaluate_shuffled_sentences(lambda _: joint, Dataset("val", main.pairs, _NoFeatures()), main)
    EvaluationReport(main, [10.0], [evaluate_blind("whole video", [Moment(0, 1)], main, [10.0])])


class _NoFeatures:
    files: dict[str, Path] = {}  # noqa: RUF012 -- never changed

    def load(self, video: str) -> VideoFeatures:
        raise AssertionError(video)


@pytest.mark.parametrize("sizes", [(3, 1, 2), (1, 1), (2, 2, 2, 2), (5, 3, 2)])
def test_every_sentence_goes_to_another_video(sizes: tuple[int, ...]) -> None:
    videos = [f"v{number}" for number, size in enumerate(sizes) for _ in range(size)]
    for seed in range(5):
        order = shuffle_across_videos(videos, seed)
        assert sorted(order) == list(range(len(videos)))
        assert all(videos[pair] != videos[other] for pair, other in enumerate(order))
    assert shuffle_across_videos(videos, 1) == shuffle_across_videos(videos, 1)


def test_sentences_of_a_single_video_are_still_swapped() -> None:
    assert all(pair != other for pair, other in enumerate(shuffle_across_videos(["a"] * 3, 0)))
    assert shuffle_across_videos(["a"], 0) == [0]


def test_only_the_order_of_clips_changes(tmp_path: Path) -> None:
    data = tiny.dataset(tmp_path, videos=2)
    shuffled = _ShuffledStore(data.store, 0)
    for video in shuffled.files:
        before, after = data.store.load(video), shuffled.load(video)
        assert not np.array_equal(before.clips, after.clips)
        assert np.array_equal(np.sort(before.clips, axis=0), np.sort(after.clips, axis=0))
        assert before.duration == after.duration
        assert np.array_equal(after.clips, shuffled.load(video).clips)
        order = [np.flatnonzero((before.clips == row).all(axis=1))[0] for row in after.clips]
        assert after.regions is not None
        assert before.regions is not None
        assert np.array_equal(after.regions, before.regions[order])


def test_shuffles_with_a_model(tmp_path: Path) -> None:
    data = tiny.dataset(tmp_path, videos=5)
    predict = partial(evaluate, Grounder(MKTNPredictor(tiny.model())))
    main = predict(data)
    seen: list[Dataset] = []

    def recorded(dataset: Dataset) -> Evaluation:
        seen.append(dataset)
        return predict(dataset)

    sentences = evaluate_shuffled_sentences(recorded, data, main)
    features = evaluate_shuffled_features(recorded, data, main)
    assert sorted(pair.query for pair in seen[0].pairs) == sorted(pair.query for pair in data.pairs)
    assert [pair.moments for pair in seen[0].pairs] == [pair.moments for pair in data.pairs]
    assert seen[1].pairs is data.pairs
    for baseline in (sentences, features):
        assert baseline.pairs is main.pairs
        assert (baseline.mode, baseline.missed) == ("independent", 0)
        assert baseline.predictions != main.predictions
