"""Files that are found in folders, and features that cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.features import extraction
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionFailed,
    ExtractionJob,
    ExtractionPassedOver,
    ExtractionSettings,
    cached_features,
    extract,
)
from mttsg_core.features.jobs import Cause
from mttsg_core.features.store import FeatureCache
from mttsg_core.video.discovery import TOO_SHORT
from tests.helpers.video_files import write_audio, write_video

SETTINGS = ExtractionSettings(fps=2.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", range(25))


class TestFilesOfFolders:
    """A file without moving pictures is a failure only if the user named it."""

    @pytest.mark.parametrize("workers", [1, 2])
    def test_sound_is_passed_over(self, workers: int, video: Path, tmp_path: Path) -> None:
        sound, text = write_audio(tmp_path / "sound.mp4"), tmp_path / "text.mp4"
        text.write_text("once upon a time")
        jobs = [ExtractionJob(path, tmp_path / f"{path.stem}.safetensors", True) for path in (video, sound, text)]
        events = {event.job.video.name: event for event in extract(jobs, SETTINGS, workers=workers)}
        assert events["sound.mp4"] == ExtractionPassedOver(jobs[1], "no video stream")
        assert isinstance(events[video.name], Extracted)
        assert isinstance(events["text.mp4"], ExtractionFailed)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_what_is_shorter_than_a_second_is_passed_over_unless_named(self, workers: int, tmp_path: Path) -> None:
        short = write_video(tmp_path / "short.mp4", range(20))
        for target in ("a", "b"):
            job = ExtractionJob(short, tmp_path / target, from_folder=True)
            assert list(extract([job], SETTINGS, workers=workers)) == [ExtractionPassedOver(job, TOO_SHORT)]
            assert not job.target.exists()
        named, found = (ExtractionJob(short, tmp_path / "c.safetensors", from_folder=found) for found in (False, True))
        for _ in range(2):  # extracted, then cached
            kinds = {event.job.from_folder: type(event) for event in extract([found, named], SETTINGS, workers=workers)}
            assert kinds == {False: Extracted, True: ExtractionPassedOver}

    def test_sound_that_was_named_is_a_failure(self, tmp_path: Path) -> None:
        job = ExtractionJob(write_audio(tmp_path / "sound.mp4"), tmp_path / "sound.safetensors")
        assert list(extract([job], SETTINGS)) == [ExtractionFailed(job, "no video stream", Cause.NO_MOVING_PICTURES)]


def test_features_that_cannot_be_written_are_the_same(
    video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    expected = cached_features(video, FeatureCache(tmp_path / "a"), SETTINGS)
    monkeypatch.setattr(extraction, "write_features", fill_disk)
    cache = FeatureCache(tmp_path / "b")
    for _ in range(2):
        features = cached_features(video, cache, SETTINGS)
        assert features.regions is not None
        assert expected.regions is not None
        assert np.array_equal(features.clips, expected.clips)
        assert np.array_equal(features.regions, expected.regions)
        assert (features.regions.dtype, features.fingerprint) == (expected.regions.dtype, expected.fingerprint)
    assert caplog.messages == [
        f"{tmp_path / 'b'}: cannot be written (no space left on device), so features are not kept"
    ]
