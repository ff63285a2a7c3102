"""Encoded videos stay in memory, no more of them than fit, and never in place of what a file shows now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.errors import FeatureError
from mttsg_core.features.store import FeatureCache, VideoFeatures, write_features
from mttsg_core.inference.encoded_videos import NetworkAsker
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.search.index import IndexedVideo
from mttsg_core.workflows.video_memory import VideoMemory
from tests.helpers.tiny import features, model

Encoded = list[int]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Encoded:
    """The numbers of videos that were encoded together."""
    numbers: Encoded = []
    encode = NetworkAsker.encode

    def counted(self: NetworkAsker, videos: Sequence[VideoFeatures]) -> object:
        numbers.append(len(videos))
        return encode(self, videos)

    monkeypatch.setattr(NetworkAsker, "encode", counted)
    return numbers


@pytest.fixture
def grounder(tmp_path: Path) -> Grounder:
    return Grounder(MKTNPredictor(model()), FeatureCache(tmp_path / "cache"))


def video(grounder: Grounder, number: int, clips: int = 12) -> IndexedVideo:
    """A video with cached features."""
    entry = Path("group", f"{number}.safetensors")
    write_features(grounder.cache.folder / entry, features(clips, seed=number))
    return IndexedVideo(Path(f"/videos/{number}.mp4"), f"{number}.mp4", f"{number}", 1, 1, 6.0, clips, str(entry))


def test_a_video_is_encoded_once(grounder: Grounder, encoded: Encoded) -> None:
    videos = [video(grounder, number) for number in range(5)]
    memory = VideoMemory(grounder, 1 << 30)
    first = memory.load(videos[:3])
    again = memory.load([*videos, videos[0]])
    assert encoded == [3, 2]
    assert [one is other for one, other in zip(first, again, strict=False)] == [True] * 3
    assert again[0] is again[5]
    assert len(memory) == 5
    assert memory.nbytes == sum(each.nbytes for each in again[:5] if each is not None)
    assert not memory.is_full and memory.held(videos[4]) is again[4]


def test_those_that_were_asked_last_stay_within_the_limit(grounder: Grounder, encoded: Encoded) -> None:
    videos = [video(grounder, number) for number in range(6)]
    [one] = VideoMemory(grounder, 1 << 30).load(videos[:1])
    assert one is not None
    encoded.clear()
    memory = VideoMemory(grounder, 3 * one.nbytes)
    memory.load(videos[:3])
    assert memory.is_full
    memory.load([videos[0], videos[3]])
    assert [memory.held(each) is not None for each in videos] == [True, False, True, True, False, False]
    assert memory.nbytes == 3 * one.nbytes
    assert all(each is not None for each in memory.load(videos))  # more than fit
    assert memory.nbytes <= 3 * one.nbytes
    assert encoded == [3, 1, 3]


def test_one_that_cannot_be_read_costs_no_other(
    grounder: Grounder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [video(grounder, number) for number in range(3)]
    narrow = features(12, regions=False)
    write_features(grounder.cache.folder / videos[1].features, narrow)
    (grounder.cache.folder / videos[2].features).unlink()

    def gone(path: Path) -> VideoFeatures:
        raise FeatureError(f"{path}: the features are gone")

    monkeypatch.setattr(grounder, "features_of", gone)
    found = VideoMemory(grounder, 1 << 30).load(videos)
    assert [each is None for each in found] == [False, True, True]
    assert "/videos/1.mp4: features of" in caplog.text
    assert "/videos/2.mp4: the features are gone" in caplog.text


def test_features_are_those_of_the_file(grounder: Grounder) -> None:
    one = video(grounder, 1)
    np.testing.assert_array_equal(VideoMemory(grounder, 1).features(one).clips, features(12, seed=1).clips)
