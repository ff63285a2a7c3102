"""Single pictures, read from the keyframe before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mttsg_core.errors import VideoError
from mttsg_core.video.sampling import sample
from mttsg_core.video.seek import read_still
from tests.helpers.video_files import read_number, write_video


@pytest.mark.parametrize("turn", [0, 1, 3])
def test_a_still_is_upright_and_that_of_the_sampling(tmp_path: Path, turn: int) -> None:
    path = write_video(tmp_path / "a.mp4", range(0, 300, 3), turn=turn, size=(96, 64))
    for time in (0.0, 1.0, 7.77):
        picture = read_still(path, time, 64)
        [chunk] = sample(path, [time])
        assert read_number(picture) == read_number(chunk.frames[0])
        assert picture.shape[0] == 64
        assert picture.shape[1] == (96 if not turn % 2 else 43)


def test_what_is_no_video_has_no_still(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError):
        read_still(tmp_path / "a.mp4", 1.0, 64)
