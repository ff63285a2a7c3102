"""Frames that are neither requested nor needed for others are not decoded, and the others do not change."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.video.probe import probe
from mttsg_core.video.pyav import _decode
from mttsg_core.video.sampling import sample
from tests.helpers.video_files import damage, read_number, write_video

COUNT = 60
B_FRAMES = {"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0:keyint=30:scenecut=0:log-level=none"}
VARIABLE = [int(stamp) for stamp in np.cumsum([0, *np.random.default_rng(1).integers(7, 400, COUNT - 1)])]


@pytest.fixture(scope="module", params=["a.mp4", "a.mkv", "a.ts", "variable.mp4"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frame i shows the number i; half of its frames are not needed for others."""
    stamps, unit = (VARIABLE, Fraction(1, 1000)) if "variable" in request.param else (range(COUNT), Fraction(1, 25))
    path = tmp_path_factory.mktemp("videos") / request.param
    return write_video(path, list(stamps), time_base=unit, options=B_FRAMES)


@pytest.mark.parametrize("threads", [0, 1])
def test_unneeded_frames_are_skipped(video: Path, threads: int) -> None:
    info = probe(video)
    all_times = [time for time, _ in _decode(info, set(info.frame_times.tolist()), threads)]
    needed_times = [time for time, _ in _decode(info, set(), threads)]
    assert all_times == info.frame_times.tolist()
    assert set(needed_times) < set(all_times)
    assert len(needed_times) < 0.7 * len(all_times)


@pytest.mark.parametrize("threads", [None, 1])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 25])
def test_frames_do_not_depend_on_which_others_are_requested(video: Path, step: int, threads: int | None) -> None:
    info = probe(video)
    all_pictures = np.concatenate([chunk.frames for chunk in sample(info, info.frame_times, threads=threads)])
    for first in range(min(step, 3)):
        wanted = np.arange(first, COUNT, step)
        sampling = sample(info, info.frame_times[wanted], threads=threads)
        chunks = list(sampling)
        assert sampling.lost == 0
        pictures = np.concatenate([chunk.frames for chunk in chunks])
        assert [read_number(picture) for picture in pictures] == wanted.tolist()
        assert np.array_equal(pictures, all_pictures[wanted])


def test_a_damaged_frame_that_is_not_requested_costs_no_other(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", range(COUNT), options={"x264-params": "bframes=0:keyint=1:log-level=none"})
    damage(video, 30)
    sampling = sample(video, np.arange(0, COUNT, 4) / 25)
    assert [read_number(picture) for chunk in sampling for picture in chunk.frames] == list(range(0, COUNT, 4))
    assert sampling.lost == 0
