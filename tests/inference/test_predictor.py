"""The network as a predictor: moments in seconds, and saliency of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mttsg_core.checkpoints.checkpoint import CONFIG, load_model, read_json, write_json
from mttsg_core.data.batch import VideoItem
from mttsg_core.errors import DataError, FeatureError, ModelError
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor, to_moments
from mttsg_core.inference.sliding_window import cut_windows
from mttsg_core.moments import Moment, Timeline
from tests.helpers.tiny import features, model, model_folder, network

QUERIES = ["person opens door", "the red circle moves left", "?!"]


def test_clip_units_are_converted_by_the_timeline_of_the_video() -> None:
    spans = torch.tensor([[[0.0, 4.0], [1.0, 2.5]], [[0.0, 1.0], [0.0, 1.0]]])
    scores = torch.tensor([[0.9, 0.1], [0.5, 0.0]])
    first, second = to_moments(spans, scores, [Timeline(8.0, 4), Timeline(3.0, 1, start=10.0)])
    assert [moment[:2] for moment in first] == [(0.0, 8.0), (2.0, 5.0)]
    assert second == [Moment(10.0, 13.0, 0.5)]


def test_moments_are_clipped_to_the_video_and_left_out_if_nothing_remains() -> None:
    spans = torch.tensor([[[-0.5, 4.5], [4.0, 4.5], [1.0, 1.0]]])
    [moments] = to_moments(spans, torch.tensor([[0.9, 0.8, 0.7]]), [Timeline(8.0, 4, start=1.0)])
    [(start, end, score)] = moments
    assert (start, end) == (1.0, 9.0)
    assert score == pytest.approx(0.9)


@pytest.mark.parametrize("clips", [1, 20, 40, 333])
def test_saliency_is_a_probability_for_every_clip_that_no_other_query_or_video_changes(clips: int) -> None:
    grounder = Grounder(MKTNPredictor(model(max_clips=32)))
    video = features(clips, seed=clips)
    saliency = grounder.saliency(video, QUERIES)
    assert len(saliency) == len(QUERIES)
    for query, curve in zip(QUERIES, saliency, strict=True):
        assert curve.shape == (clips,)
        assert curve.dtype == np.float32
        assert curve.min() >= 0
        assert curve.max() <= 1
        [alone] = grounder.saliency(video, [query])
        np.testing.assert_allclose(alone, curve, atol=1e-5)
    others = [VideoItem(features(count), grounder.predictor.encode(QUERIES[:2])) for count in (9, 50, 1)]
    batch = [others[0], VideoItem(video, grounder.predictor.encode(QUERIES)), *others[1:]]
    for curve, expected in zip(grounder.predictor.saliency(batch)[1], saliency, strict=True):
        np.testing.assert_allclose(curve, expected, atol=1e-5)


def test_clips_of_one_bin_of_the_network_have_the_same_saliency() -> None:
    grounder = Grounder(MKTNPredictor(model(max_clips=32)))
    video = features(64)
    [curve], [binned] = grounder.saliency(video, QUERIES[:1]), grounder.saliency(video.downsample(32), QUERIES[:1])
    assert curve.tolist() == np.repeat(binned, 2).tolist()


def test_the_length_of_the_longest_training_video_is_read_from_the_model_folder(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    described = read_json(folder / CONFIG)
    assert load_model(folder).max_window_seconds is None
    for max_window_seconds in (12.5, 90):
        write_json(folder / CONFIG, {**described, "max_window_seconds": max_window_seconds})
        assert Grounder.load(folder, device="cpu").predictor.max_window_seconds == max_window_seconds
    for wrong in (0, -3, "60", [1], float("inf")):
        write_json(folder / CONFIG, {**described, "max_window_seconds": wrong})
        with pytest.raises(ModelError, match="max_window_seconds"):
            load_model(folder)
    del described["max_window_seconds"]
    write_json(folder / CONFIG, described)
    assert load_model(folder).max_window_seconds is None


def test_a_long_video_is_grounded_in_windows_of_that_length() -> None:
    assert network().config.max_clips > 200
    whole = Grounder(MKTNPredictor(model()))
    windowed = Grounder(MKTNPredictor(replace(model(), max_window_seconds=20.0)))
    short, long = features(41), features(200)
    assert windowed.ground_features(short, QUERIES) == whole.ground_features(short, QUERIES)
    windows = [whole.ground_features(window, QUERIES, 5) for window in cut_windows(long, 20.0)]
    assert len(windows) == 9
    for number, answers in enumerate(windowed.ground_features(long, QUERIES, 5)):
        possible = np.array([moment[:2] for window in windows for moment in window[number]])
        assert len(answers) == 5
        for moment in answers:
            assert np.abs(possible - np.array(moment[:2])).max(1).min() < 1e-3


def test_the_number_of_clips_of_a_step_does_not_change_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = MKTNPredictor(model())
    items = [VideoItem(features(count, seed=count), predictor.encode(QUERIES)) for count in (9, 30, 1, 12)]
    expected = predictor.ground(items, 3, "independent")
    monkeypatch.setattr("mttsg_core.inference.predictor._MAX_CLIPS", 1)
    for answers, expected_answers in zip(predictor.ground(items, 3, "independent"), expected, strict=True):
        for moments, expected_moments in zip(answers, expected_answers, strict=True):
            np.testing.assert_allclose(moments, expected_moments, atol=1e-5)


def test_videos_without_a_sentence_get_no_answers() -> None:
    predictor = MKTNPredictor(model())
    items = [VideoItem(features(9), []), VideoItem(features(5), predictor.encode(QUERIES[:1]))]
    assert [len(answers) for answers in predictor.ground(items, 3, "independent")] == [0, 1]
    assert [len(curves) for curves in predictor.saliency(items)] == [0, 1]
    assert predictor.ground(items[:1], 3, "joint") == [[]]


def test_the_settings_of_the_selection_apply_to_the_answers() -> None:
    usual, whole_clips = MKTNPredictor(model()), MKTNPredictor(model(min_moment_clips=3.0))
    items = [VideoItem(features(30), usual.encode(QUERIES))]
    shortest = min(
        moment.end - moment.start for moments in whole_clips.ground(items, 5, "independent")[0] for moment in moments
    )
    assert shortest >= 1.5 - 1e-4  # three clips of half a second
    assert usual.ground(items, 5, "independent") != whole_clips.ground(items, 5, "independent")


def damaged_grounder(value: float) -> Grounder:
    damaged = model()
    with torch.no_grad():
        for parameter in damaged.network.parameters():
            parameter.fill_(value)
    return Grounder(MKTNPredictor(damaged))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_network_without_an_answer_is_a_failure(value: float) -> None:
    grounder = damaged_grounder(value)
    for queries in ("person opens door", QUERIES):
        with pytest.raises(FeatureError, match=r"^the scores of the network are not finite, or all zero: .* damaged$"):
            grounder.ground_features(features(9), queries)
    with pytest.raises(FeatureError, match="not finite"):
        grounder.saliency(features(9), QUERIES)


def test_features_without_an_answer_are_a_failure() -> None:
    video = features(9)
    video.clips[4] = 3e38
    with pytest.raises(FeatureError, match="not finite"):
        Grounder(MKTNPredictor(model())).ground_features(video, QUERIES)


@pytest.mark.parametrize(
    ("change", "widths"),
    [
        ({"clips": np.zeros((9, 5), np.float32)}, "of 5 numbers a clip with 4 regions of 3"),
        ({"regions": None}, "of 6 numbers a clip"),
        ({"regions": np.zeros((9, 4, 2), np.float32)}, "of 6 numbers a clip with 4 regions of 2"),
    ],
)
def test_features_of_other_widths_are_refused(change: dict[str, Any], widths: str) -> None:
    grounder = Grounder(MKTNPredictor(model()))
    message = f"^features {widths}, but the model expects those of 6 numbers a clip with 4 regions of 3$"
    for ask in (grounder.ground_features, grounder.saliency):
        with pytest.raises(FeatureError, match=message):
            ask(replace(features(9), **change), QUERIES)


def test_many_sentences_are_grounded_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    grounder = Grounder(MKTNPredictor(replace(model(), max_window_seconds=10.0)))
    videos = [(features(9), QUERIES), (features(60, seed=1), [*QUERIES, "a", "b"]), (features(5, seed=2), [])]
    expected = list(grounder.ground_many(videos))
    sizes: list[int] = []
    ground = grounder.predictor.ground

    def counted(items: Sequence[VideoItem], *options: Any) -> list[list[list[Moment]]]:
        sizes.extend(len(item.words) for item in items)
        return ground(items, *options)

    monkeypatch.setattr(grounder.predictor, "ground", counted)
    for largest in (1, 2, 5):
        monkeypatch.setattr("mttsg_core.inference.bounded_steps._MAX_QUERIES", largest)
        sizes.clear()
        for answers, expected_answers in zip(grounder.ground_many(videos), expected, strict=True):
            for moments, expected_moments in zip(answers, expected_answers, strict=True):
                np.testing.assert_allclose(moments, expected_moments, atol=1e-4)
        assert max(sizes) == largest
    sizes.clear()
    list(grounder.ground_many(videos, mode="joint"))
    assert max(sizes) == 5


@pytest.mark.parametrize("query", ["a " * 1001, "x" * 10_001])
def test_a_sentence_that_is_too_long_is_refused(query: str) -> None:
    grounder = Grounder(MKTNPredictor(model()))
    for ask in (grounder.ground_features, grounder.saliency):
        with pytest.raises(DataError, match=r"^the sentence has 100"):
            ask(features(9), ["opens", query])
