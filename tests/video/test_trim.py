"""Clips: exact to the frame, with their sound in step, from whatever the video is."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from mttsg_core.errors import CorruptVideoError, NotAVideoError, VideoError, VideoNotFoundError
from mttsg_core.video import mp4_writer as mp4
from mttsg_core.video import probe, sample
from mttsg_core.video import trim as module
from mttsg_core.video.trim import trim
from tests.helpers import video_files

RATE = 16_000  # of the sound
VFR = [0, 1, 2, 7, 8, 20, 21, 22, 23, 40, 41, 43, 44, 60, 61, 62, 63, 64, 80, 99]


def numbers(path: Path) -> list[tuple[float, int]]:
    """When each frame is shown, and the number on it."""
    return list(_numbers(path, path.stat().st_mtime_ns))


@cache
def _numbers(path: Path, _: int) -> list[tuple[float, int]]:
    info = probe(path)
    return [
        (float(time), video_files.read_number(picture))
        for chunk in sample(info, info.frame_times)
        for time, picture in zip(chunk.times, chunk.frames, strict=True)
    ]


def expected(source: Path, start: float, end: float) -> list[tuple[float, int]]:
    """What a clip is to show: the frame on screen at `start`, and those up to `end` at their own times."""
    info = probe(source)
    first = max(0, int(np.searchsorted(info.frame_times, start, side="right")) - 1)
    shown = [(max(0.0, time - start), number) for time, number in numbers(source)[first:] if time < end - 1e-6]
    return [(pytest.approx(time, abs=2e-4), number) for time, number in shown]


def check(source: Path, clip: Path, start: float, end: float) -> None:
    info = probe(clip)
    assert info.duration == pytest.approx(end - start, abs=1e-3)
    assert info.start == 0
    assert numbers(clip) == expected(source, start, end)


KINDS = {
    "plain": {},
    "variable rate": {"stamps": VFR},
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
def test_a_clip_shows_the_frames_of_its_span(tmp_path: Path, kind: str) -> None:
    settings = dict(KINDS[kind])
    stamps = settings.pop("stamps", range(100))
    suffix = settings.pop("suffix", ".mp4")
    source = video_files.write_video(tmp_path / f"v{suffix}", list(stamps), **settings)
    info = probe(source)
    length = info.duration - info.start
    for number, (begin, stop) in enumerate([(0.0, 1.0), (0.313, 0.67), (0.9, 1.0), (0.5, 0.502)]):
        start, end = info.start + begin * length, info.start + stop * length
        clip = tmp_path / f"{number}.mp4"
        trim(source, start, end, clip, threads=1)
        check(source, clip, start, end)
        assert probe(clip).codec == "h264"
        width, height = probe(clip).width, probe(clip).height
        assert (width % 2, height % 2) == (0, 0)
        assert abs(width - info.width) <= 1 and abs(height - info.height) <= 1


def with_sound(path: Path, *, seconds: float = 8.0, late: float = 0.0, rate: int = RATE, layout: str = "mono") -> Path:
    """A video whose picture n is shown at n / 25 s and whose sound at t is a tone of 200 + 100 * floor(t) Hz."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout=layout)
        times = np.arange(int(seconds * rate)) / rate
        tone = np.sin(2 * np.pi * (200 + 100 * np.floor(times)) * times).astype(np.float32)
        for number in range(int(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(video_files.draw(number, 64, 48), format="rgb24")
            container.mux(pictures.encode(frame))
            part = tone[number * rate // 25 : (number + 1) * rate // 25]
            heard = av.AudioFrame.from_ndarray(np.tile(part, (sound.layout.nb_channels, 1)), "fltp", layout)
            heard.sample_rate, heard.time_base = rate, Fraction(1, rate)
            heard.pts = number * rate // 25 + round(late * rate)
            container.mux(sound.encode(heard))
        container.mux(pictures.encode(None))
        container.mux(sound.encode(None))
    return path


def heard(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """The sound of a file from time 0, one channel, and its rate."""
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
    """The strongest frequency in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)), rate))))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_sound_is_kept_and_in_step(tmp_path: Path, suffix: str) -> None:
    source = with_sound(tmp_path / f"v{suffix}", rate=48_000, layout="stereo")
    start = probe(source).start  # not 0 in a transport stream
    trim(source, start + 2.5, start + 6.25, tmp_path / "clip.mp4")
    check(source, tmp_path / "clip.mp4", start + 2.5, start + 6.25)
    samples, rate = heard(tmp_path / "clip.mp4")
    assert len(samples) / rate == pytest.approx(3.75, abs=0.03)
    for second in (2, 3, 4, 5):  # the tone rises at each full second of the source, to within a hundredth
        change = second + 1 - 2.5
        before, after = (samples[round((change + by) * rate) :][: round(0.1 * rate)] for by in (-0.11, 0.01))
        if second < 5:
            assert pitch(before, rate) == pytest.approx(200 + 100 * second, abs=10)
            assert pitch(after, rate) == pytest.approx(300 + 100 * second, abs=10)


def test_sound_that_comes_late_or_never_is_silence(tmp_path: Path) -> None:
    source = with_sound(tmp_path / "v.mkv", late=3.0)
    trim(source, 1.0, 5.0, tmp_path / "late.mp4")
    samples, rate = heard(tmp_path / "late.mp4")
    assert np.abs(samples[: int(1.95 * rate)]).max() < 0.02
    assert pitch(samples[int(2.05 * rate) : int(2.9 * rate)], rate) == pytest.approx(200, abs=10)
    trim(source, 0.5, 1.5, tmp_path / "never.mp4")
    samples, rate = heard(tmp_path / "never.mp4")
    assert len(samples) / rate == pytest.approx(1, abs=0.07)
    assert np.abs(samples).max() < 0.02
    assert probe(tmp_path / "never.mp4").duration == pytest.approx(1, abs=1e-3)


def test_a_video_without_sound_gives_a_clip_without(tmp_path: Path) -> None:
    source = video_files.write_video(tmp_path / "v.mp4", range(50))
    trim(source, 0.5, 1.0, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("name", ["mpeg4"])
def test_without_the_best_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    video_files.need_encoder("libmp3lame")
    missing = {"not there": {}}
    monkeypatch.setattr(mp4, "VIDEO_ENCODERS", missing | {name: mp4.VIDEO_ENCODERS[name]})
    monkeypatch.setattr(mp4, "AUDIO_ENCODERS", missing | {"libmp3lame": mp4.AUDIO_ENCODERS["libmp3lame"]})
    source = with_sound(tmp_path / "v.mp4")
    trim(source, 2.02, 4.5, tmp_path / "clip.mp4")
    check(source, tmp_path / "clip.mp4", 2.02, 4.5)
    assert probe(tmp_path / "clip.mp4").codec == name
    samples, rate = heard(tmp_path / "clip.mp4")
    assert len(samples) / rate == pytest.approx(2.48, abs=0.1)


def test_colours_stay(tmp_path: Path) -> None:
    """Also of full range and of the matrix of HD, which a clip has to be marked with."""
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
        trim(source, 0.2, 0.7, tmp_path / "clip.mp4")
        [before], [after] = (list(sample(path, [0.3])) for path in (source, tmp_path / "clip.mp4"))
        difference = np.abs(before.frames.astype(int) - after.frames.astype(int))
        assert np.percentile(difference, 90) <= 8, (colorspace, color_range)


def test_near_the_end_of_a_long_video_little_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = video_files.write_video(tmp_path / "v.mp4", range(400), size=(16, 16), options={"g": "10"})
    decoded = 0
    decode = module._frames

    def counted(*given):  # type: ignore[no-untyped-def]
        nonlocal decoded
        decoded += 1
        return decode(*given)

    monkeypatch.setattr(module, "_frames", counted)
    trim(source, 14.0, 15.0, tmp_path / "clip.mp4")
    assert len(probe(tmp_path / "clip.mp4").frame_times) == 25
    assert decoded < 100


def test_damage_costs_its_frames_only(tmp_path: Path) -> None:
    source = video_files.write_video(tmp_path / "v.mp4", range(50), options={"g": "1"})
    video_files.damage(source, 30)
    trim(source, 1.0, 1.6, tmp_path / "clip.mp4")
    assert [number for _, number in numbers(tmp_path / "clip.mp4")] == [n for n in range(25, 40) if n != 30]
    assert probe(tmp_path / "clip.mp4").duration == pytest.approx(0.6, abs=1e-3)


def test_what_cannot_be_cut_is_said(tmp_path: Path) -> None:
    source = video_files.write_video(tmp_path / "v.mp4", range(20))
    for number in range(20):
        video_files.damage(source, number)
    (tmp_path / "text.mp4").write_text("text")
    for name, error in (("v", CorruptVideoError), ("text", NotAVideoError), ("absent", VideoNotFoundError)):
        with pytest.raises(error) as caught:
            trim(tmp_path / f"{name}.mp4", 0.1, 0.5, tmp_path / "clip.mp4")
        assert isinstance(caught.value, VideoError)
        assert not (tmp_path / "clip.mp4").exists()
    good = video_files.write_video(tmp_path / "good.mp4", range(20))
    with pytest.raises(FileNotFoundError):
        trim(good, 0.1, 0.5, tmp_path / "absent" / "clip.mp4")


@pytest.mark.skipif(not video_files.NASTY.is_dir(), reason=f"{video_files.NASTY} is not there")
@pytest.mark.parametrize("name", sorted(path.name for path in video_files.NASTY.glob("*.[mw]*[!v]")))
def test_strange_files(tmp_path: Path, name: str) -> None:
    try:
        info = probe(video_files.NASTY / name)
    except VideoError as error:
        with pytest.raises(type(error)):
            trim(video_files.NASTY / name, 0.0, 1.0, tmp_path / "clip.mp4")
        return
    length = info.duration - info.start
    for begin, stop in ((0.31, 0.74), (0.0, 0.2), (0.95, 1.0)):
        start, end = info.start + begin * length, info.start + stop * length
        trim(info.path, start, end, tmp_path / "clip.mp4", threads=2)
        clip = probe(tmp_path / "clip.mp4")
        assert clip.duration == pytest.approx(end - start, abs=1e-3)
        shown = (info.frame_times > start + 1e-4) & (info.frame_times < end - 1e-4)
        assert abs(len(clip.frame_times) - shown.sum() - 1) <= sample_loss(info.path, start, end)


def sample_loss(path: Path, start: float, end: float) -> int:
    """Frames of a span that cannot be decoded."""
    info = probe(path)
    found = sample(info, info.frame_times[(info.frame_times >= start) & (info.frame_times < end)], (16, 16))
    for _ in found:
        pass
    return found.lost
