"""`iter_ground`: many videos, with the features extracted meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mttsg_core import events
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import FeatureError
from mttsg_core.features import extraction, store
from mttsg_core.features.store import EXTERNAL, FeatureCache
from mttsg_core.inference.grounder import Grounder
from mttsg_core.inference.predictor import MKTNPredictor
from mttsg_core.video.discovery import VideoFile, find_videos
from mttsg_core.workflows import ground
from mttsg_core.workflows.ground import GroundEvent, GroundRun, VideoGrounded, iter_ground
from tests.helpers.tiny import CLIP_DIM, model
from tests.helpers.video_files import write_video

QUERIES = ["person opens door", "the red circle moves left"]


def grounder_of_external_features(cache: Path) -> Grounder:
    fingerprint: Settings = {"encoder": EXTERNAL, "clip_dim": CLIP_DIM, "regions": 0, "region_dim": 0}
    return Grounder(MKTNPredictor(model(regions=False, fingerprint=fingerprint)), FeatureCache(cache))


def grounded(passed: list[GroundEvent]) -> list[str]:
    return [event.video.name.name for event in passed if isinstance(event, VideoGrounded)]


def test_external_features_one_video_after_the_other(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        values = np.random.default_rng(number).normal(size=(20, CLIP_DIM)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", clips=values)
    (tmp_path / "b.npz").write_bytes(b"damaged")
    videos = [VideoFile(write_video(tmp_path / f"{name}.mp4", range(50)), Path(f"{name}.mp4")) for name in "abcd"]
    passed = list(
        iter_ground(
            grounder_of_external_features(tmp_path), dict.fromkeys(videos, QUERIES), 3,
            features=tmp_path, with_saliency=True,
        )
    )  # fmt: skip
    assert grounded(passed) == ["a.mp4", "c.mp4"]
    first = passed[0]  # few sentences need no bar
    assert isinstance(first, VideoGrounded)
    assert [1 <= len(moments) <= 3 for moments in first.moments] == [True, True]
    assert first.saliency is not None
    assert [len(curve) for curve in first.saliency] == [first.timeline.clips] * 2
    failed = [event.reason for event in passed if isinstance(event, events.InputFailed)]
    assert ["b.npz" in failed[0], "d.mp4: no features" in failed[1]] == [True, True]


def test_without_external_features_the_model_needs_them(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", range(50))
    with pytest.raises(FeatureError, match=r"external|elsewhere"):
        list(iter_ground(grounder_of_external_features(tmp_path), dict.fromkeys(find_videos([tmp_path]), QUERIES)))


def test_videos_keep_their_order_and_stopping_ends_the_extraction(
    trained: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        shutil.copy(clip, folder / f"{number}.mp4")
    shutil.copy(clip, folder / "large.mp4")
    (folder / "large.mp4").write_bytes(clip.read_bytes() + b"\0" * 1000)  # extracted first, wanted last
    closed: list[bool] = []
    extract = extraction.extract

    def note(*arguments: object, **options: object) -> Iterator[object]:
        try:
            yield from extract(*arguments, **options)  # type: ignore[arg-type]
        finally:
            closed.append(True)

    monkeypatch.setattr(extraction, "extract", note)
    grounder = Grounder.load(trained, device="cpu", cache=tmp_path / "cache")
    queries = dict.fromkeys(find_videos([folder]), QUERIES)
    assert grounded(list(iter_ground(grounder, queries, workers=1))) == ["0.mp4", "1.mp4", "2.mp4", "large.mp4"]
    assert closed == [True]
    shutil.rmtree(tmp_path / "cache")
    for event in iter_ground(grounder, queries, workers=1):
        if isinstance(event, VideoGrounded):
            break
    del event
    assert closed == [True, True]


@pytest.mark.parametrize("room", [1 << 20, 0])
def test_parts_read_a_video_once_and_fail_once(
    trained: Path, clip: Path, tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground, "_KEPT_BYTES", room)
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(clip, folder / "a.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    videos = find_videos([folder])
    grounder = Grounder.load(trained, device="cpu", cache=tmp_path / "cache")
    read: list[Path] = []
    read_features = store.read_features

    def note(path: Path) -> store.VideoFeatures:
        read.append(path)
        return read_features(path)

    monkeypatch.setattr(store, "read_features", note)
    run = GroundRun(grounder, 2, workers=1)
    parts = [
        list(run.iter_part({video: [query] for video in videos}, is_last=query == "it")) for query in [*QUERIES, "it"]
    ]
    assert [grounded(part) for part in parts] == [["a.mp4"]] * 3
    assert len(read) == (1 if room else 3)
    failed = [event for part in parts for event in part if isinstance(event, extraction.ExtractionFailed)]
    assert [event.job.video.name for event in failed] == ["broken.mp4"]
    [whole] = [
        event for event in iter_ground(grounder, {videos[0]: [*QUERIES, "it"]}, 2) if isinstance(event, VideoGrounded)
    ]
    in_parts = [event.moments[0] for part in parts for event in part if isinstance(event, VideoGrounded)]
    for moments, expected in zip(in_parts, whole.moments, strict=True):
        np.testing.assert_allclose(moments, expected, rtol=1e-5)


def test_a_bar_moves_while_cached_videos_are_answered(trained: Path, clip: Path, tmp_path: Path) -> None:
    for number in range(3):
        shutil.copy(clip, tmp_path / f"{number}.mp4")
        (tmp_path / f"{number}.mp4").write_bytes(clip.read_bytes() + bytes(number))
    grounder = Grounder.load(trained, device="cpu", cache=tmp_path / "cache")
    many = [f"sentence {number}" for number in range(200)]
    queries = dict.fromkeys(find_videos([tmp_path]), many)
    passed = list(iter_ground(grounder, queries, workers=1))
    assert [event for event in passed if isinstance(event, events.ProgressStarted)] == [
        events.ProgressStarted("extraction", 3),
        events.ProgressStarted("grounding", 3),
    ]
    passed = list(iter_ground(grounder, queries, workers=1))
    bar = [event for event in passed if isinstance(event, events.ProgressStarted | events.ProgressAdvanced)]
    assert bar == [
        events.ProgressStarted("grounding", 3),
        *[events.ProgressAdvanced("grounding")] * 3,
    ]
