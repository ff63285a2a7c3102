"""Videos made anew for training: whatever is cut or joined, a query's moment still holds the same clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.data.batch import VideoItem
from mttsg_core.features.store import VideoFeatures
from mttsg_core.training.augmentation import remove_moment, temporal_concat, temporal_crop

SECONDS_PER_CLIP = 0.4
OTHER = 1000.0  # clips of the other video have numbers from here on


def video(clips: int, first: float = 0.0, rate: float = 1.0) -> VideoFeatures:
    """Each clip and each of its regions holds its own number."""
    numbers = np.arange(first, first + clips, dtype=np.float32)
    regions = np.repeat(numbers[:, None, None], 2, axis=1)
    return VideoFeatures(numbers[:, None], regions, clips * SECONDS_PER_CLIP * rate, {})


def item(clips: int, queries: int, seed: int) -> VideoItem:
    """Queries carry their true bounds as their only word."""
    bounds = np.sort(np.random.default_rng(seed).uniform(0, clips, (queries, 2)), axis=1).astype(np.float32)
    return VideoItem(video(clips), [row[None] for row in bounds], bounds)


def place(made: VideoItem, number: float) -> float:
    """Where the clip of that number begins now."""
    [found] = np.flatnonzero(made.features.clips[:, 0] == number)
    return float(found)


def check(made: VideoItem) -> None:
    """Features, words and bounds still belong together."""
    assert made.bounds is not None
    assert len(made.words) == len(made.bounds) >= 1
    clips = len(made.features.clips)
    assert made.features.timeline.seconds_per_clip == pytest.approx(SECONDS_PER_CLIP)
    assert made.features.regions is not None
    assert np.array_equal(made.features.regions[:, 0], made.features.clips)
    assert made.bounds.min() >= 0
    assert made.bounds.max() <= clips
    own = made.features.clips[made.features.clips[:, 0] < OTHER, 0]
    assert (np.diff(own) == 1).all(), "its own clips stay together and in order"
    for [[start, end]], (new_start, new_end) in zip(made.words, made.bounds, strict=True):
        low, high = max(start, own[0]), min(end, own[-1] + 1)
        assert new_start - place(made, own[0]) == pytest.approx(low - own[0], abs=1e-3)
        assert new_end - place(made, own[0]) == pytest.approx(high - own[0], abs=1e-3)
        assert high - low >= 0.74 * (end - start), "most of the moment is still there"


sizes = {"clips": st.integers(1, 80), "queries": st.integers(1, 4), "seed": st.integers(0, 10_000)}


@given(**sizes)
def test_a_window_holds_what_its_queries_say(clips: int, queries: int, seed: int) -> None:
    made = temporal_crop(item(clips, queries, seed), np.random.default_rng(seed))
    check(made)
    assert 1 <= len(made.features.clips) <= clips


@given(**sizes, others=st.integers(1, 80), rate=st.sampled_from([0.25, 1.0, 3.0]))
def test_a_piece_of_another_video_moves_the_moments_along(
    clips: int, queries: int, seed: int, others: int, rate: float
) -> None:
    theirs = item(others, queries, seed + 1)
    assert theirs.bounds is not None
    other = VideoItem(video(others, OTHER, rate), [words + OTHER for words in theirs.words], theirs.bounds)
    made = temporal_concat(item(clips, queries, seed), other, np.random.default_rng(seed))
    assert made.bounds is not None
    check(VideoItem(made.features, made.words[:queries], made.bounds[:queries]))
    numbers = made.features.clips[:, 0]
    assert (numbers < OTHER).sum() == clips
    piece = numbers[numbers >= OTHER] - OTHER
    assert 1 <= len(piece) <= max(1, 0.7 * clips)
    assert (np.diff(piece) >= 0).all()
    assert piece.max() < others
    step = 1 / rate  # clips of the other video that one clip of the piece stands for
    for [words], bounds in zip(made.words[queries:], made.bounds[queries:], strict=True):
        start, end = words - OTHER
        shown = (bounds[1] - bounds[0]) * step
        assert 0.74 * (end - start) <= shown <= end - start + 1e-3, "most of the moment is there"
        inside = numbers[max(0, int(np.ceil(bounds[0] - 1e-3))) : int(np.floor(bounds[1] + 1e-3))] - OTHER
        assert ((inside + 1 + step > start) & (inside - step < end)).all(), "and is where it is said to be"


def test_what_a_piece_shows_is_asked_unless_both_videos_have_the_sentence() -> None:
    generator = np.random.default_rng(0)
    whole = with_moments((2.0, 5.5))
    other = with_moments((0.0, 20.0), (2.0, 5.5), (8.0, 9.0))
    asked = [len(temporal_concat(whole, other, generator).words) for _ in range(50)]
    assert set(asked) == {1, 2}  # never the sentence of both, nor the one about more than any piece; at times the last


def test_windows_and_sides_vary() -> None:
    generator = np.random.default_rng(0)
    whole = item(60, 2, 1)
    assert len({len(temporal_crop(whole, generator).features.clips) for _ in range(30)}) > 5
    joined = [temporal_concat(whole, VideoItem(video(50, OTHER), [], np.empty((0, 2))), generator) for _ in range(30)]
    assert {bool(made.features.clips[0, 0] >= OTHER) for made in joined} == {True, False}


def test_without_true_bounds_there_is_nothing_to_cut() -> None:
    with pytest.raises(ValueError, match="bounds"):
        temporal_crop(VideoItem(video(5), []), np.random.default_rng(0))


def with_moments(*spans: tuple[float, float]) -> VideoItem:
    """A video of 20 clips with these moments; a query carries its true bounds as its only word."""
    bounds = np.array(spans, dtype=np.float32)
    return VideoItem(video(20), [row[None] for row in bounds], bounds)


def test_an_erased_moment_is_gone_and_its_sentence_absent() -> None:
    whole = with_moments((2.0, 5.5), (11.0, 14.0), (16.5, 18.0))
    erased = set()
    for seed in range(30):
        made = remove_moment(whole, whole, np.random.default_rng(seed))
        assert made.bounds is not None
        [absent] = made.absent
        start, end = absent[0]
        erased.add(float(start))
        clips = made.features.clips[:, 0]
        assert not ((clips >= np.floor(start)) & (clips < end)).any()
        assert made.features.duration == pytest.approx(len(clips) * SECONDS_PER_CLIP)
        assert len(made.words) == 2
        for words, now in zip(made.words, made.bounds, strict=True):
            assert place(made, np.floor(words[0, 0])) == np.floor(now[0])
            assert now[1] - now[0] == pytest.approx(words[0, 1] - words[0, 0])
    assert erased == {2.0, 11.0, 16.5}


@pytest.mark.parametrize("spans", [((0.0, 17.0), (19.0, 20.0)), ((3.0, 8.0),), ((3.0, 8.0), (4.0, 9.0))])
def test_nothing_is_erased_where_too_little_would_be_left(spans: tuple[tuple[float, float], ...]) -> None:
    whole = with_moments(*spans)
    made = [remove_moment(whole, whole, np.random.default_rng(seed)) for seed in range(5)]
    assert all(one is whole or one.absent[0][0, 0] == 19.0 for one in made)


def test_a_sentence_that_still_holds_is_not_absent() -> None:
    whole = with_moments((2.0, 5.0), (11.0, 14.0))
    same = VideoItem(whole.features, [whole.words[0], whole.words[0].copy()], whole.bounds)
    made = [remove_moment(same, same, np.random.default_rng(seed)) for seed in range(10)]
    assert all(len(one.features.clips) < 20 and not one.absent for one in made)


def test_nor_is_one_whose_other_moment_was_not_drawn() -> None:
    whole = with_moments((2.0, 5.0), (11.0, 14.0), (16.0, 18.0))
    words = [whole.words[0], whole.words[1], whole.words[0].copy()]
    drawn, whole = VideoItem(whole.features, words[:2], whole.bounds[:2]), replace(whole, words=words)  # type: ignore[index]
    made = [remove_moment(drawn, whole, np.random.default_rng(seed)) for seed in range(20)]
    assert {float(one.absent[0][0, 0]) if one.absent else None for one in made} == {None, 11.0}


def test_every_sentence_keeps_the_video_that_it_was_made_for() -> None:
    whole = replace(with_moments((2.0, 5.5), (12.0, 15.0)), origins=[7, 7], shown=[7])
    other = replace(with_moments((0.0, 1.0), (8.0, 9.0)), origins=[8, 8], shown=[8])
    for seed in range(20):
        generator = np.random.default_rng(seed)
        for made in (temporal_crop(whole, generator), remove_moment(whole, whole, generator)):
            assert set(made.origins) == {7}
            assert len(made.origins) == len(made.words)
            assert list(made.shown) == [7]
        joined = temporal_concat(whole, other, generator)
        assert list(joined.origins) == [7, 7] + [8] * (len(joined.words) - 2)
        assert list(joined.shown) == [7, 8]
