"""The video reader returns the frame on screen at each time, for all kinds of video and all back ends.

Frames show their number, so a wrong frame is noticed whatever its timestamp says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mttsg_core.errors import ConfigError, VideoError
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import FrameChunk, restore_order, sample
from mttsg_core.video.watchdog import Decode, WatchedDecoder
from tests.helpers.video_files import (
    damage,
    draw,
    read_number,
    remux,
    require_encoder,
    stream_copy,
    write_audio,
    write_video,
)

B_FRAMES = {"bf": "2", "g": "10", "x264-params": "log-level=none"}
OPEN_HEVC = {"x265-params": "log-level=none:keyint=10:min-keyint=10:open-gop=1:bframes=3:scenecut=0"}
OPEN_H264 = {"x264-params": "keyint=10:min-keyint=10:open-gop=1:bframes=3:scenecut=0"}
INTRA = {"g": "1", "bf": "0"}
COUNT = 40
MILLISECOND = Fraction(1, 1000)
VARIABLE = [int(stamp) for stamp in np.cumsum([0, *np.random.default_rng(1).integers(7, 400, COUNT - 1)])]

# name -> (file name, arguments of write_video, timestamps, whether the decord back end can read it)
Case = tuple[str, dict[str, object], list[int], bool]
CASES: dict[str, Case] = {
    "constant rate": ("a.mp4", {}, list(range(COUNT)), True),
    "constant rate, mkv": ("a.mkv", {"options": B_FRAMES}, list(range(COUNT)), True),
    "variable rate": ("a.mp4", {"time_base": MILLISECOND}, VARIABLE, True),
    "variable rate, B-frames": ("a.mp4", {"time_base": MILLISECOND, "options": B_FRAMES}, VARIABLE, True),
    "B-frames": ("a.mp4", {"options": B_FRAMES}, list(range(COUNT)), True),
    "fragments": ("a.mp4", {"container_options": {"movflags": "frag_keyframe+delay_moov"}}, list(range(COUNT)), True),
    "open-GOP H.264": ("a.mp4", {"options": OPEN_H264}, list(range(COUNT)), True),
    "open-GOP HEVC": ("a.mp4", {"codec": "libx265", "options": OPEN_HEVC}, list(range(COUNT)), True),
    "late first frame": ("a.mp4", {"options": B_FRAMES}, list(range(30, 30 + COUNT)), False),
    "transport stream": ("a.ts", {"options": B_FRAMES}, list(range(50, 50 + COUNT)), False),
    "rotation 90": ("a.mp4", {"turn": 1}, list(range(COUNT)), True),
    "rotation 180": ("a.mp4", {"turn": 2}, list(range(COUNT)), True),
    "rotation 270": ("a.mp4", {"turn": 3}, list(range(COUNT)), True),
    "wide pixels": ("a.mp4", {"aspect": Fraction(4, 3)}, list(range(COUNT)), True),
    "wide pixels, rotated": ("a.mp4", {"aspect": Fraction(4, 3), "turn": 1}, list(range(COUNT)), True),
    "10 bit": ("a.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": OPEN_HEVC}, list(range(COUNT)), True),
    "VP8, hidden frames": ("a.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
                           list(range(COUNT)), True),
    "VP9": ("a.webm", {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
            list(range(COUNT)), True),
    "AV1": ("a.mp4", {"codec": "libsvtav1"}, list(range(COUNT)), False),
    "odd size": ("a.mp4", {"codec": "libvpx-vp9", "size": (67, 51)}, list(range(COUNT)), True),
    "one frame": ("a.mp4", {}, [0], True),
    "MPEG-4 in AVI": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}, list(range(COUNT)), False),
    "MPEG-2 program stream": ("a.mpg", {"codec": "mpeg2video", "options": {"bf": "2"}}, list(range(COUNT)), False),
    "Motion JPEG": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, list(range(COUNT)), True),
    "GIF": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}, list(range(COUNT)), False),
}  # fmt: skip


def collect(chunks: object) -> tuple[dict[int, float], dict[int, int]]:
    """Return the time and the number of the frame in each row that was read."""
    times, numbers = {}, {}
    for chunk in chunks:  # type: ignore[attr-defined]
        for index, time, picture in zip(chunk.indices.tolist(), chunk.times.tolist(), chunk.frames, strict=True):
            times[index], numbers[index] = time, read_number(picture)
    return times, numbers


def make(folder: Path, name: str) -> tuple[Path, np.ndarray]:
    """Write the video of a case; return it and its frame times, up to the constant that some muxers add."""
    file_name, arguments, stamps, _ = CASES[name]
    time_base = arguments.get("time_base", Fraction(1, 25))
    path = write_video(folder / file_name, stamps, **arguments)  # type: ignore[arg-type]
    return path, np.array([float(stamp * time_base) for stamp in stamps])  # type: ignore[operator]


@pytest.mark.parametrize("reader", ["auto", "pyav", "decord"])
@pytest.mark.parametrize("name", CASES)
def test_every_frame_and_time_is_correct(name: str, reader: str, tmp_path: Path) -> None:
    path, expected = make(tmp_path, name)
    info = probe(path)
    if path.suffix in (".mp4", ".mkv", ".webm", ".gif"):
        assert np.abs(info.frame_times - expected).max() <= 0.0005  # Matroska rounds to milliseconds
    else:  # these muxers delay all frames by the same time
        assert np.allclose(np.diff(info.frame_times), np.diff(expected), atol=1e-4)
    ends = np.append(info.frame_times[1:], info.duration)
    assert (ends > info.frame_times).all()
    times_shown = (info.frame_times[:, None] + (ends - info.frame_times)[:, None] * [0, 0.3, 0.9]).ravel()
    if reader == "decord":
        pytest.importorskip("decord")
        if not CASES[name][3]:
            with pytest.raises(VideoError, match="use reader pyav"):
                collect(sample(info, times_shown, (64, 48), reader=reader))
            return
    sampling = sample(info, times_shown, (64, 48), reader=reader)
    times, numbers = collect(sampling)
    assert numbers == {row: row // 3 for row in range(len(times_shown))}
    assert times == {row: info.frame_times[row // 3] for row in range(len(times_shown))}
    assert sampling.lost == 0
    assert sampling.reader == ("pyav" if reader == "auto" else reader)


@pytest.mark.parametrize("threads", [1, 2, None])
@pytest.mark.parametrize(("codec", "options"), [("libx264", B_FRAMES), ("libx264", OPEN_H264), ("libx265", OPEN_HEVC)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_stream_copies(codec: str, options: dict[str, str], suffix: str, threads: int | None, tmp_path: Path) -> None:
    """Frames before the start are hidden by an edit list (mp4); those of an open group cannot be decoded at all."""
    source = write_video(tmp_path / "whole.mp4", range(COUNT), codec=codec, options=options)
    path = stream_copy(source, tmp_path / f"copy{suffix}", 0.6 if suffix == ".mp4" else 0.4)
    info = probe(path)
    sampling = sample(info, info.frame_times, (64, 48), threads=threads)
    times, numbers = collect(sampling)
    assert sampling.lost == 0
    # The same shift for all frames: Matroska cannot store negative times, and moves them.
    shifts = [numbers[row] / 25 - times[row] for row in times]
    assert np.ptp(shifts) < 0.002
    assert numbers == {row: COUNT - len(times) + row for row in range(len(info.frame_times))}
    if suffix == ".mp4":
        assert shifts[0] == pytest.approx(0.6)
        assert info.start < 0.2
        assert info.duration == pytest.approx(1.0)


def test_a_stream_that_begins_in_the_middle_of_a_group(tmp_path: Path) -> None:
    path = remux(write_video(tmp_path / "a.mp4", range(COUNT), options=B_FRAMES), tmp_path / "b.ts", drop=3)
    info = probe(path)
    sampling = sample(info, [0.0, *info.frame_times], (64, 48))
    _, numbers = collect(sampling)
    assert numbers == {row: 10 + max(0, row - 1) for row in range(31)}  # from the second keyframe on
    assert sampling.lost == 0


def test_a_group_without_its_keyframe_is_lost(tmp_path: Path) -> None:
    path = damage(write_video(tmp_path / "a.mp4", range(COUNT), options={"g": "10", "bf": "0"}), 0)
    sampling = sample(path, np.arange(COUNT) / 25)
    _, numbers = collect(sampling)
    assert numbers == {row: row for row in range(10, COUNT)}
    assert sampling.lost == 10


def test_a_video_of_one_pixel(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(5), size=(1, 1), pix_fmt="yuv444p")
    info = probe(path)
    assert (info.width, info.height, len(info.frame_times)) == (1, 1, 5)
    chunks = list(sample(info, info.frame_times))
    assert np.concatenate([chunk.frames for chunk in chunks]).shape == (5, 1, 1, 3)
    assert np.concatenate([chunk.frames for chunk in sample(info, [0.0], (8, 4))]).shape == (1, 4, 8, 3)


@pytest.mark.parametrize("turn", range(4))
def test_the_display_size_includes_aspect_and_rotation(turn: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(3), size=(60, 48), aspect=Fraction(4, 3), turn=turn)
    info = probe(path)
    assert (info.width, info.height) == ((48, 80) if turn % 2 else (80, 48))
    (chunk,) = sample(info, [0.0])
    assert chunk.frames.shape == (1, info.height, info.width, 3)
    assert read_number(chunk.frames[0]) == 0


def test_a_resolution_that_changes(tmp_path: Path) -> None:
    first = write_video(tmp_path / "a.ts", range(10), size=(64, 48), options=INTRA)
    second = write_video(tmp_path / "b.ts", range(10, 20), size=(96, 80), options=INTRA)
    path = tmp_path / "c.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    info = probe(path)
    assert (info.width, info.height) == (64, 48)
    assert len(info.frame_times) == 20
    _, numbers = collect(sample(info, info.frame_times))
    assert numbers == {row: row % 10 for row in range(20)}  # each file counts from 0


@pytest.mark.parametrize(
    ("matrix", "full", "planes"),
    [("bt709", False, (63, 102, 240)), ("smpte170m", False, (81, 90, 240)), ("bt709", True, (54, 99, 255))],
)
def test_colours_follow_the_declared_matrix_and_range(
    matrix: str, full: bool, planes: tuple[int, int, int], tmp_path: Path
) -> None:
    """Pure red, as each standard encodes it."""
    require_encoder("libx264")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        parameters = f"colormatrix={matrix}:range={'pc' if full else 'tv'}"
        stream = container.add_stream("libx264", rate=25, options={"crf": "5", "x264-params": parameters})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, planes, strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (chunk,) = sample(path, [0.0], (32, 24))
    assert np.abs(chunk.frames[0].astype(int) - [255, 0, 0]).max() <= 6


def test_scaling_averages_over_all_pixels(tmp_path: Path) -> None:
    require_encoder("ffv1")
    fine = np.indices((64, 64)).sum(axis=0) % 2 * 200 + 20
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        picture = np.repeat(fine[..., None], 3, axis=2).astype(np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv444p")))
        container.mux(stream.encode(None))
    (chunk,) = sample(path, [0.0], (8, 8))
    assert np.abs(chunk.frames.astype(int) - 120).max() < 12


def test_times_outside_the_video_and_repeated_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(30, 40))  # 1.2 s .. 1.6 s
    times, numbers = collect(sample(path, [-3, 0.0, 1.1, 1.25, 1.25, 1.26, 99]))
    assert numbers == {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 9}
    assert times[0] == 1.2
    assert probe(path).duration == pytest.approx(1.6)


def test_chunks_are_bounded_and_owned_by_the_caller(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(10))
    chunks = list(sample(path, np.repeat(np.arange(10) / 25, 3), chunk=8))
    assert [len(chunk.indices) for chunk in chunks] == [8, 8, 8, 6]
    assert np.concatenate([chunk.indices for chunk in chunks]).tolist() == list(range(30))
    assert [read_number(frame) for chunk in chunks for frame in chunk.frames] == [row // 3 for row in range(30)]
    large = list(sample(path, np.arange(10) / 25, (4000, 3000)))
    assert [len(chunk.indices) for chunk in large] == [1] * 10  # 36 MB each
    assert isinstance(chunks[0], FrameChunk)


def test_no_times(tmp_path: Path) -> None:
    sampling = sample(write_video(tmp_path / "a.mp4", range(3)), [])
    assert list(sampling) == []
    assert sampling.lost == 0


def test_a_sampling_can_be_abandoned_and_iterated_again(tmp_path: Path) -> None:
    sampling = sample(write_video(tmp_path / "a.mp4", range(10)), np.arange(10) / 25, chunk=2)
    next(iter(sampling))
    assert sum(len(chunk.indices) for chunk in sampling) == 10


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"times": [1.0, 0.0]}, ValueError),
        ({"times": [float("nan")]}, ValueError),
        ({"times": [[0.0]]}, ValueError),
        ({"times": [0.0], "reader": "ffms2"}, ConfigError),
        ({"times": [0.0], "chunk": 0}, ConfigError),
        ({"times": [0.0], "threads": 0}, ConfigError),
        ({"times": [0.0], "size": (0, 4)}, ConfigError),
    ],
)
def test_invalid_arguments_are_rejected(arguments: dict[str, object], error: type[Exception], tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(3))
    with pytest.raises(error):
        sample(path, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("number", [0, 1, 20, 37, 38, 39])
def test_only_the_damaged_frame_is_lost_and_counted(number: int, threads: int, tmp_path: Path, capfd: object) -> None:
    path = damage(write_video(tmp_path / "a.mp4", range(COUNT), options=INTRA), number)
    info = probe(path)
    assert len(info.frame_times) == COUNT
    sampling = sample(info, np.repeat(info.frame_times, 2), threads=threads)
    _, numbers = collect(sampling)
    assert numbers == {row: row // 2 for row in range(2 * COUNT) if row // 2 != number}
    assert sampling.lost == 1
    assert capfd.readouterr() == ("", "")  # type: ignore[attr-defined]


def test_many_damaged_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(COUNT), options=INTRA)
    bad = {3, 4, 5, 17, 30, 36, 39}
    for number in bad:
        damage(path, number)
    for threads in (1, 3, None):
        sampling = sample(path, np.arange(COUNT) / 25, threads=threads)
        _, numbers = collect(sampling)
        assert numbers == {row: row for row in range(COUNT) if row not in bad}
        assert sampling.lost == len(bad)


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([1, 0, 3, 2], [0, 1, 2, 3]),
        ([3, 2, 1, 0], [1, 2, 3]),  # at most two are held back, so the last comes too late
        ([0, 2, 3], [0, 2, 3]),
        ([2, 3, 4, 5, 1], [2, 3, 4, 5]),
        ([], []),
    ],
)
def test_frames_decoded_out_of_order(decoded: list[int], expected: list[int]) -> None:
    picture = np.zeros((1, 1, 3), dtype=np.uint8)
    rows = list(restore_order([(index / 10, picture) for index in decoded], np.arange(6) / 10, max_held=2))
    assert [index for index, _, _ in rows] == expected
    assert [time for _, time, _ in rows] == [index / 10 for index in expected]


def test_a_stream_that_appears_partway(tmp_path: Path) -> None:
    first = write_video(tmp_path / "a.ts", range(10), options=INTRA)
    audio = write_audio(tmp_path / "b.ts")
    path = tmp_path / "c.ts"
    path.write_bytes(first.read_bytes() + audio.read_bytes())
    _, numbers = collect(sample(path, probe(path).frame_times))
    assert numbers == {row: row for row in range(10)}


def test_a_decoder_that_never_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames before the stall come from the first pass, those behind it from a pass without threads."""
    path = write_video(tmp_path / "a.mp4", range(COUNT), codec="libx265", options=OPEN_HEVC)
    calls = 0

    class StallsAtTheTwentiethCall(WatchedDecoder):
        def __init__(self, decode: Decode) -> None:
            def decode_or_stall(packet: object) -> list[av.VideoFrame]:
                if calls == 20:
                    threading.Event().wait()
                return decode(packet)  # type: ignore[arg-type]

            super().__init__(decode_or_stall)

        def __call__(self, packet: object) -> list[av.VideoFrame]:
            nonlocal calls
            calls += 1
            if calls == 20:
                self._timeout = 0.1
            return super().__call__(packet)  # type: ignore[arg-type]

    monkeypatch.setattr("mttsg_core.video.pyav.WatchedDecoder", StallsAtTheTwentiethCall)
    sampling = sample(path, np.arange(COUNT) / 25, threads=2)
    _, numbers = collect(sampling)
    assert calls == 20
    assert numbers == {row: row for row in range(COUNT)}
    assert sampling.lost == 0


def truncate(path: Path, share: float) -> Path:
    """Keep only the given share of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv"])
def test_a_truncated_video_is_read_up_to_its_end(suffix: str, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = write_video(tmp_path / f"a{suffix}", range(100), options=INTRA, container_options=options)
    start = probe(whole).start
    info = probe(truncate(whole, 0.5))
    assert info.missing_end == pytest.approx(start + 4 - info.duration, abs=0.1)
    assert 20 < len(info.frame_times) < 80
    sampling = sample(info, info.frame_times)
    _, numbers = collect(sampling)
    assert set(numbers.items()) >= {(row, row) for row in range(len(info.frame_times) - 1)}
    assert sampling.lost <= 1  # the last packet may be incomplete


def test_a_complete_video_has_no_missing_end(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".ts", ".avi", ".flv"):
        assert probe(write_video(tmp_path / f"a{suffix}", range(60), options=B_FRAMES)).missing_end == 0


def test_the_helpers_read_only_upright_pictures() -> None:
    transforms: list[Callable[[np.ndarray], np.ndarray]] = [
        np.rot90,
        np.flipud,
        np.fliplr,
        lambda picture: np.rot90(picture, 2),
    ]
    for number in (0, 1, 1234, 4095):
        picture = draw(number, 64, 48)
        assert read_number(picture) == number
        assert all(read_number(transform(picture)) == -1 for transform in transforms)
