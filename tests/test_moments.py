"""Seconds and clip units, overlap, and non-maximum suppression."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.errors import DataError
from mttsg_core.moments import Moment, Timeline, covered_fraction, non_maximum_suppression, span_iou

durations = st.floats(0.04, 36_000)
fractions = st.floats(0, 1)


@given(duration=durations, clips=st.integers(1, 2000), start=st.floats(-5, 5), shares=st.lists(fractions, min_size=1))
def test_converting_seconds_to_clips_and_back_is_exact(
    duration: float, clips: int, start: float, shares: list[float]
) -> None:
    timeline = Timeline(duration, clips, start)
    seconds = start + duration * np.array(shares)
    assert np.abs(timeline.to_seconds(timeline.to_clips(seconds)) - seconds).max() < 1e-4
    assert (timeline.to_clips(seconds) >= -1e-6).all()
    assert (timeline.to_clips(seconds) <= clips + 1e-6).all()


@given(duration=durations, clips=st.integers(1, 2000))
def test_the_ends_of_a_video_are_0_and_the_number_of_clips(duration: float, clips: int) -> None:
    timeline = Timeline(duration, clips)
    assert timeline.to_clips([0, duration]) == pytest.approx([0, clips])
    assert timeline.to_seconds([0, clips]) == pytest.approx([0, duration])
    assert timeline.seconds_per_clip * clips == pytest.approx(duration)


@given(duration=durations, rate=st.floats(0.01, 120), start=st.floats(-5, 5), per_clip=st.integers(1, 4))
def test_frames_are_spread_evenly_inside_each_clip(duration: float, rate: float, start: float, per_clip: int) -> None:
    timeline = Timeline.at_rate(duration, min(rate, 2000 / duration), start)
    times = timeline.sample_times(per_clip)
    clip = np.floor(timeline.to_clips(times)).astype(int)
    assert clip.tolist() == np.repeat(np.arange(timeline.clips), per_clip).tolist()
    assert np.diff(times) == pytest.approx(timeline.seconds_per_clip / per_clip)


def test_the_number_of_clips_is_closest_to_the_rate() -> None:
    assert Timeline.at_rate(10.2, 2).clips == 20
    assert Timeline.at_rate(0.04, 2).clips == 1


@pytest.mark.parametrize("duration", [0, -1, math.nan, math.inf])
def test_a_duration_is_a_positive_number(duration: float) -> None:
    with pytest.raises(DataError, match="duration"):
        Timeline(duration, 5)


def test_there_is_at_least_one_clip() -> None:
    with pytest.raises(DataError, match="clip"):
        Timeline(1, 0)


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [((0, 4), (0, 4), 1), ((0, 4), (2, 6), 1 / 3), ((0, 1), (1, 2), 0), ((0, 1), (5, 6), 0), ((1, 1), (1, 1), 0)],
)
def test_iou(first: tuple[float, float], second: tuple[float, float], iou: float) -> None:
    assert float(span_iou(first, second)) == pytest.approx(iou)
    assert float(span_iou(second, first)) == pytest.approx(iou)


def test_iou_broadcasts() -> None:
    assert span_iou(np.zeros((3, 1, 2)), np.zeros((1, 4, 2))).shape == (3, 4)


spans = st.tuples(st.integers(0, 20), st.integers(1, 10), st.integers(0, 5)).map(
    lambda t: Moment(t[0], t[0] + t[1], t[2] / 5)
)


@given(moments=st.lists(spans, max_size=12), iou=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_suppression_keeps_exactly_the_moments_that_no_better_one_overlaps(moments: list[Moment], iou: float) -> None:
    expected: list[Moment] = []
    for moment in sorted(moments, key=lambda moment: -moment.score):
        if all(span_iou(moment[:2], better[:2]) <= iou for better in expected):
            expected.append(moment)
    assert non_maximum_suppression(moments, iou) == expected
    assert non_maximum_suppression(moments, iou, top=2) == expected[:2]


@pytest.mark.parametrize(
    ("span", "cover", "share"),
    [((0, 4), (0, 9), 1), ((0, 4), (3, 9), 0.25), ((0, 4), (1, 3), 0.5), ((0, 1), (1, 2), 0), ((1, 1), (0, 2), 0)],
)
def test_covered_fraction(span: tuple[float, float], cover: tuple[float, float], share: float) -> None:
    assert float(covered_fraction(span, cover)) == pytest.approx(share)
    assert covered_fraction(np.tile(span, (3, 1)), cover).shape == (3,)


def test_a_truncated_moment_is_dropped_if_a_better_one_covers_most_of_it() -> None:
    long, part, other = Moment(0, 20, 0.9), Moment(14, 20, 0.8), Moment(18, 30, 0.7)
    assert non_maximum_suppression([long, part, other], 0.5) == [long, part, other]
    assert non_maximum_suppression([part, other, long], 0.5, truncated=[True, True, False]) == [long, other]
    assert non_maximum_suppression([part, long], 0.5, truncated=[False, True]) == [long, part]


def test_the_end_of_a_timeline() -> None:
    assert Timeline(8.0, 4, start=1.5).end == 9.5


def test_the_duration_of_a_moment() -> None:
    assert Moment(1.5, 4.0).duration == 2.5


def test_averages_over_equal_clips_are_equal_and_of_any_number() -> None:
    timeline = Timeline(150.0, 300)
    curve = np.repeat([0.1, 0.7, 0.3], 100)
    averages = timeline.averages(curve, 2.0, 75)
    assert averages.tolist() == [0.1] * 25 + [0.7] * 25 + [0.3] * 25
    values = np.random.default_rng(0).random(300)
    np.testing.assert_allclose(timeline.averages(values, 2.0, 75), values.reshape(75, 4).mean(axis=1))
    assert Timeline(0.3, 3).averages([1, 2, 3], 2.0, 1).tolist() == pytest.approx([2])
    far = timeline.averages(values, 2.0, 1_000_000)  # of a row with a wrong duration
    assert len(far) == 1_000_000 and set(far[75:]) == {values[-1]}
