"""Videos of one or two frames, of 240 frames a second, and of one picture every eight seconds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.features.extraction import ExtractionSettings, encode_video
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample
from mttsg_core.video.trim import trim
from tests.helpers.video_files import read_number, write_video

CASES = Path(__file__).parents[3] / "shared" / "cases" / "media"
# Name: stamps, time base, and per sampled time the number of the frame that is on screen.
VIDEOS: dict[str, tuple[list[int], Fraction, dict[float, int]]] = {
    "one.mp4": ([0], Fraction(1, 25), {0.0: 0, 5.0: 0}),
    "two.mkv": ([0, 2], Fraction(1, 25), {0.0: 0, 0.079: 0, 0.081: 1, 1.0: 1}),
    "fast.mp4": (list(range(240)), Fraction(1, 240), {0.0: 0, 0.5: 120, 0.9959: 239}),
    "slides.mp4": ([0, 8, 16, 24, 32], Fraction(1, 1), {0.0: 0, 7.9: 0, 8.0: 1, 30.0: 3, 39.0: 4}),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_the_frame_on_screen_is_read(name: str, tmp_path: Path) -> None:
    stamps, time_base, shown = VIDEOS[name]
    path = write_video(tmp_path / name, stamps, time_base=time_base)
    np.testing.assert_allclose(probe(path).frame_times, [float(stamp * time_base) for stamp in stamps], atol=1e-3)
    [chunk] = sample(path, list(shown))
    assert [read_number(frame) for frame in chunk.frames] == list(shown.values())


@pytest.mark.parametrize("name", VIDEOS)
def test_there_are_features_and_excerpts(name: str, tmp_path: Path) -> None:
    stamps, time_base, _ = VIDEOS[name]
    path = write_video(tmp_path / name, stamps, time_base=time_base)
    settings = ExtractionSettings()
    features = encode_video(path, settings.build_encoder(), settings)
    duration = probe(path).duration
    assert len(features.clips) == max(1, round(2 * duration))
    assert (features.duration, features.start, features.lost_clips) == (pytest.approx(duration), 0.0, 0)
    trim(path, 0, duration, tmp_path / "excerpt.mp4")
    assert read_number(next(iter(sample(tmp_path / "excerpt.mp4", [duration]))).frames[0]) == len(stamps) - 1


@pytest.mark.data
@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} does not exist")
@pytest.mark.parametrize(
    ("name", "frames", "duration"),
    [("one_frame.mp4", 1, 0.08), ("two_frames.mkv", 2, 0.16), ("fps240.mp4", 240, 1.0), ("slides.mp4", 5, 40.0)],
)
def test_the_published_cases(name: str, frames: int, duration: float) -> None:
    info = probe(CASES / name)
    assert (len(info.frame_times), info.duration) == (frames, pytest.approx(duration, abs=1e-3))
    settings = ExtractionSettings()
    features = encode_video(CASES / name, settings.build_encoder(), settings)
    assert len(features.clips) == max(1, round(2 * duration))
    assert features.lost_clips == 0
