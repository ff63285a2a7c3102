"""Feature extraction of many videos: finished files stay, a failure is one event, a crash costs one video."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.encoders import build_encoder
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.errors import ConfigError, CorruptVideoError, VideoError
from mttsg_core.features import extraction, frame_stream
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionEvent,
    ExtractionFailed,
    ExtractionJob,
    ExtractionSettings,
    cached_features,
    encode_video,
    extract,
)
from mttsg_core.features.frame_stream import ClipFrames, FrameSpec
from mttsg_core.features.store import FeatureCache, read_features, write_features
from mttsg_core.features.video_in_work import ProgressBoard
from mttsg_core.moments import Timeline
from tests.helpers.video_files import damage, draw, write_audio, write_video

SETTINGS = ExtractionSettings(fps=2.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of four seconds."""
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", range(100))


@pytest.fixture
def folder(tmp_path: Path, video: Path) -> Path:
    """Three good videos, a truncated one, an empty one, a text file and an audio file."""
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(video, tmp_path / name)
        with (tmp_path / name).open("ab") as file:
            file.write(name.encode())  # so that each has a cache entry of its own
    (tmp_path / "truncated.mp4").write_bytes(video.read_bytes()[:600])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video at all " * 100)
    write_audio(tmp_path / "audio.wav")
    return tmp_path


def jobs_for(folder: Path, *videos: Path) -> list[ExtractionJob]:
    return [ExtractionJob(video, folder / "out" / f"{video.stem}.safetensors") for video in videos]


def by_name(events: list[ExtractionEvent]) -> dict[str, ExtractionEvent]:
    named = {event.job.video.name: event for event in events}
    assert len(named) == len(events)
    return named


class TestEncodeVideo:
    """One video to features."""

    def test_clips_are_equal_bins_over_the_video(self, video: Path) -> None:
        features = encode_video(video, build_encoder(), SETTINGS)
        assert features.clips.shape == (8, 102)
        assert features.regions is not None
        assert features.regions.shape == (8, 49, 34)
        assert features.duration == pytest.approx(4.0)
        assert features.start == 0
        assert features.lost_clips == 0
        assert features.fingerprint == {"encoder": "classic", "version": 2, "fps": 2.0, "reader": "auto"}
        assert np.abs(features.clips).sum(1).min() > 0

    def test_each_clip_is_encoded_from_its_own_frames(self, video: Path) -> None:
        """Frame i of the video shows the number i, so the features of a clip are those of the right numbers."""
        encoder = build_encoder()
        features = encode_video(video, encoder, SETTINGS)
        for clip in (0, 3, 7):
            numbers = [int((clip + share) * 0.5 * 25) for share in (0.25, 0.75)]
            pictures = [draw(number, 64, 48) for number in numbers]
            width, height = encoder.frame_transform.size
            rows, columns = np.arange(height) * 48 // height, np.arange(width) * 64 // width
            frames = np.stack([picture[rows][:, columns] for picture in pictures])[None]
            expected = encoder.encode(frames).clips[0]
            distance = np.linalg.norm(features.clips - expected, axis=1)
            assert int(distance.argmin()) == clip

    def test_the_batch_size_does_not_change_the_features(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = encode_video(video, build_encoder(), SETTINGS)
        monkeypatch.setattr(ClassicEncoder, "clip_batch_size", 3)
        np.testing.assert_allclose(encode_video(video, build_encoder(), SETTINGS).clips, expected.clips, atol=1e-6)

    def test_a_late_first_frame_shifts_the_clips(self, tmp_path: Path) -> None:
        late = write_video(tmp_path / "late.mp4", range(50, 100))
        features = encode_video(late, build_encoder(), SETTINGS)
        assert (features.start, features.duration, len(features.clips)) == (2.0, pytest.approx(2.0), 4)

    @pytest.mark.parametrize("suffix", [".mkv", ".ts", ".flv"])
    def test_a_clock_that_starts_late_does_not_shift_the_clips(self, suffix: str, tmp_path: Path) -> None:
        late = write_video(tmp_path / f"late{suffix}", range(50, 100))
        features = encode_video(late, build_encoder(), SETTINGS)
        assert (features.start, features.duration, len(features.clips)) == (0.0, pytest.approx(2.0), 4)

    def test_a_frame_that_stays_for_hours_is_encoded_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stamps = [*range(50), *range(250_000, 250_050)]  # a gap of nearly three hours, which the header announces
        video = write_video(tmp_path / "a.mkv", stamps, options={"bf": "0"})
        encoded = []
        encode = ClassicEncoder.encode

        def count_clips(encoder: ClassicEncoder, frames: np.ndarray) -> object:
            encoded.append(len(frames))
            return encode(encoder, frames)

        monkeypatch.setattr(ClassicEncoder, "encode", count_clips)
        features = encode_video(video, build_encoder(), SETTINGS)
        assert (len(features.clips), features.lost_clips) == (20_004, 0)
        assert sum(encoded) < 12
        assert (features.clips[5:19_999] == features.clips[5]).all()
        assert (features.clips[20_001] != features.clips[5]).any()

    def test_a_video_of_one_frame_has_one_clip(self, tmp_path: Path) -> None:
        features = encode_video(write_video(tmp_path / "one.mp4", [0]), build_encoder(), SETTINGS)
        assert len(features.clips) == 1

    def test_clips_that_cannot_be_decoded_are_zero_and_counted(self, tmp_path: Path) -> None:
        damaged = write_video(tmp_path / "b.avi", range(100), codec="mjpeg", pix_fmt="yuvj420p")
        for number in (30, 31, 32, 33, 34, 35):
            damage(damaged, number)
        features = encode_video(damaged, build_encoder(), ExtractionSettings(fps=5.0))
        zeros = np.flatnonzero(np.abs(features.clips).sum(1) == 0)
        assert features.lost_clips == len(zeros) >= 1
        assert set(zeros) <= {5, 6, 7}

    def test_a_file_without_a_readable_frame_is_an_error(self, tmp_path: Path) -> None:
        damaged = write_video(tmp_path / "b.avi", range(5), codec="mjpeg", pix_fmt="yuvj420p")
        for number in range(5):
            damage(damaged, number)
        with pytest.raises(CorruptVideoError):
            encode_video(damaged, build_encoder(), SETTINGS)

    def test_an_unknown_reader_is_rejected(self, video: Path) -> None:
        with pytest.raises(ConfigError, match="unknown reader 'vlc'"):
            encode_video(video, build_encoder(), ExtractionSettings(reader="vlc"))


def test_settings_are_restored_from_their_fingerprint() -> None:
    settings = ExtractionSettings(fps=1.5, reader="pyav")
    assert ExtractionSettings.from_fingerprint(settings.fingerprint()) == settings


class TestExtract:
    """Many videos, in this process or in workers."""

    @pytest.mark.parametrize("workers", [1, 2])
    def test_failures_do_not_affect_other_videos(self, folder: Path, workers: int) -> None:
        names = ["a.mp4", "truncated.mp4", "empty.mp4", "b.mp4", "text.mp4", "audio.wav", "absent.mp4"]
        jobs = jobs_for(folder, *(folder / name for name in names))
        events = by_name(list(extract(jobs, SETTINGS, workers=workers)))
        assert events.keys() == set(names)
        for name in ("a.mp4", "b.mp4"):
            event = events.pop(name)
            assert isinstance(event, Extracted)
            assert (event.clips, event.cached) == (8, False)
            assert len(read_features(event.job.target).clips) == 8
        for name, failure in events.items():
            assert isinstance(failure, ExtractionFailed), name
            assert failure.reason
            assert "\n" not in failure.reason
            assert not failure.job.target.exists()

    def test_finished_videos_are_skipped_unless_overwritten(self, folder: Path) -> None:
        jobs = jobs_for(folder, folder / "a.mp4", folder / "b.mp4")
        list(extract(jobs, SETTINGS))
        before = [job.target.stat().st_mtime_ns for job in jobs]
        events = list(extract(jobs, SETTINGS))
        assert all(isinstance(event, Extracted) and event.cached for event in events)
        assert [job.target.stat().st_mtime_ns for job in jobs] == before
        events = list(extract(jobs, SETTINGS, overwrite=True))
        assert all(isinstance(event, Extracted) and not event.cached for event in events)
        assert all(job.target.stat().st_mtime_ns > old for job, old in zip(jobs, before, strict=True))

    def test_features_of_other_settings_are_kept_unless_overwritten(self, folder: Path) -> None:
        [job] = jobs_for(folder, folder / "a.mp4")
        list(extract([job], ExtractionSettings(fps=1.0)))
        before = job.target.read_bytes()
        [event] = extract([job], SETTINGS)
        assert isinstance(event, ExtractionFailed)
        assert "fps 1.0" in event.reason
        assert job.target.read_bytes() == before
        [event] = extract([job], SETTINGS, overwrite=True)
        assert isinstance(event, Extracted)
        assert (event.cached, event.clips) == (False, 8)

    def test_damaged_features_are_extracted_again(self, folder: Path) -> None:
        [job] = jobs_for(folder, folder / "a.mp4")
        list(extract([job], SETTINGS))
        job.target.write_bytes(job.target.read_bytes()[:-50])
        [event] = extract([job], SETTINGS)
        assert isinstance(event, Extracted)
        assert not event.cached
        assert len(read_features(job.target).clips) == 8

    @pytest.mark.parametrize("workers", [1, 2])
    def test_copies_of_one_file_are_each_reported(self, folder: Path, workers: int) -> None:
        target = folder / "out" / "same.safetensors"
        jobs = [ExtractionJob(folder / name, target) for name in ("a.mp4", "b.mp4")]
        jobs += jobs_for(folder, folder / "c.mp4")
        events = by_name(list(extract(jobs, SETTINGS, workers=workers)))
        assert events.keys() == {"a.mp4", "b.mp4", "c.mp4"}
        assert all(isinstance(event, Extracted) for event in events.values())

    def test_copies_of_one_file_are_read_once(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[str] = []
        extract_here = extraction._extract_here

        def record(
            job: ExtractionJob, settings: ExtractionSettings, threads: int | None
        ) -> Iterator[extraction.ExtractionEvent]:
            read.append(job.video.name)
            return extract_here(job, settings, threads)

        monkeypatch.setattr(extraction, "_extract_here", record)
        target = folder / "out" / "same.safetensors"
        list(extract([ExtractionJob(folder / name, target) for name in ("a.mp4", "b.mp4")], SETTINGS))
        assert read == ["a.mp4"]

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_target_that_cannot_be_written_fails_only_its_video(self, folder: Path, workers: int) -> None:
        (folder / "file").write_text("in the way")
        bad = ExtractionJob(folder / "a.mp4", folder / "file" / "a.safetensors")
        jobs = [bad, *jobs_for(folder, folder / "b.mp4", folder / "c.mp4")]
        events = by_name(list(extract(jobs, SETTINGS, workers=workers)))
        failure = events["a.mp4"]
        assert isinstance(failure, ExtractionFailed)
        assert "\n" not in failure.reason
        assert isinstance(events["b.mp4"], Extracted)
        assert isinstance(events["c.mp4"], Extracted)


def crash_or_hang(
    numbered: tuple[int, ExtractionJob], settings: ExtractionSettings, board: ProgressBoard | None
) -> ExtractionEvent:
    """Replace `_extract_in_worker` in a worker: crash on `b.mp4`, never return from `c.mp4`."""
    _, job = numbered
    if job.video.name == "b.mp4":
        os._exit(139)
    if job.video.name == "c.mp4":
        time.sleep(600)
    write_features(job.target, encode_video(job.video, build_encoder(), settings))
    return Extracted(job, 1, 1.0)


def test_the_replacement_has_the_signature_of_the_original() -> None:
    assert crash_or_hang.__annotations__ == extraction._extract_in_worker.__annotations__


@pytest.mark.subprocess
class TestBadWorkers:
    """Workers that crash or hang."""

    @pytest.fixture(autouse=True)
    def _crash_or_hang(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extraction, "_extract_in_worker", crash_or_hang)

    @pytest.fixture(autouse=True)
    def _no_process_is_left(self) -> Iterator[None]:
        before = set(multiprocessing.active_children())
        yield
        assert not set(multiprocessing.active_children()) - before

    def test_a_crash_and_a_hang_cost_one_video_each(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        limits = {"c.mp4": 4.0}  # seconds for the video that hangs
        monkeypatch.setattr(ExtractionJob, "time_limit", property(lambda job: limits.get(job.video.name, 600.0)))
        for name in ("d.mp4", "e.mp4"):
            shutil.copy(folder / "a.mp4", folder / name)
        jobs = jobs_for(folder, *(folder / f"{name}.mp4" for name in "abcde"))
        events = by_name(list(extract(jobs, SETTINGS, workers=2)))
        crashed, hung = events["b.mp4"], events["c.mp4"]
        assert isinstance(crashed, ExtractionFailed)
        assert crashed.reason == "the decoder crashed"
        assert isinstance(hung, ExtractionFailed)
        assert hung.reason == "not done after 4 s, given up"
        for name in ("a.mp4", "d.mp4", "e.mp4"):
            assert isinstance(events[name], Extracted), name
            assert events[name].job.target.is_file()

    def test_a_time_limit_may_be_given(self, folder: Path) -> None:
        jobs = [ExtractionJob(folder / "c.mp4", folder / f"{number}.safetensors") for number in range(2)]
        reasons = [event.reason for event in extract(jobs, SETTINGS, workers=2, time_limit=1.0)]  # type: ignore[union-attr]
        assert reasons == ["not done after 1 s, given up"] * 2

    def test_closing_the_iterator_ends_the_workers(self, folder: Path) -> None:
        """The one that hangs is not waited for."""
        shutil.copy(folder / "a.mp4", folder / "d.mp4")
        jobs = jobs_for(folder, folder / "a.mp4", folder / "c.mp4", folder / "d.mp4")
        events = extract(jobs, SETTINGS, workers=2)
        next(events)
        assert multiprocessing.active_children()
        events.close()  # type: ignore[attr-defined]


class TestSingleLongVideo:
    """A long video alone is decoded by a worker and encoded in this process."""

    @pytest.fixture(autouse=True)
    def _every_video_is_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extraction, "_LONG_VIDEO", 0)

    def test_its_features_are_the_same(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = encode_video(folder / "a.mp4", build_encoder(), SETTINGS)
        monkeypatch.setattr(extraction, "_extract_here", None)
        [event] = extract(jobs_for(folder, folder / "a.mp4"), SETTINGS, workers=2)
        assert isinstance(event, Extracted)
        features = read_features(event.job.target)
        assert np.array_equal(features.clips, expected.clips)
        assert (features.fingerprint, features.duration, features.start) == (
            expected.fingerprint,
            expected.duration,
            expected.start,
        )

    def test_one_worker_is_this_process(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extraction, "FrameReaders", None)
        [event] = extract(jobs_for(folder, folder / "a.mp4"), SETTINGS, workers=1)
        assert isinstance(event, Extracted)

    def test_a_file_that_is_not_a_video_is_one_failure(self, folder: Path) -> None:
        [event] = extract(jobs_for(folder, folder / "text.mp4"), SETTINGS, workers=2)
        assert isinstance(event, ExtractionFailed)
        assert event.reason == "a text file, not a video"


class TestCachedFeatures:
    """Features of one video, extracted at most once."""

    def test_the_second_call_decodes_nothing(
        self, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = FeatureCache(tmp_path)
        first = cached_features(video, cache, SETTINGS)
        monkeypatch.setattr(extraction, "encode_video", None)
        second = cached_features(video, cache, SETTINGS)
        assert np.array_equal(first.clips, second.clips)
        assert first.clips.dtype == np.float32
        assert second.clips.dtype == np.float32

    def test_a_damaged_entry_is_extracted_again(
        self, video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = FeatureCache(tmp_path)
        first = cached_features(video, cache, SETTINGS)
        [entry] = tmp_path.rglob("*.safetensors")
        entry.write_bytes(b"damaged")
        with caplog.at_level("INFO", logger="mttsg"):
            assert np.array_equal(cached_features(video, cache, SETTINGS).clips, first.clips)
        assert f"extracting again: {entry}: " in caplog.text
        assert entry.stat().st_size > 100

    @pytest.mark.parametrize("name", ["absent.mp4", "folder"])
    def test_a_missing_file_or_a_folder_is_an_error(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(VideoError):
            cached_features(tmp_path / name, FeatureCache(tmp_path / "cache"), SETTINGS)


class TestAFileThatChanges:
    """Features are stored under the content that they were made from, or not at all."""

    @pytest.fixture
    def other(self, tmp_path: Path) -> Path:
        return write_video(tmp_path / "other.mp4", range(50, 120))

    def replace_while_reading(
        self, monkeypatch: pytest.MonkeyPatch, video: Path, contents: list[Path]
    ) -> list[tuple[Path, int]]:
        """Let each reading of `video` begin with its replacement by the next of `contents`; return the readings."""
        readings: list[tuple[Path, int]] = []

        def read_clips(path: Path, spec: FrameSpec, first: int) -> tuple[Timeline, Iterator[ClipFrames]]:
            readings.append((path, path.stat().st_size))
            timeline, pieces = frame_stream.read_clips(path, spec)
            if contents and path == video:
                shutil.copy(contents.pop(0), path.with_suffix(".new"))
                path.with_suffix(".new").replace(path)
            return timeline, pieces

        monkeypatch.setattr(extraction, "read_clips", read_clips)
        return readings

    def test_it_is_read_once_more(
        self, folder: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        video = folder / "a.mp4"
        readings = self.replace_while_reading(monkeypatch, video, [other])
        [event] = extract(jobs_for(folder, video), SETTINGS)
        assert isinstance(event, Extracted)
        assert len(readings) == 2
        stored = read_features(event.job.target)
        assert np.array_equal(stored.clips, encode_video(other, build_encoder(), SETTINGS).clips)

    def test_twice_is_a_failure(self, folder: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        video = folder / "a.mp4"
        self.replace_while_reading(monkeypatch, video, [other, folder / "b.mp4"])
        [event] = extract(jobs_for(folder, video), SETTINGS)
        assert isinstance(event, ExtractionFailed)
        assert event.reason == "changed while it was read"
        assert not event.job.target.exists()

    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("in_workers", [True, False])
    def test_since_its_place_in_the_cache_was_chosen(
        self, folder: Path, other: Path, tmp_path: Path, workers: int, in_workers: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The features of the new content must not be found later, when the old content is put back."""
        monkeypatch.setattr(ClassicEncoder, "runs_in_workers", in_workers)
        cache = FeatureCache(tmp_path / "cache")
        videos = [folder / "a.mp4", folder / "b.mp4"]
        targets = [cache.path(video, SETTINGS.fingerprint()) for video in videos]
        kept = folder / "kept.mp4"
        shutil.copy2(videos[1], kept)
        shutil.copy(other, videos[1])
        jobs = [
            ExtractionJob(video, target, identity=target.stem) for video, target in zip(videos, targets, strict=True)
        ]
        events = by_name(list(extract(jobs, SETTINGS, workers=workers)))
        assert isinstance(events["a.mp4"], Extracted)
        failed = events["b.mp4"]
        assert isinstance(failed, ExtractionFailed)
        assert failed.reason == "changed while it was read"
        assert not targets[1].exists()
        shutil.copy2(kept, videos[1])
        assert cache.path(videos[1], SETTINGS.fingerprint()) == targets[1]
        expected = encode_video(kept, build_encoder(), SETTINGS).clips
        assert np.array_equal(cached_features(videos[1], cache, SETTINGS).clips, expected)

    def test_it_is_never_cached_under_another_content(
        self, folder: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        video, cache = folder / "a.mp4", FeatureCache(tmp_path / "cache")
        self.replace_while_reading(monkeypatch, video, [other])
        with pytest.raises(VideoError, match="changed while it was read"):
            cached_features(video, cache, SETTINGS)
        assert not list(cache.folder.rglob("*.safetensors"))
