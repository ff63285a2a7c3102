"""Long videos: how far they are is told, and what is done of them is kept should the program be stopped."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.features import extraction
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionJob,
    ExtractionProgress,
    ExtractionSettings,
    cached_features,
    encode_video,
    extract,
)
from mttsg_core.features.identity import file_identity
from mttsg_core.features.store import FeatureCache, VideoFeatures, read_features
from tests.conftest import ROOT
from tests.helpers.tiny_encoders import save_clip, save_xclip
from tests.helpers.video_files import write_video

SECONDS, RATE = 60, 10


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of video."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_video(path, range(SECONDS * RATE), time_base=Fraction(1, RATE))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExtractionSettings]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "classic": ExtractionSettings(),
        "clip": ExtractionSettings(str(save_clip(folder / "clip"))),
        "xclip": ExtractionSettings(str(save_xclip(folder / "xclip"))),
    }


def job_of(video: Path, folder: Path, seconds: float = 12.0) -> ExtractionJob:
    return ExtractionJob(video, folder / "long.safetensors", partial=folder / "partial", partial_seconds=seconds)


def whole(video: Path) -> VideoFeatures:
    return encode_video(video, ExtractionSettings().build_encoder(), ExtractionSettings())


def assert_equal(one: VideoFeatures, other: VideoFeatures) -> None:
    np.testing.assert_array_equal(one.clips, other.clips)
    assert (one.regions is None) == (other.regions is None)
    if one.regions is not None and other.regions is not None:
        np.testing.assert_array_equal(one.regions.astype(np.float16), other.regions.astype(np.float16))
    assert (one.timeline, one.lost_clips) == (other.timeline, other.lost_clips)
    assert dict(one.fingerprint) == dict(other.fingerprint)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["classic", "clip", "xclip"])
def test_a_stopped_extraction_does_only_the_rest(
    video: Path, settings: dict[str, ExtractionSettings], tmp_path: Path, name: str, workers: int
) -> None:
    expected = encode_video(video, settings[name].build_encoder(), settings[name])
    job = job_of(video, tmp_path)
    events = extract([job], settings[name], workers=workers)
    for event in events:
        if isinstance(event, ExtractionProgress) and event.seconds > 40:
            break
    events.close()  # type: ignore[attr-defined]
    assert not job.target.exists()
    parts = list((tmp_path / "partial").rglob("*.safetensors"))
    assert len(parts) >= 2
    first, *rest = list(extract([job], settings[name], workers=workers))
    assert isinstance(first, ExtractionProgress) and first.resumed
    assert first.seconds > 25
    assert isinstance(rest[-1], Extracted) and not rest[-1].cached
    assert_equal(read_features(job.target), expected)
    assert not (tmp_path / "partial").exists()


def test_many_videos_at_a_time_are_resumed_as_well(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Light encoders run in the workers, which tell how far they are."""
    monkeypatch.setattr(extraction, "_POLL_SECONDS", 0.01)
    jobs = [replace(job_of(video, tmp_path / name), target=tmp_path / name / "x.safetensors") for name in "ab"]
    stop_after(jobs[1], 30)
    events = list(extract(jobs, ExtractionSettings(), workers=2))
    assert sum(isinstance(event, Extracted) for event in events) == 2
    assert {event.job for event in events if isinstance(event, ExtractionProgress)} <= set(jobs)
    assert_equal(read_features(jobs[0].target), read_features(jobs[1].target))


def stop_after(job: ExtractionJob, seconds: float, settings: ExtractionSettings | None = None) -> None:
    """Extract in this process, and stop when that much of the video is done."""
    events = extract([job], settings or ExtractionSettings())
    for event in events:
        if isinstance(event, ExtractionProgress) and event.seconds > seconds:
            break
    events.close()  # type: ignore[attr-defined]


@pytest.mark.subprocess
def test_a_killed_extraction_goes_on(video: Path, tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from mttsg_core.features.extraction import ExtractionJob, ExtractionProgress, ExtractionSettings, extract
video, folder = map(Path, sys.argv[1:])
job = ExtractionJob(video, folder / "long.safetensors", partial=folder / "partial", partial_seconds=12.0)
for event in extract([job], ExtractionSettings()):
    if isinstance(event, ExtractionProgress) and event.seconds > 40:
        os.kill(os.getpid(), 9)
"""
    ran = subprocess.run([sys.executable, "-c", program, video, tmp_path], cwd=ROOT, check=False)
    assert ran.returncode != 0
    job = job_of(video, tmp_path)
    events = list(extract([job], ExtractionSettings()))
    assert isinstance(events[0], ExtractionProgress) and events[0].seconds >= 30
    assert_equal(read_features(job.target), whole(video))


def test_parts_of_other_settings_or_another_file_are_not_used(video: Path, tmp_path: Path) -> None:
    job = job_of(video, tmp_path)
    stop_after(job, 40)
    [other, *_] = list(extract([job], ExtractionSettings(fps=1.0)))
    assert isinstance(other, ExtractionProgress) and not other.resumed
    job.target.unlink()
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(video.read_bytes() + b"\0")
    assert not [event for event in extract([replace(job, video=changed)], ExtractionSettings()) if resumed(event)]


def resumed(event: object) -> bool:
    return isinstance(event, ExtractionProgress) and event.resumed


@pytest.mark.parametrize("damage", [b"", b"\0" * 1000])
def test_damaged_parts_are_done_again(video: Path, tmp_path: Path, damage: bytes) -> None:
    job = job_of(video, tmp_path)
    stop_after(job, 40)
    parts = sorted((tmp_path / "partial").rglob("*.safetensors"), key=lambda path: int(path.stem))
    parts[1].write_bytes(damage)
    events = list(extract([job], ExtractionSettings()))
    assert isinstance(events[0], ExtractionProgress) and events[0].resumed
    assert events[0].seconds < 20
    assert_equal(read_features(job.target), whole(video))


def test_where_nothing_can_be_kept_the_features_are_made_all_the_same(video: Path, tmp_path: Path) -> None:
    job = job_of(video, tmp_path)
    (tmp_path / "partial").write_text("in the way")
    assert isinstance(list(extract([job], ExtractionSettings()))[-1], Extracted)


def test_the_progress_of_a_short_video_is_not_told(tmp_path: Path) -> None:
    short = write_video(tmp_path / "short.mp4", range(50), time_base=Fraction(1, RATE))
    assert [type(event) for event in extract([job_of(short, tmp_path)], ExtractionSettings())] == [Extracted]


def test_the_cache_keeps_and_removes_parts(video: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    job = ExtractionJob(video, tmp_path / "x.safetensors", False, file_identity(video), cache.partial_folder, 12)
    stop_after(job, 40)
    assert cache.partial_folder.is_dir()
    features = cached_features(video, cache, ExtractionSettings())
    assert_equal(features, whole(video))
    assert not cache.partial_folder.exists()
