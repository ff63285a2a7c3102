"""Files that are not videos, or pretend to be something else, are refused with the right reason and no side effects."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mttsg_core.errors import (
    CorruptVideoError,
    MttsgError,
    NotAVideoError,
    UnsupportedVideoError,
    VideoError,
    VideoNotFoundError,
)
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample
from tests.helpers.video_files import PROBLEM_VIDEOS, read_number, write_audio, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4", range(10))


NAMES = [
    "-video.mp4",
    "--help",
    "with space.mp4",
    "new\nline.mp4",
    "ünïcødé 動画.mp4",
    "file:a.mp4",
    "http:a.mp4",
    "concat:a.mp4|b.mp4",
    "pipe:0",
    "data:video.mp4",
    "subfile,,start,0,end,9,,:a.mp4",
    "%03d.mp4",
    "list.m3u8",
    "video.txt",
    "video.png",
    "no_suffix",
    "'quotes\" $HOME.mp4",
]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not allow these names")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relative", [True, False])
def test_any_name_is_read_as_a_plain_file(
    name: str, relative: bool, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(video.read_bytes())
    monkeypatch.chdir(tmp_path)
    argument = name if relative else path
    assert probe(argument).path == Path(argument)
    (chunk,) = sample(argument, [0.2])
    assert read_number(chunk.frames[0]) == 5
    path.unlink()
    with pytest.raises(VideoNotFoundError):
        probe(argument)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text on other systems")
def test_a_name_that_is_not_text(video: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.mp4")
    path.write_bytes(video.read_bytes())
    assert len(probe(path).frame_times) == 10
    assert len(list(sample(path, [0.1]))) == 1


@pytest.mark.parametrize(
    "name", ["missing.mp4", "http://127.0.0.1:9/a.mp4", "concat:a.mp4|b.mp4", "pipe:0", "a\0b", "-"]
)
def test_a_missing_file(name: str) -> None:
    with pytest.raises(VideoNotFoundError, match="no such file"):
        probe(name)


def test_a_path_below_a_file(video: Path) -> None:
    with pytest.raises(VideoNotFoundError):
        probe(video / "more.mp4")


def write_image(path: Path) -> None:
    codec = {"jpg": "mjpeg", "png": "png", "bmp": "bmp"}[path.suffix[1:]]
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream(codec, rate=1)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24", "bmp": "bgr24"}[codec]
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), dtype=np.uint8), format="rgb24")
        container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


ZEROS = "a file that begins with zeros, not a video: an unfinished download or copy, probably; download the file again"
NOT_VIDEOS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "folder": ("a.mp4", Path.mkdir, "is a folder"),
    "empty": ("a.mp4", Path.touch, "empty file"),
    "text": ("a.txt", text("Once upon a time.\n" * 50), "a text file, not a video"),
    "text as mp4": ("a.mp4", text("Once upon a time.\n" * 50), "a text file, not a video"),
    "annotations": ("a.json", text('{"a.mp4": 1}'), "a text file, not a video"),
    "zeros": ("a.mp4", lambda path: path.write_bytes(bytes(100_000)), ZEROS),
    "noise": ("a.mkv", lambda path: path.write_bytes(np.random.default_rng(0).bytes(100_000)), "not a video"),
    "wav": ("a.wav", write_audio, "no video stream"),
    "sound in mp4": ("a.m4a", write_audio, "no video stream"),
    "sound in mov": ("a.mov", write_audio, "no video stream"),
    "jpg": ("a.jpg", write_image, "an image, not a video"),
    "png": ("a.png", write_image, "an image, not a video"),
    "bmp": ("a.bmp", write_image, "an image, not a video"),
    "subtitles": ("a.srt", text("1\n00:00:00,000 --> 00:00:01,000\nHello\n"), "a text file, not a video"),
    "session description": (
        "a.sdp",
        text("v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"),
        "a text file, not a video",
    ),
}


@pytest.mark.parametrize("name", NOT_VIDEOS)
def test_a_file_that_is_not_a_video(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file_name, make, reason = NOT_VIDEOS[name]
    path = tmp_path / file_name
    make(path)
    with pytest.raises(NotAVideoError) as caught:
        probe(path)
    assert caught.value.reason == reason
    assert str(caught.value) == f"{path}: {reason}"
    assert capfd.readouterr() == ("", "")


def test_cover_art_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        art = container.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 64, 48, "yuvj420p"
        try:
            art.disposition = av.stream.Disposition.attached_pic
        except (AttributeError, TypeError):
            pytest.skip("this PyAV cannot mark a stream as cover art")
        container.mux(art.encode(av.VideoFrame(64, 48, "yuvj420p")))
        container.mux(art.encode(None))
    with av.open(str(path)) as container:
        if not container.streams.video[0].disposition & av.stream.Disposition.attached_pic:
            pytest.skip("this FFmpeg does not write the mark")
    with pytest.raises(NotAVideoError, match="no video stream, only a still image"):
        probe(path)


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "\ufeff\n#EXTM3U\n#EXTINF:1,\n{video}\n",
        "ffconcat version 1.0\nfile '{video}'\n",
        "ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/a.mp4'\n",
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{video}</BaseURL></MPD>\n',
    ],
)
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "list.mpd"])
def test_playlists_are_refused_and_not_followed(content: str, name: str, video: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        path = tmp_path / name
        path.write_text(content.format(video=video, port=server.getsockname()[1]), encoding="utf-8")
        with pytest.raises(NotAVideoError, match="a playlist, not a video"):
            probe(path)
        with pytest.raises(BlockingIOError):  # no connection was made
            server.accept()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_or_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero"), Path("/dev/stdin")):
        if path.is_file():
            continue  # a file redirected to the tests' standard input
        with pytest.raises(VideoError):
            probe(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(video.read_bytes())
    path.chmod(0)
    with pytest.raises(VideoError, match="permission denied"):
        probe(path)


def test_a_loop_of_links(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    try:
        path.symlink_to(path)
    except OSError:
        pytest.skip("needs symbolic links")
    with pytest.raises(VideoError):
        probe(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_an_mp4_without_its_index(suffix: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a{suffix}", range(50))
    whole = path.read_bytes()
    for size, state in ((900, "missing"), (whole.index(b"moov") + 99, "cut off")):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptVideoError) as caught:
            probe(path)
        assert caught.value.reason == f"truncated or damaged: its index (moov) is {state}"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".flv", ".ts", ".webm"])
def test_every_truncated_file_is_read_or_refused(suffix: str, tmp_path: Path) -> None:
    codec = "libvpx" if suffix == ".webm" else "libx264"
    whole = write_video(tmp_path / f"a{suffix}", range(20), codec=codec).read_bytes()
    for size in [*range(1, 60, 7), *np.linspace(60, len(whole) - 1, 25, dtype=int).tolist()]:
        path = tmp_path / f"part{suffix}"
        path.write_bytes(whole[:size])
        try:
            info = probe(path)
        except (CorruptVideoError, NotAVideoError):
            continue
        sampling = sample(info, info.frame_times)
        rows = sum(len(chunk.indices) for chunk in sampling)
        assert rows + sampling.lost == len(info.frame_times)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".flv", ".ts", ".webm", ".gif"])
def test_every_corrupted_file_is_read_or_refused(suffix: str, tmp_path: Path) -> None:
    codec, pix_fmt = {".webm": ("libvpx-vp9", "yuv420p"), ".gif": ("gif", "rgb8")}.get(suffix, ("libx264", "yuv420p"))
    whole = write_video(tmp_path / f"a{suffix}", range(20), codec=codec, pix_fmt=pix_fmt).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(30):
        data = np.frombuffer(whole, dtype=np.uint8).copy()
        positions = random.integers(0, len(data), 20)
        data[positions] = random.integers(0, 256, 20)
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(data.tobytes())
        try:
            info = probe(path)
            if info.width * info.height > 10_000_000:
                continue
            sampling = sample(info, info.frame_times[:200], (32, 24))
            rows = sum(len(chunk.indices) for chunk in sampling)
        except MttsgError:
            continue
        assert rows + sampling.lost == min(200, len(info.frame_times))


def test_an_unknown_codec(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(video.read_bytes().replace(b"avc1", b"zz9z"))
    with pytest.raises(UnsupportedVideoError, match="video codec"):
        probe(path)


def test_a_raw_stream_has_no_timestamps(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedVideoError, match="without timestamps"):
        probe(write_video(tmp_path / "a.h264", range(10)))


def test_impossible_timestamps(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", [0, 40, 700_000_000], time_base=Fraction(1, 1000))
    with pytest.raises(CorruptVideoError, match="damaged timestamps"):
        probe(path)


def test_errors_and_video_infos_can_be_pickled(video: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoNotFoundError) as caught:
        probe(tmp_path / "missing.mp4")
    assert pickle.loads(pickle.dumps(caught.value)).reason == "no such file"  # noqa: S301 - pickled above
    info = probe(video)
    assert pickle.loads(pickle.dumps(info)).frame_times.tolist() == info.frame_times.tolist()  # noqa: S301


READS_COLOURSPACE = int(av.__version__.split(".")[0]) >= 17  # older versions read BT.709 as BT.601 by default
REASONS = {"empty.webm": "empty file", "sine_mono_s32_8000.wav": "no video stream"}


@pytest.mark.data
@pytest.mark.skipif(not PROBLEM_VIDEOS.is_dir(), reason=f"{PROBLEM_VIDEOS} does not exist")
@pytest.mark.parametrize(
    "path", sorted(PROBLEM_VIDEOS.iterdir()) if PROBLEM_VIDEOS.is_dir() else [], ids=lambda path: path.name
)
def test_problem_videos_match_a_plain_decode(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if path.name in REASONS:
        with pytest.raises(NotAVideoError, match=REASONS[path.name]):
            probe(path)
        return
    info = probe(path)
    sampling = sample(info, info.frame_times, (info.width, info.height), threads=1)
    rows = {time: frame for chunk in sampling for time, frame in zip(chunk.times, chunk.frames, strict=True)}
    compared = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # concealment of damaged parts depends on it
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                sideways = frame.rotation % 180 != 0
                size = (info.height, info.width) if sideways else (info.width, info.height)
                expected = np.rot90(frame.reformat(*size, "rgb24").to_ndarray(), frame.rotation // 90)
                actual = rows[float(frame.pts * stream.time_base)]
                assert actual.shape == expected.shape
                if READS_COLOURSPACE or frame.colorspace != 1:
                    assert np.array_equal(actual, expected)
                compared += 1
    assert compared == len(rows)
    assert sampling.lost == len(info.frame_times) - compared == (1 if path.name == "corrupted.mp4" else 0)
    assert capfd.readouterr() == ("", "")
