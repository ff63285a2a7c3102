"""Features of videos, the store that loads them, and the cache that finds them again."""

from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features.store import (
    FeatureCache,
    FeatureStore,
    VideoFeatures,
    check_fingerprint,
    describe_fingerprint,
    video_of,
    write_features,
)
from tests.helpers import tiny
from tests.helpers.tiny import FINGERPRINT

CLIPS = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_a_timeline_needs_a_duration() -> None:
    with pytest.raises(FeatureError, match="duration"):
        _ = VideoFeatures(CLIPS, None, None, FINGERPRINT).timeline


@given(rows=st.integers(1, 60), bins=st.integers(1, 60), width=st.integers(1, 3), seed=st.integers(0, 99))
def test_downsampling_keeps_the_mean(rows: int, bins: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(rows, 2, width)).astype(np.float32)
    features = VideoFeatures(values.mean(1), values, 7.0, FINGERPRINT).downsample(bins)
    assert len(features.clips) == min(rows, bins)
    assert features.regions is not None
    assert features.regions.shape == (min(rows, bins), 2, width)
    np.testing.assert_allclose(features.clips.mean(0), values.mean(1).mean(0), atol=1e-5)
    np.testing.assert_allclose(features.regions.mean(0), values.mean(0), atol=1e-5)
    assert features.duration == 7.0


def test_downsampling_averages_neighbours() -> None:
    features = VideoFeatures(np.arange(6, dtype=np.float16)[:, None], None, 3.0, FINGERPRINT)
    assert features.downsample(3).clips[:, 0].tolist() == [0.5, 2.5, 4.5]
    assert features.downsample(4).clips[:, 0] == pytest.approx([1 / 3, 5 / 3, 10 / 3, 14 / 3], abs=2e-3)
    assert features.downsample(6) is features
    assert features.downsample(4).clips.dtype == np.float16


def test_downsampling_makes_no_copy_of_the_input() -> None:
    regions = np.ones((4000, 16, 32), dtype=np.float16)  # 4 MB
    features = VideoFeatures(regions[:, 0], regions, 7.0, FINGERPRINT)
    tracemalloc.start()
    try:
        features.downsample(64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < regions.nbytes / 2


def build_store(folder: Path, max_clips: int = 5, max_bytes: int = 4 << 30) -> FeatureStore:
    for number in range(4):
        write_features(folder / f"{number}.safetensors", tiny.features(10, seed=number, regions=False))
    np.save(folder / "x.npy", CLIPS)
    files = {name: folder / f"{name}.safetensors" for name in "0123"} | {"x": folder / "x.npy", "y": folder / "y.npy"}
    return FeatureStore(files, {"x": 4.0, "0": 99.0}, max_clips=max_clips, max_bytes=max_bytes)


def test_a_store_downsamples_and_adds_durations(tmp_path: Path) -> None:
    store = build_store(tmp_path)
    assert store.load("0").clips.shape == (5, 6)
    assert store.load("0").duration == 5.0  # the duration in the file takes precedence
    assert store.load("x").duration == 4.0
    with pytest.raises(FeatureError, match="absent: no features"):
        store.load("absent")
    with pytest.raises(FeatureError, match=r"y\.npy"):
        store.load("y")
    with pytest.raises(FeatureError, match=r"x\.npy: the duration of the video is unknown"):
        FeatureStore(store.files).load("x")


def test_a_store_reads_a_file_once_while_memory_suffices(tmp_path: Path) -> None:
    store = build_store(tmp_path)
    first = store.load("0")
    assert store.load("0") is first
    small = build_store(tmp_path, max_bytes=2 * first.nbytes)
    held = small.load("0")
    small.load("1")
    assert small.load("0") is held
    small.load("2")  # drops 1, the least recently used
    assert small.load("0") is held
    minimal = build_store(tmp_path, max_bytes=1)
    assert minimal.load("0").clips.shape == minimal.load("1").clips.shape


def test_a_fingerprint_of_a_stranger_is_shown_in_one_short_line() -> None:
    wild: dict[str, Any] = {"encoder": "e\n" * 1000, "a\nb": "x" * 10_000, "c": [1] * 1000, "d": {"e": 1}, "f": ""}
    shown = describe_fingerprint(wild | {f"setting{number}": number for number in range(1000)})
    assert shown.isprintable()
    assert len(shown) < 500
    assert shown.endswith(", ...)")


def test_an_error_names_both_fingerprints() -> None:
    check_fingerprint({"encoder": "a", "fps": 2.0}, {"fps": 2.0, "encoder": "a"}, "x")
    with pytest.raises(FeatureError, match=r"'clip'.*'classic'") as caught:
        check_fingerprint({"encoder": "clip", "fps": 1}, {"encoder": "classic", "fps": 2}, "v.npy")
    assert str(caught.value).startswith("v.npy: ")


class TestCache:
    """A file is identified by its content, and the fingerprint is part of the address."""

    @pytest.fixture
    def video(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.mp4"
        path.write_bytes(os.urandom(3_000_000))
        return path

    def test_a_renamed_or_moved_file_keeps_its_features(self, video: Path, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path / "cache")
        before = cache.path(video, FINGERPRINT)
        (tmp_path / "other").mkdir()
        moved = video.rename(tmp_path / "other" / "b.mkv")
        assert cache.path(moved, FINGERPRINT) == before
        assert before.is_relative_to(tmp_path / "cache")

    def test_videos_whose_frame_times_were_read_otherwise_have_another_address(self, tmp_path: Path) -> None:
        """An MP4 keeps the features that an earlier version cached."""
        cache, names = FeatureCache(tmp_path / "cache"), {}
        for name, head in (("a.mp4", b"\0\0\0\x20ftypisom"), ("a.ts", b"\x47\x40\0\x10")):
            (tmp_path / name).write_bytes(head + bytes(1000))
            names[name] = cache.path(tmp_path / name, FINGERPRINT).parent.name
        assert names["a.ts"] == f"{names['a.mp4']}-from-start"

    def test_changed_content_has_another_address(self, video: Path, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path / "cache")
        status, before = video.stat(), cache.path(video, FINGERPRINT)
        data = video.read_bytes()
        for changed in (b"x" + data[1:], data[:-4096], data + b"x"):
            video.write_bytes(changed)
            os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
            assert cache.path(video, FINGERPRINT) != before
        video.write_bytes(data)
        os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert cache.path(video, FINGERPRINT) == before
        os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
        assert cache.path(video, FINGERPRINT) != before

    def test_every_setting_matters_but_their_order_does_not(self, video: Path, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path)
        settings: dict[str, str | int | float] = {"encoder": "classic", "version": 1, "fps": 2.0}
        changes: list[dict[str, str | int | float]] = [{"fps": 1.0}, {"version": 2}, {"encoder": "c"}, {"new": 0}]
        paths = {cache.path(video, {**settings, **change}) for change in [{}, *changes]}
        assert len(paths) == 5
        assert cache.path(video, dict(reversed(settings.items()))) == cache.path(video, settings)

    def test_an_encoder_name_cannot_leave_the_cache(self, video: Path, tmp_path: Path) -> None:
        path = FeatureCache(tmp_path / "cache").path(video, {"encoder": "../../org/" + "x" * 300})
        assert path.resolve().is_relative_to((tmp_path / "cache").resolve())

    def test_a_missing_video_is_a_video_error(self, tmp_path: Path) -> None:
        with pytest.raises(VideoError, match=r"absent\.mp4: no such file"):
            FeatureCache(tmp_path).path(tmp_path / "absent.mp4", FINGERPRINT)

    def test_a_folder_that_cannot_be_written_costs_one_warning(
        self, video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        cache = FeatureCache(tmp_path / "file" / "cache")
        paths = [cache.path(video, FINGERPRINT), cache.path(video, {**FINGERPRINT, "version": 2})]
        assert caplog.messages == [f"{cache.folder}: cannot be written (not a directory), so features are not kept"]
        for path in paths:
            write_features(path, VideoFeatures(CLIPS, None, 1.0, FINGERPRINT))
        assert cache.path(video, FINGERPRINT) == paths[0]

    def test_a_read_only_cache_is_still_read(
        self, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = FeatureCache(tmp_path).path(video, FINGERPRINT)
        write_features(entry, VideoFeatures(CLIPS, None, 1.0, FINGERPRINT))

        def refuse(folder: Path) -> None:
            raise OSError(errno.EROFS, "Read-only file system", str(folder))

        monkeypatch.setattr("mttsg_core.features.store.check_writable", refuse)
        cache = FeatureCache(tmp_path)
        assert cache.path(video, FINGERPRINT) == entry
        assert not cache.path(video, {**FINGERPRINT, "version": 2}).is_relative_to(tmp_path)

    def test_without_any_folder_to_write_to_the_path_is_still_that_of_the_cache(
        self, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(**options: object) -> str:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

        (tmp_path / "file").touch()
        monkeypatch.setattr("mttsg_core.features.store.tempfile", SimpleNamespace(mkdtemp=refuse))
        assert FeatureCache(tmp_path / "file").path(video, FINGERPRINT).is_relative_to(tmp_path / "file")

    def test_looking_up_a_path_creates_nothing(self, video: Path, tmp_path: Path) -> None:
        FeatureCache(tmp_path / "cache").path(video, FINGERPRINT)
        assert not (tmp_path / "cache").exists()
        assert [path for path in tmp_path.iterdir() if path != video] == []


def test_a_feature_file_says_which_video_it_is_of(tmp_path: Path) -> None:
    features = VideoFeatures(CLIPS, None, 1.0, FINGERPRINT)
    write_features(tmp_path / "a.safetensors", features, "a.mp4")
    write_features(tmp_path / "b.safetensors", features)
    (tmp_path / "c.safetensors").write_bytes(b"damaged")
    assert [video_of(tmp_path / f"{name}.safetensors") for name in "abcd"] == ["a.mp4", None, None, None]
