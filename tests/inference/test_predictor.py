"""The network as a scorer: moments in seconds, and curves over clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mttsg_core.checkpoints.checkpoint import CONFIG, load_model, read_json, write_json
from mttsg_core.data.batch import VideoItem
from mttsg_core.errors import ModelError
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor, to_moments
from mttsg_core.inference.sliding_window import cut_windows
from mttsg_core.modeling import proposals as spans
from mttsg_core.modeling.proposals import coverage_probability, proposal_edges
from mttsg_core.moments import Moment, Timeline
from tests.helpers.tiny import features, model, model_folder, network

QUERIES = ["person opens door", "the red circle moves left", "?!"]


def test_seconds_are_those_of_the_timeline() -> None:
    bounds = torch.tensor([[[0.0, 4.0], [1.0, 2.5]], [[0.0, 1.0], [0.0, 1.0]]])
    scores = torch.tensor([[0.9, 0.1], [0.5, 0.0]])
    first, second = to_moments(bounds, scores, [Timeline(8.0, 4), Timeline(3.0, 1, start=10.0)])
    assert [moment[:2] for moment in first] == [(0.0, 8.0), (2.0, 5.0)]
    assert second == [Moment(10.0, 13.0, 0.5)]


def test_what_reaches_past_the_video_is_cut_and_what_is_left_without_length_is_no_answer() -> None:
    bounds = torch.tensor([[[-0.5, 4.5], [4.0, 4.5], [1.0, 1.0]]])
    [answers] = to_moments(bounds, torch.tensor([[0.9, 0.8, 0.7]]), [Timeline(8.0, 4, start=1.0)])
    assert answers == [Moment(1.0, 9.0, pytest.approx(0.9))]


@pytest.mark.parametrize("clips", [1, 5, 30])
def test_the_chance_of_a_clip_is_that_of_all_spans_over_it(clips: int) -> None:
    torch.manual_seed(clips)
    first, last = proposal_edges(clips)
    logits = 3 * torch.randn(2, len(first))
    found = coverage_probability(logits, clips)
    weight = (spans._SHARPEN * logits + spans._LONGER * (last - first).log()).softmax(-1)
    assert found.shape == (2, clips)
    for clip in range(clips):
        over = (first <= clip) & (clip < last)
        torch.testing.assert_close(found[:, clip], weight[:, over].sum(-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("clips", [1, 20, 40, 333])
def test_a_curve_has_a_chance_for_every_clip_whatever_the_company(clips: int) -> None:
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


def test_more_clips_than_the_network_takes_have_the_values_of_its_bins() -> None:
    grounder = Grounder(MKTNPredictor(model(max_clips=32)))
    video = features(64)
    [curve], [binned] = grounder.saliency(video, QUERIES[:1]), grounder.saliency(video.at_most(32), QUERIES[:1])
    assert curve.tolist() == np.repeat(binned, 2).tolist()


def test_the_longest_video_of_the_training_is_remembered(tmp_path: Path) -> None:
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
    del described["max_window_seconds"]  # a folder of version 0.1
    write_json(folder / CONFIG, described)
    assert load_model(folder).max_window_seconds is None


def test_a_long_video_is_asked_in_windows_of_that_length() -> None:
    assert network().config.max_clips > 200
    whole = Grounder(MKTNPredictor(model()))
    cut = Grounder(MKTNPredictor(replace(model(), max_window_seconds=20.0)))
    short, long = features(41), features(200)
    assert cut.ground_features(short, QUERIES) == whole.ground_features(short, QUERIES)
    windows = [whole.ground_features(window, QUERIES, 5) for window in cut_windows(long, 20.0)]
    assert len(windows) == 9
    for number, answers in enumerate(cut.ground_features(long, QUERIES, 5)):
        possible = np.array([moment[:2] for window in windows for moment in window[number]])
        assert len(answers) == 5
        for moment in answers:
            assert np.abs(possible - np.array(moment[:2])).max(1).min() < 1e-3
