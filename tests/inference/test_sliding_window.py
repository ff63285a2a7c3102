"""Long videos: a moment is found with the same times wherever in the video it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.checkpoints.checkpoint import load_model
from mttsg_core.config import TrainingConfig
from mttsg_core.data.batch import VideoItem
from mttsg_core.data.dataset import Dataset
from mttsg_core.data.familiarity import Familiarity
from mttsg_core.data.pairs import Pair
from mttsg_core.encoders import build_text_encoder
from mttsg_core.encoders.base import Array, Settings
from mttsg_core.evaluation.evaluator import evaluate
from mttsg_core.features.store import FeatureStore, VideoFeatures, write_features
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.modes import Mode
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.inference.sliding_window import cut_windows, merge_moments, merge_saliency, window_slices
from mttsg_core.modeling.proposals import NMS_IOU
from mttsg_core.moments import Moment, Timeline, span_iou
from mttsg_core.training.trainer import RunSettings, train
from tests.helpers import tiny

FINGERPRINT: Settings = {"encoder": "marks"}
LONGEST = 60.0


@dataclass
class Marks:
    """A predictor that finds clips by their mark: sentence n describes the clips marked n.

    Its moments depend only on the clips of the window. In a window without the mark it predicts the whole window, with
    a low score.
    """

    max_window_seconds: float | None = LONGEST
    nms_iou: float = NMS_IOU
    has_comparable_scores: bool = True
    familiarity: Familiarity | None = None
    fingerprint: Settings = field(default_factory=lambda: FINGERPRINT)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    encoded: int = 0
    largest_batch: int = 0

    def encode(self, queries: Sequence[str]) -> list[Array]:
        self.encoded += len(queries)
        return [np.full((1, 1), float(query), dtype=np.float32) for query in queries]

    def ground(self, items: Sequence[VideoItem], top: int, mode: Mode) -> list[list[list[Moment]]]:
        self.largest_batch = max(self.largest_batch, len(items))
        assert self.max_window_seconds is None or all(
            item.features.timeline.duration <= 1.05 * self.max_window_seconds for item in items
        )
        return [[self._find(item.features, int(words[0, 0]))[:top] for words in item.words] for item in items]

    def saliency(self, items: Sequence[VideoItem], mode: Mode = "independent") -> list[list[Array]]:
        return [
            [(item.features.clips[:, 0] == words[0, 0]).astype(np.float32) for words in item.words] for item in items
        ]

    def _find(self, features: VideoFeatures, mark: int) -> list[Moment]:
        marked_clips = np.flatnonzero(features.clips[:, 0] == mark)
        timeline = features.timeline
        if not len(marked_clips):
            return [Moment(timeline.start, timeline.end, 0.1)]
        first, last = timeline.to_seconds([marked_clips[0], marked_clips[-1] + 1])
        return [Moment(float(first), float(last), 0.9), Moment(timeline.start, timeline.end, 0.2)]


def marked(clips: int, *marks: tuple[int, int], fps: float = 2.0, start: float = 0.0) -> VideoFeatures:
    """Return a video in which the clips from first to last of each pair are marked 1, 2, ..., and all others 0."""
    values = np.zeros((clips, 1), dtype=np.float16)
    for number, (first, last) in enumerate(marks, start=1):
        values[first:last] = number
    return VideoFeatures(values, None, clips / fps, FINGERPRINT, start)


@given(
    clips=st.integers(1, 3000),
    rate=st.floats(0.01, 60),
    max_window_seconds=st.floats(0.5, 2000),
    start=st.floats(-3, 3),
)
def test_windows_cover_the_video_and_overlap_by_half(
    clips: int, rate: float, max_window_seconds: float, start: float
) -> None:
    timeline = Timeline(clips / rate, clips, start)
    windows = window_slices(timeline, max_window_seconds)
    assert windows[0].start == 0
    assert windows[-1].stop == clips
    if timeline.duration <= max_window_seconds:
        assert windows == [slice(0, clips)]
    lengths = {window.stop - window.start for window in windows}
    assert len(lengths) == 1
    length = lengths.pop()
    assert length == 1 or length / rate <= max_window_seconds * 1.05 + 1e-6
    for window, following in pairwise(windows):
        assert 0 < following.start - window.start <= max(1, length // 2)


def test_a_video_as_long_as_in_training_is_one_window() -> None:
    for duration, windows in ((10, 1), (60, 1), (62.9, 1), (64, 2), (90, 2), (120, 3)):
        assert len(window_slices(Timeline(duration, 2 * int(duration)), LONGEST)) == windows
    assert window_slices(Timeline(1e6, 50), None) == [slice(0, 50)]


def test_a_window_keeps_its_position_in_time_and_copies_nothing() -> None:
    video = marked(400, (100, 110), start=1.25)
    windows = cut_windows(video, LONGEST)
    for window, clips in zip(windows, window_slices(video.timeline, LONGEST), strict=True):
        assert window.timeline.start == pytest.approx(video.timeline.to_seconds(clips.start))
        assert window.timeline.end == pytest.approx(video.timeline.to_seconds(clips.stop))
        assert window.timeline.seconds_per_clip == pytest.approx(0.5)
        assert np.shares_memory(window.clips, video.clips)
    with_regions = VideoFeatures(video.clips, np.zeros((400, 2, 3), dtype=np.float16), 200.0, FINGERPRINT)
    [window, *_] = cut_windows(with_regions, LONGEST)
    assert window.regions is not None
    assert len(window.regions) == len(window.clips) == 120


@pytest.mark.parametrize("length", [1, 9, 55])
def test_a_moment_has_the_same_times_wherever_it_is(length: int) -> None:
    """A moment of up to nearly half a window is complete, away from the edges, in at least one window, which wins."""
    grounder = Grounder(Marks())
    for first in range(0, 1000 - length):
        moments = grounder.ground_features(marked(1000, (first, first + length), start=0.7), "1")
        assert moments[0].start - 0.7 == pytest.approx(first / 2)
        assert moments[0].duration == pytest.approx(length / 2)
        assert moments[0].score == pytest.approx(0.9)
        assert [moment.score for moment in moments] == sorted((moment.score for moment in moments), reverse=True)


@given(first=st.integers(0, 880), length=st.integers(61, 120))
def test_a_moment_of_up_to_a_window_is_found_with_a_high_iou(first: int, length: int) -> None:
    [moment] = Grounder(Marks()).ground_features(marked(1000, (first, first + length)), "1", 1)
    assert span_iou(moment[:2], (first / 2, (first + length) / 2)) >= 0.7


def test_external_features_with_few_clips_follow_the_same_rule() -> None:
    grounder = Grounder(Marks(max_window_seconds=100.0))
    video = marked(64, (40, 44), fps=64 / 640)  # 10 s a clip
    assert [window.clips.shape[0] for window in cut_windows(video, 100.0)] == [10] * 12
    moments = grounder.ground_features(video, "1", 3)
    assert moments[0] == Moment(400.0, 440.0, 0.9)


def test_several_moments_of_a_long_video_are_each_found_once() -> None:
    class Repeats(Marks):
        def _find(self, features: VideoFeatures, mark: int) -> list[Moment]:
            is_marked = np.concatenate([[0], features.clips[:, 0] == mark, [0]])
            edges = features.timeline.to_seconds(np.flatnonzero(np.diff(is_marked)))
            return [Moment(a, b, 0.5) for a, b in edges.reshape(-1, 2).tolist()]

    video = marked(1000, (0, 0), (0, 0))
    for first in (10, 118, 400, 475, 980):  # the second and the fourth cross window edges
        video.clips[first : first + 12] = 1
    moments = Grounder(Repeats()).ground_features(video, "1", 10)
    assert sorted(moments) == [Moment(first / 2, first / 2 + 6, 0.5) for first in (10, 118, 400, 475, 980)]
    assert len(Grounder(Repeats()).ground_features(video, "1", 3)) == 3


def test_a_complete_moment_wins_over_a_part_of_it_with_a_higher_score() -> None:
    windows = [Timeline(60, 120, 0), Timeline(60, 120, 30), Timeline(60, 120, 60)]
    part, whole, other = Moment(50, 60, 0.95), Moment(50, 75, 0.6), Moment(60, 75, 0.9)
    assert merge_moments(windows, [[part], [whole], [other]], 5, NMS_IOU) == [whole]
    [alone] = merge_moments(windows, [[part], [], []], 5, NMS_IOU)
    assert alone == pytest.approx(part._replace(score=0.95 * 10 / 60))
    assert merge_moments(windows[:1], [[part]], 5, NMS_IOU) == [part]


class PartsFirst(Marks):
    """Scores what touches the end of a window higher than what is marked."""

    def _find(self, features: VideoFeatures, mark: int) -> list[Moment]:
        end = features.timeline.end
        marks = [moment._replace(score=0.5) for moment in super()._find(features, mark)[:-1]]
        return [Moment(end - 6, end, 0.8 if end < 175 else 0.1), *marks]


def test_the_best_moment_does_not_depend_on_how_many_are_wanted() -> None:
    grounder, video = Grounder(PartsFirst()), marked(350, (100, 110))
    best, five = (grounder.ground_features(video, "1", top) for top in (1, 5))
    assert best == five[:1]
    assert best[0][:2] == (50, 55)


def test_an_edge_of_the_video_does_not_truncate_moments() -> None:
    windows = [Timeline(60, 120, 2), Timeline(60, 120, 32)]
    first, last = Moment(2, 10, 0.8), Moment(80, 92, 0.7)
    assert merge_moments(windows, [[first], [last]], 5, NMS_IOU) == [first, last]


def test_windows_of_many_videos_are_batched_and_sentences_encoded_once() -> None:
    predictor = Marks()
    grounder = Grounder(predictor)
    videos = [(marked(clips, (clips // 2, clips // 2 + 5), (3, 6)), ["1", "2", "1"]) for clips in (50, 900, 10, 400)]
    videos.append((marked(500), []))
    expected = [grounder.ground_features(*video) for video in videos]
    assert predictor.encoded == 2
    for batch_size in (1, 3, 7, 100):
        predictor.largest_batch = 0
        assert list(grounder.ground_many(videos, batch_size=batch_size)) == expected
        assert predictor.largest_batch <= batch_size
    assert [len(moments) for moments in expected] == [3, 3, 3, 3, 0]
    assert expected[1][0] == expected[1][2]
    assert expected[1][0][0][:2] == (225.0, 227.5)


def test_a_long_video_is_yielded_before_the_next_one_is_read() -> None:
    read: list[int] = []

    def videos() -> Iterator[tuple[VideoFeatures, list[str]]]:
        for number in range(6):
            read.append(number)
            yield marked(1000, (number * 100, number * 100 + 4)), ["1"]

    results = Grounder(Marks()).ground_many(videos(), batch_size=4)
    assert next(results)[0][0].start == 0
    assert read == [0]


def test_saliency_of_windows_is_the_saliency_of_the_video() -> None:
    video = marked(1000, (200, 300), (990, 1000))
    saliency = Grounder(Marks()).saliency(video, ["1", "2"])
    for number, curve in enumerate(saliency, start=1):
        assert curve.dtype == np.float32
        assert curve.tolist() == (video.clips[:, 0] == number).tolist()
    assert Grounder(Marks()).saliency(video, "2").tolist() == saliency[1].tolist()
    assert Grounder(Marks()).saliency(video, []) == []


def test_where_windows_disagree_saliency_is_their_mean() -> None:
    ones, zeros = np.ones(4, dtype=np.float32), np.zeros(4, dtype=np.float32)
    merged = merge_saliency([slice(0, 4), slice(2, 6), slice(4, 8)], [ones, zeros, ones])
    assert merged.tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, 1, 1]


def test_evaluation_grounds_long_videos_in_windows(tmp_path: Path) -> None:
    pairs, files = [], {}
    for number, first in enumerate((0, 117, 300, 641, 990)):
        video = f"v{number}"
        files[video] = tmp_path / f"{video}.safetensors"
        write_features(files[video], marked(1000, (first, first + 10)))
        pairs.append(Pair(video, video, "1", ((first / 2, first / 2 + 5),)))
    evaluation = evaluate(Grounder(Marks()), Dataset("test", pairs, FeatureStore(files)))
    assert evaluation.metrics["R@1,IoU=0.7"] == 100
    assert evaluation.metrics["mIoU"] == pytest.approx(100)


def test_a_trained_network_finds_the_same_moments_wherever_they_are(tmp_path: Path) -> None:
    data = tiny.dataset(tmp_path / "features", videos=24)
    settings = {**tiny.SIZES, **tiny.ONLY_THE_HEAD}
    config = TrainingConfig(epochs=10, batch_videos=8, lr=1e-2, average=0.5, seed=2)  # not every seed learns enough
    for _ in train(data, None, tmp_path / "model", build_text_encoder(), RunSettings(config, network=settings)):
        pass
    grounder = Grounder(MKTNPredictor(load_model(tmp_path / "model")))
    assert grounder.predictor.max_window_seconds == 12
    short, query = data.store.load("train0"), "the red thing grows"

    def contains(moments: Sequence[Moment], start: float, end: float) -> bool:
        return any(abs(start - moment.start) < 0.5 and abs(end - moment.end) < 0.5 for moment in moments)

    alone = grounder.ground_features(short, query, 2)  # it may not have learned which of the video's moments is meant
    matches = [pair.moments[0] for pair in data.pairs if pair.video == "train0" and contains(alone, *pair.moments[0])]
    assert matches
    for first in range(0, 280, 7):
        clips = np.random.default_rng(first).normal(scale=0.3, size=(300, tiny.CLIP_DIM)).astype(np.float32)
        clips[first : first + len(short.clips)] = short.clips
        regions = np.repeat(clips[:, None, : tiny.REGION_DIM], tiny.REGIONS, axis=1)
        long = VideoFeatures(clips, regions, 150.0, tiny.FINGERPRINT)
        moments = grounder.ground_features(long, query, 2)
        assert all(contains(moments, start + first / 2, end + first / 2) for start, end in matches), first
