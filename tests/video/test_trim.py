"""Excerpts are exact to the frame, with audio in sync, from all kinds of video."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from mttsg_core.errors import CorruptVideoError, NotAVideoError, VideoError, VideoNotFoundError
from mttsg_core.video import mp4_writer
from mttsg_core.video import trim as trim_module
from mttsg_core.video.probe import probe
from mttsg_core.video.sampling import sample
from mttsg_core.video.trim import trim
from tests.helpers import video_files

SAMPLE_RATE = 16_000
VARIABLE = [0, 1, 2, 7, 8, 20, 21, 22, 23, 40, 41, 43, 44, 60, 61, 62, 63, 64, 80, 99]


def numbers(path: Path) -> list[tuple[float, int]]:
    """Return when each frame is shown, and the number on it."""
    return list(_numbers(path, path.stat().st_mtime_ns))


@cache
def _numbers(path: Path, _: int) -> list[tuple[float, int]]:
    info = probe(path)
    return [
        (float(time), video_files.read_number(picture))
        for chunk in sample(info, info.frame_times)
        for time, picture in zip(chunk.times, chunk.frames, strict=True)
    ]


def expected(source: Path, start: float, end: float) -> list[tuple[Any, int]]:
    """Return what an excerpt must show: the frame on screen at `start`, and those up to `end` at their own times."""
    info = probe(source)
    first = max(0, int(np.searchsorted(info.frame_times, start, side="right")) - 1)
    shown = [(max(0.0, time - start), number) for time, number in numbers(source)[first:] if time < end - 1e-6]
    return [(pytest.approx(time, abs=2e-4), number) for time, number in shown]


def check(source: Path, excerpt: Path, start: float, end: float) -> None:
    info = probe(excerpt)
    assert info.duration == pytest.approx(end - start, abs=1e-3)
    assert info.start == 0
    assert numbers(excerpt) == expected(source, start, end)


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "variable rate": {"stamps": VARIABLE},
    "late first frame": {"stamps": range(50, 110)},
    "odd sides": {"size": (65, 49), "codec": "libvpx-vp9", "suffix": ".webm"},
    "wide pixels": {"aspect": Fraction(2)},
    "10 bit": {"pix_fmt": "yuv420p10le"},
    "HEVC": {"codec": "libx265"},
    "AVI": {"codec": "mpeg4", "suffix": ".avi"},
    "transport stream": {"suffix": ".ts"},
    "few keyframes": {"stamps": range(120), "options": {"g": "1000"}},
    "many keyframes": {"stamps": range(150), "options": {"g": "5"}},
    "turned left": {"turn": 1, "size": (64, 96)},
    "upside down": {"turn": 2},
    "turned right": {"turn": 3, "suffix": ".mov", "size": (64, 96)},
    "GIF": {
        "codec": "gif",
        "suffix": ".gif",
        "pix_fmt": "rgb8",
        "time_base": Fraction(1, 100),
        "stamps": range(0, 400, 10),
    },
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_excerpt_shows_the_frames_of_its_span(tmp_path: Path, kind: str) -> None:
    settings = dict(KINDS[kind])
    stamps = settings.pop("stamps", range(100))
    suffix = settings.pop("suffix", ".mp4")
    source = video_files.write_video(tmp_path / f"v{suffix}", list(stamps), **settings)
    info = probe(source)
    length = info.duration - info.start
    for number, (begin, stop) in enumerate([(0.0, 1.0), (0.313, 0.67), (0.9, 1.0), (0.5, 0.502)]):
        start, end = info.start + begin * length, info.start + stop * length
        excerpt = tmp_path / f"{number}.mp4"
        trim(source, start, end, excerpt, threads=1)
        check(source, excerpt, start, end)
        assert probe(excerpt).codec == "h264"
        width, height = probe(excerpt).width, probe(excerpt).height
        assert (width % 2, height % 2) == (0, 0)
        assert abs(width - info.width) <= 1 and abs(height - info.height) <= 1


def write_with_audio(
    path: Path, *, seconds: float = 8.0, late: float = 0.0, rate: int = SAMPLE_RATE, layout: str = "mono"
) -> Path:
    """Write a video with frame n at n / 25 s and, at t seconds, a tone of 200 + 100 * floor(t) Hz."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout=layout)
        times = np.arange(int(seconds * rate)) / rate
        tone = np.sin(2 * np.pi * (200 + 100 * np.floor(times)) * times).astype(np.float32)
        for number in range(int(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(video_files.draw(number, 64, 48), format="rgb24")
            container.mux(video.encode(frame))
            part = tone[number * rate // 25 : (number + 1) * rate // 25]
            samples = av.AudioFrame.from_ndarray(np.tile(part, (audio.layout.nb_channels, 1)), "fltp", layout)
            samples.sample_rate, samples.time_base = rate, Fraction(1, rate)
            samples.pts = number * rate // 25 + round(late * rate)
            container.mux(audio.encode(samples))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def read_audio(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """Return the first audio channel of a file from time 0, and its sample rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        samples = np.zeros(0, dtype=np.float32)
        for frame in container.decode(stream):
            first = round(float(frame.pts * frame.time_base) * rate)
            part = frame.to_ndarray()[0][max(0, -first) :]
            samples = np.concatenate([samples, np.zeros(max(0, first - len(samples)), np.float32), part])
        return samples, rate


def pitch(samples: npt.NDArray[np.float32], rate: int) -> float:
    """Return the strongest frequency in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)), rate))))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_audio_is_kept_and_in_sync(tmp_path: Path, suffix: str) -> None:
    source = write_with_audio(tmp_path / f"v{suffix}", rate=48_000, layout="stereo")
    start = probe(source).start  # not 0 in a transport stream
    trim(source, start + 2.5, start + 6.25, tmp_path / "excerpt.mp4")
    check(source, tmp_path / "excerpt.mp4", start + 2.5, start + 6.25)
    samples, rate = read_audio(tmp_path / "excerpt.mp4")
    assert len(samples) / rate == pytest.approx(3.75, abs=0.03)
    for second in (2, 3, 4, 5):  # the tone rises at each full second of the source, to within a hundredth
        change = second + 1 - 2.5
        before, after = (samples[round((change + by) * rate) :][: round(0.1 * rate)] for by in (-0.11, 0.01))
        if second < 5:
            assert pitch(before, rate) == pytest.approx(200 + 100 * second, abs=10)
            assert pitch(after, rate) == pytest.approx(300 + 100 * second, abs=10)


def test_late_or_missing_audio_becomes_silence(tmp_path: Path) -> None:
    source = write_with_audio(tmp_path / "v.mkv", late=3.0)
    trim(source, 1.0, 5.0, tmp_path / "late.mp4")
    samples, rate = read_audio(tmp_path / "late.mp4")
    assert np.abs(samples[: int(1.95 * rate)]).max() < 0.02
    assert pitch(samples[int(2.05 * rate) : int(2.9 * rate)], rate) == pytest.approx(200, abs=10)
    trim(source, 0.5, 1.5, tmp_path / "never.mp4")
    samples, rate = read_audio(tmp_path / "never.mp4")
    assert len(samples) / rate == pytest.approx(1, abs=0.07)
    assert np.abs(samples).max() < 0.02
    assert probe(tmp_path / "never.mp4").duration == pytest.approx(1, abs=1e-3)


def test_a_video_without_audio_gives_an_excerpt_without_audio(tmp_path: Path) -> None:
    source = video_files.write_video(tmp_path / "v.mp4", range(50))
    trim(source, 0.5, 1.0, tmp_path / "excerpt.mp4")
    with av.open(str(tmp_path / "excerpt.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("name", ["mpeg4"])
def test_fallback_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    video_files.require_encoder("libmp3lame")
    missing: dict[str, dict[str, str]] = {"not-an-encoder": {}}
    monkeypatch.setattr(mp4_writer, "VIDEO_ENCODERS", missing | {name: mp4_writer.VIDEO_ENCODERS[name]})
    monkeypatch.setattr(mp4_writer, "AUDIO_ENCODERS", missing | {"libmp3lame": mp4_writer.AUDIO_ENCODERS["libmp3lame"]})
    source = write_with_audio(tmp_path / "v.mp4")
    trim(source, 2.02, 4.5, tmp_path / "excerpt.mp4")
    check(source, tmp_path / "excerpt.mp4", 2.02, 4.5)
    assert probe(tmp_path / "excerpt.mp4").codec == name
    samples, rate = read_audio(tmp_path / "excerpt.mp4")
    assert len(samples) / rate == pytest.approx(2.48, abs=0.1)


def test_colours_are_preserved(tmp_path: Path) -> None:
    """Including full range and the HD matrix, which an excerpt must declare."""
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32], picture[24:, 32:] = (
        (200, 30, 30),
        (30, 200, 30),
        (30, 30, 200),
        (220, 220, 220),
    )
    for number, (colorspace, color_range) in enumerate([(2, 0), (1, 1), (5, 2), (1, 2)]):
        source = tmp_path / f"{number}.mp4"
        with av.open(str(source), "w") as container:
            stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, color_range
            for _ in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        trim(source, 0.2, 0.7, tmp_path / "excerpt.mp4")
        [before], [after] = (list(sample(path, [0.3])) for path in (source, tmp_path / "excerpt.mp4"))
        difference = np.abs(before.frames.astype(int) - after.frames.astype(int))
        assert np.percentile(difference, 90) <= 8, (colorspace, color_range)


def test_little_is_decoded_near_the_end_of_a_long_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = video_files.write_video(tmp_path / "v.mp4", range(400), size=(16, 16), options={"g": "10"})
    decoded = 0
    decode_packet = trim_module._decode_packet

    def count_calls(*arguments):  # type: ignore[no-untyped-def]
        nonlocal decoded
        decoded += 1
        return decode_packet(*arguments)

    monkeypatch.setattr(trim_module, "_decode_packet", count_calls)
    trim(source, 14.0, 15.0, tmp_path / "excerpt.mp4")
    assert len(probe(tmp_path / "excerpt.mp4").frame_times) == 25
    assert decoded < 100


def test_damage_costs_only_the_damaged_frames(tmp_path: Path) -> None:
    source = video_files.write_video(tmp_path / "v.mp4", range(50), options={"g": "1"})
    video_files.damage(source, 30)
    trim(source, 1.0, 1.6, tmp_path / "excerpt.mp4")
    assert [number for _, number in numbers(tmp_path / "excerpt.mp4")] == [n for n in range(25, 40) if n != 30]
    assert probe(tmp_path / "excerpt.mp4").duration == pytest.approx(0.6, abs=1e-3)


def test_videos_that_cannot_be_trimmed_are_errors(tmp_path: Path) -> None:
    source = video_files.write_video(tmp_path / "v.mp4", range(20))
    for number in range(20):
        video_files.damage(source, number)
    (tmp_path / "text.mp4").write_text("text")
    for name, error in (("v", CorruptVideoError), ("text", NotAVideoError), ("absent", VideoNotFoundError)):
        with pytest.raises(error) as caught:
            trim(tmp_path / f"{name}.mp4", 0.1, 0.5, tmp_path / "excerpt.mp4")
        assert isinstance(caught.value, VideoError)
        assert not (tmp_path / "excerpt.mp4").exists()
    good = video_files.write_video(tmp_path / "good.mp4", range(20))
    with pytest.raises(FileNotFoundError):
        trim(good, 0.1, 0.5, tmp_path / "absent" / "excerpt.mp4")


@pytest.mark.data
@pytest.mark.skipif(not video_files.PROBLEM_VIDEOS.is_dir(), reason=f"{video_files.PROBLEM_VIDEOS} does not exist")
@pytest.mark.parametrize("name", sorted(path.name for path in video_files.PROBLEM_VIDEOS.glob("*.[mw]*[!v]")))
def test_problem_videos(tmp_path: Path, name: str) -> None:
    try:
        info = probe(video_files.PROBLEM_VIDEOS / name)
    except VideoError as error:
        with pytest.raises(type(error)):
            trim(video_files.PROBLEM_VIDEOS / name, 0.0, 1.0, tmp_path / "excerpt.mp4")
        return
    length = info.duration - info.start
    for begin, stop in ((0.31, 0.74), (0.0, 0.2), (0.95, 1.0)):
        start, end = info.start + begin * length, info.start + stop * length
        trim(info.path, start, end, tmp_path / "excerpt.mp4", threads=2)
        excerpt = probe(tmp_path / "excerpt.mp4")
        assert excerpt.duration == pytest.approx(end - start, abs=1e-3)
        shown = (info.frame_times > start + 1e-4) & (info.frame_times < end - 1e-4)
        assert abs(len(excerpt.frame_times) - shown.sum() - 1) <= count_lost_frames(info.path, start, end)


def count_lost_frames(path: Path, start: float, end: float) -> int:
    """Return how many frames of a span cannot be decoded."""
    info = probe(path)
    sampling = sample(info, info.frame_times[(info.frame_times >= start) & (info.frame_times < end)], (16, 16))
    for _ in sampling:
        pass
    return sampling.lost
