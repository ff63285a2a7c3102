"""What editing programs must know about a video: rates, and the time code at which a file starts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from mttsg_core.errors import VideoError
from mttsg_core.video.media import edit_rate, frame_of_time_code, read_media
from tests.helpers import video_files

NTSC = Fraction(30000, 1001)


def test_a_file_without_time_code(tmp_path: Path) -> None:
    path = video_files.write_video(tmp_path / "a.mp4", range(50), size=(64, 48), turn=1)
    media = read_media(path)
    assert (media.rate, media.start_frame, media.has_sound) == (25, 0, False)
    assert (media.width, media.height) == (48, 64)  # as displayed
    assert media.duration == pytest.approx(2.0)
    assert media.name == "a.mp4"


@pytest.mark.parametrize(
    ("code", "time_base", "first"),
    [
        ("01:00:00:00", Fraction(1, 25), 90_000),
        ("10:00:00;00", Fraction(1001, 30000), 1_078_920),
        ("00:01:00:00", Fraction(1001, 30000), 1800),
    ],
)
def test_a_file_that_starts_at_a_time_code(tmp_path: Path, code: str, time_base: Fraction, first: int) -> None:
    plain = video_files.write_video(tmp_path / "a.mov", range(10), time_base=time_base)
    path = tmp_path / "coded.mov"
    with av.open(str(plain)) as reader, av.open(str(path), "w") as writer:
        writer.metadata["timecode"] = code
        copy = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream = copy
                writer.mux(packet)
    media = read_media(path)
    assert (media.rate, media.start_frame) == (1 / time_base, first)


def test_time_codes_are_those_of_the_standard() -> None:
    # SMPTE ST 12-1: the numbers 0 and 1 are left out each minute, except every tenth.
    assert frame_of_time_code("00:00:59;29", NTSC) + 1 == frame_of_time_code("00:01:00;02", NTSC)
    assert frame_of_time_code("00:09:59;29", NTSC) + 1 == frame_of_time_code("00:10:00;00", NTSC)
    assert frame_of_time_code("01:00:00;00", NTSC) / NTSC == pytest.approx(3600, abs=0.01)
    assert frame_of_time_code("01:00:00;00", Fraction(60000, 1001)) == 2 * frame_of_time_code("01:00:00;00", NTSC)
    assert frame_of_time_code("01:00:00:00", NTSC) == 108_000
    assert frame_of_time_code("01:00:00:00", Fraction(24000, 1001)) == 86_400
    assert frame_of_time_code("nonsense", NTSC) == 0


def test_unusual_rates_have_a_rate_of_time_codes() -> None:
    assert edit_rate(Fraction(0)) == Fraction(24000, 1001)
    assert edit_rate(Fraction(10)) == 30
    assert edit_rate(Fraction(119, 1)) == 60


def test_what_is_no_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(VideoError):
        read_media(tmp_path / "a.mp4")
