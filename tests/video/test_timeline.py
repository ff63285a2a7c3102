"""Times are counted from the container's start time and only ascend, whatever clock a file has.

Frames show their number, so a wrong time is noticed whatever the timestamps say.
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mttsg_core.moments import Timeline
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample
from mttsg_core.video.trim import trim
from mttsg_core.video.unfolding import NO_STAMP, PacketTable, Unfolding, lacks_stamps
from tests.helpers.video_files import damage, read_number, remux, write_video
from tests.video.test_trim import pitch, read_audio, write_with_audio

CASES = Path(__file__).parents[3] / "shared" / "cases"
B_FRAMES = {"bf": "2", "g": "10"}
WRAP = 2**33 / 90_000  # seconds after which the clock of a transport stream starts from 0
HOUR = 3600

needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} does not exist")


def frames(path: Path) -> list[tuple[float, int]]:
    """Return when each frame is shown, and the number on it."""
    info = probe(path)
    sampling = sample(info, info.frame_times, (64, 48))
    shown = [
        (float(time), read_number(picture))
        for chunk in sampling
        for time, picture in zip(chunk.times, chunk.frames, strict=True)
    ]
    assert sampling.lost == 0
    return shown


def check(path: Path, numbers: list[int], start: float = 0.0, interval: float = 0.04) -> None:
    """Check that frame i shows `numbers[i]` at start + i * interval seconds, and what excerpts show."""
    expected = [(pytest.approx(start + i * interval, abs=6e-4), number) for i, number in enumerate(numbers)]
    assert frames(path) == expected
    assert probe(path).duration == pytest.approx(start + len(numbers) * interval, abs=1e-3)
    for first, last in ((len(numbers) // 4, len(numbers) // 2), (len(numbers) - 5, len(numbers))):
        excerpt = path.with_name("excerpt.mp4")
        trim(path, start + (first - 0.2) * interval, start + (last - 0.2) * interval, excerpt)
        shown = [number for _, number in frames(excerpt)]
        assert shown == numbers[first - 1 : last]


def join(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two videos with B-frames that show 0..49 and 500..539, and a short one that shows 900..902."""
    folder = tmp_path_factory.mktemp("videos")
    return {
        "a": write_video(folder / "a.mp4", range(50), options=B_FRAMES),
        "b": write_video(folder / "b.mp4", range(40), first=500, options=B_FRAMES),
        "short": write_video(folder / "short.mp4", range(3), first=900, options=B_FRAMES),
    }


def numbers_of(name: str) -> list[int]:
    return {"a": list(range(50)), "b": list(range(500, 540)), "short": [900, 901, 902]}[name]


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", ".avi", B_FRAMES),
        ("libx264", ".avi", {"g": "10", "x264-params": "bframes=3:b-pyramid=normal:b-adapt=0"}),
        ("libx264", ".avi", {"bf": "0", "g": "10"}),
        ("libx264", ".avi", {"g": "60", "x264-params": "bframes=16:b-pyramid=none:b-adapt=2"}),
        ("libx264", ".avi", {"g": "60", "x264-params": "bframes=12:b-pyramid=normal:b-adapt=0"}),
        ("mpeg4", ".avi", B_FRAMES),
        ("mpeg4", ".avi", {"g": "10"}),
        ("mpeg2video", ".avi", B_FRAMES),
        ("mpeg4", ".wmv", B_FRAMES),
        ("libx264", ".wmv", B_FRAMES),
    ],
)
def test_containers_that_store_decoding_times(codec: str, suffix: str, options: dict[str, str], tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a{suffix}", range(60), codec=codec, options=options)
    check(path, list(range(60)))
    trim(path, 1.0, 2.0, tmp_path / "second.mp4")
    assert [number for _, number in frames(tmp_path / "second.mp4")] == list(range(25, 50))


@pytest.mark.parametrize("number", [0, 5, 11, 12, 30, 59])
def test_a_lost_frame_does_not_move_the_others_of_an_avi(number: int, tmp_path: Path) -> None:
    path = damage(write_video(tmp_path / "a.avi", range(60), codec="mpeg4", options={"g": "1"}), number)
    info = probe(path)
    sampling = sample(info, info.frame_times, (64, 48))
    shown = {
        round(time * 25): read_number(frame)
        for chunk in sampling
        for time, frame in zip(chunk.times, chunk.frames, strict=True)
    }
    assert all(shown[place] == place for place in shown if place != number)
    assert len(shown) >= 59


@pytest.mark.parametrize("number", [5, 12, 13, 30, 31, 32, 58])
def test_a_lost_frame_moves_none_outside_its_group(number: int, tmp_path: Path) -> None:
    path = damage(write_video(tmp_path / "a.avi", range(60), codec="mpeg4", options=B_FRAMES), number)
    info = probe(path)
    shown = [
        (round(time * 25), read_number(frame))
        for chunk in sample(info, info.frame_times, (64, 48), threads=1)
        for time, frame in zip(chunk.times, chunk.frames, strict=True)
    ]
    others = [(place, shows) for place, shows in shown if place // 10 != number // 10 and shows // 10 != number // 10]
    assert all(place == shows for place, shows in others)
    assert len(others) >= 47


@pytest.mark.parametrize("suffix", [".ts", ".m2ts", ".mkv", ".flv", ".nut"])
@pytest.mark.parametrize("start", [0, 1.4, HOUR, 10 * HOUR])
def test_a_clock_that_starts_anywhere(suffix: str, start: float, videos: dict[str, Path], tmp_path: Path) -> None:
    path = remux(videos["a"], tmp_path / f"a{suffix}", shift=start)
    check(path, numbers_of("a"))
    assert probe(path).start == 0


def test_a_late_first_frame_of_an_mp4_keeps_its_time_and_an_hour_is_a_clock(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    check(remux(videos["a"], tmp_path / "a.mp4", shift=1.4), numbers_of("a"), start=1.4)
    check(remux(videos["a"], tmp_path / "b.mp4", shift=HOUR), numbers_of("a"))
    path = remux(videos["a"], tmp_path / "c.mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"})
    with av.open(str(path)) as container:
        ticks = round(HOUR / container.streams.video[0].time_base)
    data = bytearray(path.read_bytes())
    for match in re.finditer(b"tfdt\1\0\0\0", data):  # the time of a fragment, as in a segment of a live stream
        time = int.from_bytes(data[match.end() : match.end() + 8], "big") + ticks
        data[match.end() : match.end() + 8] = time.to_bytes(8, "big")
    path.write_bytes(data)
    check(path, numbers_of("a"))


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_sound_that_begins_before_the_picture(suffix: str, tmp_path: Path) -> None:
    """Time 0 is where the sound begins."""
    source = write_with_audio(tmp_path / "a.mp4", seconds=3.0)
    path = tmp_path / f"b{suffix}"
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        for packet in reader.demux():
            if packet.size:
                late = 1 if packet.stream.type == "video" else 0
                packet.pts += round(late / packet.time_base)
                packet.dts += round(late / packet.time_base)
                packet.stream = copies[packet.stream.index]
                writer.mux(packet)
    with av.open(str(path)) as container:
        start = container.start_time / av.time_base
        first = next(packet for packet in container.demux(video=0))
        expected = float(first.pts * first.time_base) - start
    assert 0.9 < expected < 1.2
    assert probe(path).start == pytest.approx(expected, abs=1e-3)
    assert frames(path) == [(pytest.approx(expected + number / 25, abs=1e-3), number) for number in range(75)]


@pytest.mark.parametrize(
    ("suffix", "starts"),
    [
        (".ts", (0, 0)),
        (".ts", (10 * HOUR, 0)),
        (".ts", (0, 10 * HOUR)),
        (".ts", (0, 20 * HOUR)),
        (".ts", (WRAP - 1, 500)),
        (".ts", (100, WRAP - 30)),
        (".m2ts", (0, 0)),
        (".mkv", (0, 0)),
    ],
)
@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_clock_that_starts_again(
    suffix: str, starts: tuple[float, float], names: tuple[str, str], videos: dict[str, Path], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    parts = [
        remux(videos[name], tmp_path / f"{name}{suffix}", shift=start)
        for name, start in zip(names, starts, strict=True)
    ]
    path = join(tmp_path / f"joined{suffix}", *parts)
    check(path, numbers_of(names[0]) + numbers_of(names[1]))
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="mttsg"):
        info = probe(path)
        trim(info, 0.1, 0.2, tmp_path / "excerpt.mp4")
        trim(path, 0.1, 0.2, tmp_path / "excerpt.mp4")
    assert info.clock_restarts == 1
    assert [record.message for record in caplog.records] == [
        f"{path}: its clock starts again or jumps once; the parts follow one another without a gap"
    ]


def test_many_parts_some_of_them_short(videos: dict[str, Path], tmp_path: Path) -> None:
    names = ["short", "a", "short", "b", "short"]
    parts = [remux(videos[name], tmp_path / f"{i}.ts", shift=[0, 70, 9000][i % 3]) for i, name in enumerate(names)]
    path = join(tmp_path / "joined.ts", *parts)
    check(path, [number for name in names for number in numbers_of(name)])
    assert probe(path).clock_restarts == 4


def test_joined_program_streams(tmp_path: Path) -> None:
    parts = [
        write_video(tmp_path / f"{i}.vob", range(40), first=500 * i, codec="mpeg2video", options=B_FRAMES)
        for i in range(3)
    ]
    path = join(tmp_path / "joined.vob", *parts)
    check(path, [*range(40), *range(500, 540), *range(1000, 1040)])
    assert probe(path).clock_restarts == 2


@pytest.mark.parametrize("start", [WRAP - 1, WRAP - 0.5, WRAP, WRAP - 30])
def test_a_clock_that_wraps_around(start: float, videos: dict[str, Path], tmp_path: Path) -> None:
    path = remux(videos["a"], tmp_path / "a.ts", shift=start)
    check(path, numbers_of("a"))
    assert probe(path).clock_restarts == 0


def test_a_clock_that_wraps_around_again(videos: dict[str, Path], tmp_path: Path) -> None:
    """A part whose clock says 2^33 ticks more than it should is where the first one ends."""
    first = remux(videos["a"], tmp_path / "a.ts", shift=10)
    path = join(tmp_path / "joined.ts", first, remux(videos["b"], tmp_path / "b.ts", shift=12 + WRAP))
    check(path, numbers_of("a") + numbers_of("b"))
    assert probe(path).clock_restarts == 0


def test_a_short_gap_in_a_broadcast_is_kept(videos: dict[str, Path], tmp_path: Path) -> None:
    first = remux(videos["a"], tmp_path / "a.ts")
    path = join(tmp_path / "joined.ts", first, remux(videos["b"], tmp_path / "b.ts", shift=12))
    shown = frames(path)
    assert shown[50][0] == pytest.approx(12, abs=0.1)
    assert shown[50][1] == 500
    assert probe(path).clock_restarts == 0


@pytest.mark.parametrize("bf", ["0", "2"])
@pytest.mark.parametrize(("suffix", "seconds"), [(".ts", 50), (".mkv", 1800), (".mp4", 1800), (".flv", 500)])
def test_a_frame_that_stays_for_long_is_no_jump(suffix: str, seconds: int, bf: str, tmp_path: Path) -> None:
    stamps = [*range(20), *range(25 * seconds, 25 * seconds + 20)]
    path = write_video(tmp_path / f"a{suffix}", stamps, options={"bf": bf, "g": "50"})
    assert frames(path) == [(pytest.approx(stamp / 25, abs=6e-4), number) for number, stamp in enumerate(stamps)]
    assert probe(path).clock_restarts == 0
    trim(path, 0.5, seconds + 0.5, tmp_path / "excerpt.mp4")
    assert [number for _, number in frames(tmp_path / "excerpt.mp4")] == list(range(12, 33))


def test_slides_whose_decoding_times_are_unknown(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", [0, 30, 60, 90], time_base=Fraction(1), options={"bf": "2"})
    assert frames(path) == [(30.0 * number, number) for number in range(4)]


def test_a_matroska_file_without_decoding_times_whose_packets_lack_stamps_is_read() -> None:
    """Packets are tables here, because no muxer writes them."""
    stamps = np.array([0, 120, 40, 80, 240, NO_STAMP, 200], dtype=np.int64)
    count = len(stamps)
    table = PacketTable(
        pts=stamps,
        dts=np.full(count, NO_STAMP),
        durations=np.full(count, 40),
        displayed=np.ones(count, dtype=bool),
        keyframes=np.arange(count) == 0,
        first_decoded=0,
        sound_times=np.zeros(0),
    )
    assert not lacks_stamps(table)
    unfolding = Unfolding(table, Fraction(1, 1000), {"matroska"}, decoding_order=False, announced_end=0.28)
    assert unfolding.stamps[unfolding.displayed].tolist() == [0, 120, 40, 80, 240, 200]


def test_a_jump_that_the_header_does_not_announce_is_closed(tmp_path: Path) -> None:
    """A live recording in Matroska has no duration in its header."""
    stamps = [*range(20), *(200_000 + number for number in range(20))]  # 8,000 s later
    path = write_video(tmp_path / "a.mkv", stamps, options={"bf": "0"}, container_options={"live": "1"})
    check(path, list(range(40)))
    assert probe(path).clock_restarts == 1
    kept = write_video(tmp_path / "b.mkv", stamps, options={"bf": "0"})
    assert frames(kept)[20][0] == pytest.approx(8000)
    assert probe(kept).clock_restarts == 0


def test_a_still_picture_with_sound_is_no_jump(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        audio = container.add_stream("mp2", rate=16_000, layout="mono")
        for second in range(100):
            if second in (0, 99):
                for number in range(5):
                    frame = av.VideoFrame(64, 48, "yuv420p")
                    frame.pts, frame.time_base = second * 25 + number, Fraction(1, 25)
                    container.mux(video.encode(frame))
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), dtype=np.int16), "s16", "mono")
            sound.sample_rate, sound.pts, sound.time_base = 16_000, second * 16_000, Fraction(1, 16_000)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    info = probe(path)
    assert info.clock_restarts == 0
    assert 99 < info.duration < 100


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_sound_follows_the_picture_of_joined_recordings(suffix: str, tmp_path: Path) -> None:
    """In each part the tone is 200 + 100 * floor(t) Hz."""
    source = write_with_audio(tmp_path / "a.mp4", seconds=4.0)
    parts = [remux(source, tmp_path / f"{i}{suffix}", shift=start) for i, start in enumerate((5, 2))]
    path = join(tmp_path / f"joined{suffix}", *parts)
    info = probe(path)
    assert [number for _, number in frames(path)] == [*range(100), *range(100)]
    for start, tone in ((1.0, 300), (2.9, 400), (4.0, 200), (6.0, 400)):
        trim(path, info.start + start + 0.15, info.start + start + 0.85, tmp_path / "excerpt.mp4")
        samples, rate = read_audio(tmp_path / "excerpt.mp4")
        middle = samples[int(0.1 * rate) : int((0.6 if start != 2.9 else 0.85) * rate)]
        if start == 2.9:
            tone = 500
            middle = middle[int(0.1 * rate) :]
        assert pitch(middle, rate) == pytest.approx(tone, abs=12)


def test_a_damaged_timestamp_moves_no_other_frame(tmp_path: Path, videos: dict[str, Path]) -> None:
    """Such a frame may be left out."""
    path = remux(videos["a"], tmp_path / "a.ts")
    data = bytearray(path.read_bytes())
    headers = [at for at in range(0, len(data), 188) if data[at + 1] & 0x40 and b"\0\0\1\xe0" in data[at : at + 188]]
    for number, flip in ((8, 0x0E), (23, 0x04), (31, 0x08)):
        header = data.index(b"\0\0\1\xe0", headers[number])
        data[header + 9] ^= flip  # the highest bits of the display time
        data[header + 14] ^= flip  # and of the decoding time
    path.write_bytes(data)
    shown = frames(path)
    assert len(shown) >= 47
    assert all(abs(time - number / 25) < 1e-6 for time, number in shown)
    assert probe(path).duration == pytest.approx(2.0)


def test_timestamps_that_are_equal_or_negative(tmp_path: Path, videos: dict[str, Path]) -> None:
    path = tmp_path / "a.mp4"
    options = {"avoid_negative_ts": "disabled", "use_editlist": "0"}
    info = probe(remux(videos["a"], path, shift=-0.5, options=options))
    assert info.start >= 0
    assert (np.diff(info.frame_times) > 0).all()
    stamps = [0, 40, 80, 80, 120, 160]  # the third and the fourth frame share a time
    with av.open(str(tmp_path / "b.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        picture = av.Packet(_jpeg())
        for stamp in stamps:
            packet = av.Packet(bytes(picture))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, stamp, stamp, Fraction(1, 1000)
            packet.is_keyframe = True
            container.mux(packet)
    assert probe(tmp_path / "b.mkv").frame_times.tolist() == [0, 0.04, 0.08, 0.12, 0.16]


def _jpeg() -> bytes:
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, "yuvj420p", Fraction(1, 25)
    return bytes(context.encode(av.VideoFrame(64, 48, "yuvj420p"))[0])


def test_features_cover_the_video_whatever_its_clock_says(videos: dict[str, Path], tmp_path: Path) -> None:
    timelines = []
    for suffix, start in ((".mp4", 0), (".ts", 1.4), (".ts", 10 * HOUR), (".mkv", HOUR)):
        info = probe(remux(videos["a"], tmp_path / f"a{suffix}", shift=start))
        timelines.append(Timeline.at_rate(info.duration - info.start, 2.0, info.start))
    assert {(line.start, round(line.duration, 6), line.clips) for line in timelines} == {(0.0, 2.0, 4)}


@needs_cases
@pytest.mark.data
@pytest.mark.parametrize("name", ["h264_b.avi", "mpeg4_b.avi", "h.flv", "mpeg2.vob"])
def test_reported_avi(name: str, tmp_path: Path) -> None:
    path = CASES / "avi" / name
    assert frames(path) == [(pytest.approx(number / 25, abs=1e-6), number) for number in range(100)]
    trim(path, 1.0, 2.0, tmp_path / "excerpt.mp4")
    assert frames(tmp_path / "excerpt.mp4") == [
        (pytest.approx(place / 25, abs=1e-4), 25 + place) for place in range(25)
    ]


@needs_cases
@pytest.mark.data
def test_reported_clock_restart(tmp_path: Path) -> None:
    path = CASES / "clock_restart" / "numbers.ts"
    numbers = [*range(100), *range(500, 650)]
    assert frames(path) == [(pytest.approx(place / 25), number) for place, number in enumerate(numbers)]
    info = probe(path)
    assert (len(info.frame_times), info.clock_restarts) == (250, 1)
    assert info.duration == pytest.approx(10.0)
    trim(path, 3.8, 4.4, tmp_path / "excerpt.mp4")
    assert [number for _, number in frames(tmp_path / "excerpt.mp4")] == numbers[95:110]


@needs_cases
@pytest.mark.data
def test_reported_clock_offsets() -> None:
    paths = [
        "rec10h.ts",
        "seg1h.mkv",
        "ts_eval_mp4/videos/0004.mp4",
        "ts_eval_ts/videos/0004.ts",
        "ts_train/videos/a.ts",
    ]
    for path in paths:
        info = probe(CASES / "clock_offset" / path)
        assert (info.start, len(info.frame_times)) == (0, 484)
        assert info.duration == pytest.approx(38.72)


@needs_cases
@pytest.mark.data
def test_reported_media() -> None:
    expected = {
        "one_frame.mp4": (1, 0.08),
        "two_frames.mkv": (2, 0.16),
        "fps240.mp4": (240, 1.0),
        "slides.mp4": (5, 40.0),
    }
    for name, (count, duration) in expected.items():
        info = probe(CASES / "media" / name)
        assert len(info.frame_times) == count
        assert (info.start, info.duration) == (0, pytest.approx(duration))
        assert sum(len(chunk.indices) for chunk in sample(info, info.frame_times, (32, 24))) == count
