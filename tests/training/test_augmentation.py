"""Augmented training videos: whatever is cropped, joined or removed, a query's moment still holds the same clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.config import TrainingConfig
from mttsg_core.data.batch import VideoItem, collate_targets
from mttsg_core.features.store import VideoFeatures
from mttsg_core.training.augmentation import remove_moment, temporal_concat, temporal_crop

CONFIG = TrainingConfig()
SECONDS_PER_CLIP = 0.4
OTHER = 1000.0  # number of the first clip of the other video


def numbered_video(clips: int, first: float = 0.0, rate: float = 1.0) -> VideoFeatures:
    """Make a video in which each clip and each of its regions is its own number."""
    numbers = np.arange(first, first + clips, dtype=np.float32)
    regions = np.repeat(numbers[:, None, None], 2, axis=1)
    return VideoFeatures(numbers[:, None], regions, clips * SECONDS_PER_CLIP * rate, {})


def random_item(clips: int, queries: int, seed: int) -> VideoItem:
    """Make a video with random moments; the only word of a query is its true span."""
    spans = np.sort(np.random.default_rng(seed).uniform(0, clips, (queries, 2)), axis=1).astype(np.float32)
    return VideoItem(numbered_video(clips), [span[None] for span in spans], spans)


def item_with_moments(*moments: tuple[float, float]) -> VideoItem:
    """Make a video of 20 clips with these moments; the only word of a query is its true span."""
    spans = np.array(moments, dtype=np.float32)
    return VideoItem(numbered_video(20), [span[None] for span in spans], spans)


def position_of(item: VideoItem, number: float) -> float:
    """Return where the clip of that number starts."""
    [position] = np.flatnonzero(item.features.clips[:, 0] == number)
    return float(position)


def assert_consistent(item: VideoItem) -> None:
    """Assert that features, words and spans of a video still belong together."""
    assert item.spans is not None
    assert len(item.words) == len(item.spans) >= 1
    clips = len(item.features.clips)
    assert item.features.timeline.seconds_per_clip == pytest.approx(SECONDS_PER_CLIP)
    assert item.features.regions is not None
    assert np.array_equal(item.features.regions[:, 0], item.features.clips)
    assert item.spans.min() >= 0
    assert item.spans.max() <= clips
    own = item.features.clips[item.features.clips[:, 0] < OTHER, 0]
    assert (np.diff(own) == 1).all(), "the video's own clips stay adjacent and in order"
    for [[start, end]], (new_start, new_end) in zip(item.words, item.spans, strict=True):
        low, high = max(start, own[0]), min(end, own[-1] + 1)
        assert new_start - position_of(item, own[0]) == pytest.approx(low - own[0], abs=1e-3)
        assert new_end - position_of(item, own[0]) == pytest.approx(high - own[0], abs=1e-3)
        assert high - low >= 0.74 * (end - start), "most of the moment is still visible"


SHAPES = {"clips": st.integers(1, 80), "queries": st.integers(1, 4), "seed": st.integers(0, 10_000)}


@given(**SHAPES)
def test_a_crop_keeps_most_of_the_moments_of_its_queries(clips: int, queries: int, seed: int) -> None:
    cropped = temporal_crop(random_item(clips, queries, seed), CONFIG, np.random.default_rng(seed))
    assert_consistent(cropped)
    assert 1 <= len(cropped.features.clips) <= clips


@given(**SHAPES, other_clips=st.integers(1, 80), rate=st.sampled_from([0.25, 1.0, 3.0]))
def test_a_piece_of_another_video_moves_the_moments(
    clips: int, queries: int, seed: int, other_clips: int, rate: float
) -> None:
    source = random_item(other_clips, queries, seed + 1)
    other = VideoItem(numbered_video(other_clips, OTHER, rate), [words + OTHER for words in source.words], source.spans)
    joined = temporal_concat(random_item(clips, queries, seed), other, CONFIG, np.random.default_rng(seed))
    assert joined.spans is not None
    assert_consistent(VideoItem(joined.features, joined.words[:queries], joined.spans[:queries]))
    numbers = joined.features.clips[:, 0]
    assert (numbers < OTHER).sum() == clips
    piece = numbers[numbers >= OTHER] - OTHER
    assert 1 <= len(piece) <= max(1, 0.7 * clips)
    assert (np.diff(piece) >= 0).all()
    assert piece.max() < other_clips
    step = 1 / rate  # clips of the other video to one clip of the piece
    for [words], span in zip(joined.words[queries:], joined.spans[queries:], strict=True):
        start, end = words - OTHER
        shown = (span[1] - span[0]) * step
        assert 0.74 * (end - start) <= shown <= end - start + 1e-3, "most of the moment is in the piece"
        inside = numbers[max(0, int(np.ceil(span[0] - 1e-3))) : int(np.floor(span[1] + 1e-3))] - OTHER
        assert ((inside + 1 + step > start) & (inside - step < end)).all(), "the span holds the clips of the moment"


def test_a_sentence_that_both_videos_have_has_two_true_moments_then() -> None:
    """Whatever is in the piece of its moment counts; of another sentence, most of the moment has to be in it."""
    generator = np.random.default_rng(0)
    whole, other = item_with_moments((2.0, 5.5)), item_with_moments((0.0, 20.0), (2.0, 5.5), (8.0, 9.0))
    other = replace(other, features=numbered_video(20, OTHER))
    added: set[tuple[float, ...]] = set()
    shares: list[float] = []
    for _ in range(200):
        joined = temporal_concat(whole, other, CONFIG, generator)
        assert joined.spans is not None
        numbers = joined.features.clips[:, 0]
        piece = numbers[numbers >= OTHER] - OTHER
        added.add(tuple(float(words[0, 0]) for words in joined.words[1:]))
        twice = [row for row, words in enumerate(joined.words) if np.array_equal(words, whole.words[0])]
        is_shown = bool(((piece >= 2) & (piece < 5)).any())  # a whole clip of its moment
        assert len(twice) == 2 or not is_shown
        targets = collate_targets([joined])
        assert len(targets.sentence_ids[twice].unique()) == 1
        assert len(targets.sentence_ids.unique()) == len(joined.words) - len(twice) + 1
        for row in twice[1:]:
            start, end = joined.spans[row]
            shares.append(float(end - start) / 3.5)
            inside = numbers[int(np.ceil(start)) : int(end)] - OTHER
            assert ((inside > 2 - 1) & (inside < 5.5)).all()
    assert added == {(), (2.0,), (8.0,), (2.0, 8.0)}  # never the moment longer than any piece
    assert min(shares) < 0.5 and max(shares) == pytest.approx(1)


def test_the_window_and_the_side_of_the_piece_vary() -> None:
    generator = np.random.default_rng(0)
    whole = random_item(60, 2, 1)
    other = VideoItem(numbered_video(50, OTHER), [], np.empty((0, 2), dtype=np.float32))
    assert len({len(temporal_crop(whole, CONFIG, generator).features.clips) for _ in range(30)}) > 5
    joined = [temporal_concat(whole, other, CONFIG, generator) for _ in range(30)]
    assert {bool(item.features.clips[0, 0] >= OTHER) for item in joined} == {True, False}


def test_augmentation_without_true_moments_is_refused() -> None:
    item, generator = VideoItem(numbered_video(5), []), np.random.default_rng(0)
    with pytest.raises(ValueError, match="true moments"):
        temporal_crop(item, CONFIG, generator)
    with pytest.raises(ValueError, match="true moments"):
        temporal_concat(item, item, CONFIG, generator)
    with pytest.raises(ValueError, match="true moments"):
        remove_moment(item, item, CONFIG, generator)


def test_the_smallest_window_is_a_setting() -> None:
    generator = np.random.default_rng(0)
    whole = item_with_moments((9.0, 11.0))
    for share in (0.2, 0.6, 1.0):
        config = replace(CONFIG, crop_min_share=share, crop_keep_end=0.0)
        lengths = {len(temporal_crop(whole, config, generator).features.clips) for _ in range(200)}
        assert min(lengths) >= 20 * share
        assert min(lengths) <= 20 * share + 3
    config = replace(CONFIG, crop_keep_end=1.0)
    assert len(temporal_crop(whole, config, generator).features.clips) == 20


def test_the_share_of_a_moment_that_must_be_visible_is_a_setting() -> None:
    whole = item_with_moments((0.0, 20.0), (9.0, 11.0))
    strict, lenient = (
        {
            len(temporal_crop(whole, replace(CONFIG, min_visible=share), np.random.default_rng(seed)).words)
            for seed in range(50)
        }
        for share in (1.0, 0.0)
    )
    assert strict == {1, 2}
    assert lenient == {2}


def test_the_length_of_the_piece_is_a_setting() -> None:
    generator = np.random.default_rng(0)
    whole, other = item_with_moments((2.0, 5.0)), random_item(80, 1, 0)
    config = replace(CONFIG, concat_min_share=0.9, concat_max_share=1.5)
    lengths = [len(temporal_concat(whole, other, config, generator).features.clips) - 20 for _ in range(100)]
    assert 18 <= min(lengths) <= 20
    assert 28 <= max(lengths) <= 30


def test_a_removed_moment_is_gone_and_its_sentence_is_a_negative() -> None:
    whole = item_with_moments((2.0, 5.5), (11.0, 14.0), (16.5, 18.0))
    removed = set()
    for seed in range(30):
        rest = remove_moment(whole, whole, CONFIG, np.random.default_rng(seed))
        assert rest.spans is not None
        [negative] = rest.negatives
        start, end = negative[0]
        removed.add(float(start))
        clips = rest.features.clips[:, 0]
        assert not ((clips >= np.floor(start)) & (clips < end)).any()
        assert rest.features.duration == pytest.approx(len(clips) * SECONDS_PER_CLIP)
        assert len(rest.words) == 2
        for words, span in zip(rest.words, rest.spans, strict=True):
            assert position_of(rest, np.floor(words[0, 0])) == np.floor(span[0])
            assert span[1] - span[0] == pytest.approx(words[0, 1] - words[0, 0])
    assert removed == {2.0, 11.0, 16.5}


@pytest.mark.parametrize("margin", [0, 3])
def test_the_margin_of_a_removed_moment_is_a_setting(margin: int) -> None:
    whole = item_with_moments((8.0, 10.0), (0.0, 1.0))
    config = replace(CONFIG, remove_margin=margin)
    rests = [remove_moment(whole, whole, config, np.random.default_rng(seed)) for seed in range(20)]
    lengths = {len(rest.features.clips) for rest in rests if rest.negatives[0][0, 0] == 8.0}
    assert lengths == {20 - 2 - 2 * margin}


@pytest.mark.parametrize("moments", [((0.0, 17.0), (19.0, 20.0)), ((3.0, 8.0),), ((3.0, 8.0), (4.0, 9.0))])
def test_nothing_is_removed_where_too_little_would_be_left(moments: tuple[tuple[float, float], ...]) -> None:
    whole = item_with_moments(*moments)
    rests = [remove_moment(whole, whole, CONFIG, np.random.default_rng(seed)) for seed in range(5)]
    assert all(rest is whole or rest.negatives[0][0, 0] == 19.0 for rest in rests)


def test_how_much_of_a_video_must_be_left_is_a_setting() -> None:
    whole = item_with_moments((0.0, 17.0), (19.0, 20.0))
    config = replace(CONFIG, remove_min_left=0.05)
    rests = [remove_moment(whole, whole, config, np.random.default_rng(seed)) for seed in range(10)]
    assert {float(rest.negatives[0][0, 0]) for rest in rests} == {0.0, 19.0}


def test_a_sentence_with_another_moment_in_the_rest_is_not_a_negative() -> None:
    whole = item_with_moments((2.0, 5.0), (11.0, 14.0))
    same = VideoItem(whole.features, [whole.words[0], whole.words[0].copy()], whole.spans)
    rests = [remove_moment(same, same, CONFIG, np.random.default_rng(seed)) for seed in range(10)]
    assert all(len(rest.features.clips) < 20 and not rest.negatives for rest in rests)


def test_a_sentence_whose_other_moment_was_not_drawn_is_not_a_negative_either() -> None:
    whole = item_with_moments((2.0, 5.0), (11.0, 14.0), (16.0, 18.0))
    assert whole.spans is not None
    words = [whole.words[0], whole.words[1], whole.words[0].copy()]
    drawn, whole = VideoItem(whole.features, words[:2], whole.spans[:2]), replace(whole, words=words)
    rests = [remove_moment(drawn, whole, CONFIG, np.random.default_rng(seed)) for seed in range(20)]
    assert {float(rest.negatives[0][0, 0]) if rest.negatives else None for rest in rests} == {None, 11.0}


def test_every_sentence_keeps_its_pair_and_the_source_that_it_was_written_for() -> None:
    whole = replace(item_with_moments((2.0, 5.5), (12.0, 15.0)), sources=[7, 7], pairs=[70, 71], video_sources=[7])
    other = replace(item_with_moments((0.0, 1.0), (8.0, 9.0)), sources=[8, 8], pairs=[80, 81], video_sources=[8])
    pair_of = {2.0: 70, 12.0: 71, 0.0: 80, 8.0: 81}  # by the start of the moment, which is the first word
    seen: set[tuple[int, ...]] = set()
    for seed in range(40):
        generator = np.random.default_rng(seed)
        for item in (temporal_crop(whole, CONFIG, generator), remove_moment(whole, whole, CONFIG, generator)):
            assert set(item.sources) == {7}
            assert len(item.sources) == len(item.words)
            assert list(item.pairs) == [pair_of[float(words[0, 0])] for words in item.words]
            assert list(item.video_sources) == [7]
            seen.add(tuple(item.pairs))
        joined = temporal_concat(whole, other, CONFIG, generator)
        assert list(joined.sources) == [7, 7] + [8] * (len(joined.words) - 2)
        assert list(joined.pairs) == [pair_of[float(words[0, 0])] for words in joined.words]
        assert list(joined.video_sources) == [7, 8]
        seen.add(tuple(joined.pairs))
    assert {(70,), (71,), (70, 71), (70, 71, 80), (70, 71, 81)} <= seen
