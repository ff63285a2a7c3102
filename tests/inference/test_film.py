"""One film of several moments: exact cuts in the order given, one size, sound where there is any."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mttsg_core.inference.excerpts import ExcerptFailed
from mttsg_core.inference.film import FilmEvent, FilmWritten, iter_film
from mttsg_core.inference.ranking import RankedMoment
from mttsg_core.moments import Moment
from mttsg_core.video.discovery import VideoFile
from tests.helpers import video_files

pytestmark = pytest.mark.subprocess


def moment(path: Path, start: float, end: float, query: str = "q") -> RankedMoment:
    return RankedMoment(VideoFile(path, Path(path.name)), query, 1, Moment(start, end))


def film_of(moments: list[RankedMoment], target: Path) -> list[FilmEvent]:
    return list(iter_film(moments, target, target, workers=2))


def with_tone(source: Path, target: Path, rate: int, channels: int) -> Path:
    """Add a tone of full length to a video."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        sound = writer.add_stream("aac", rate=rate, layout="mono" if channels == 1 else "stereo")
        for packet in reader.demux(stream):
            if packet.size:
                packet.stream = copy
                writer.mux(packet)
        seconds = float(stream.duration * stream.time_base)
        tone = np.sin(np.arange(round(seconds * rate)) / rate * 440 * 2 * np.pi).astype(np.float32) * 0.5
        frame = av.AudioFrame.from_ndarray(
            np.tile(tone, (channels, 1)), format="fltp", layout="mono" if channels == 1 else "stereo"
        )
        frame.sample_rate, frame.pts = rate, 0
        writer.mux(sound.encode(frame))
        writer.mux(sound.encode(None))
    return target


def pictures(path: Path, columns: slice = slice(None)) -> list[tuple[float, int]]:
    """The times of a film's frames, and the numbers on them."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time), video_files.read_number(frame.to_ndarray(format="rgb24")[:, columns]))
            for frame in container.decode(video=0)
        ]


def loudness(path: Path, start: float, end: float) -> float:
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return float(np.abs(sound[round(start * rate) : round(end * rate)]).mean())


def test_exact_cuts_in_the_order_of_the_rows(tmp_path: Path) -> None:
    a = video_files.write_video(tmp_path / "a.mp4", range(100))
    b = video_files.write_video(tmp_path / "b.mkv", range(200), first=1000, time_base=Fraction(1, 50))
    target = tmp_path / "film.mp4"
    events = film_of([moment(b, 1.0, 1.5), moment(a, 2.0, 3.0), moment(b, 0.0, 0.2), moment(b, 1.0, 1.5, "r")], target)
    written = events[-1]
    assert isinstance(written, FilmWritten)
    assert str(written) == f"{target}: 3 moments, 1.7 s, 64 x 48"
    shown = pictures(target)
    assert [number for _, number in shown] == [*range(1050, 1075), *range(50, 75), *range(1000, 1010)]
    times = [*np.arange(25) / 50, *(0.5 + np.arange(25) / 25), *(1.5 + np.arange(10) / 50)]
    assert [time for time, _ in shown] == pytest.approx(times, abs=0.001)
    with av.open(str(target)) as container:
        assert not container.streams.audio
        assert container.duration / av.time_base == pytest.approx(1.7, abs=0.001)


def test_other_sizes_and_sounds(tmp_path: Path) -> None:
    a = with_tone(video_files.write_video(tmp_path / "a0.mp4", range(50)), tmp_path / "a.mp4", 44_100, 2)
    silent = video_files.write_video(tmp_path / "b.mp4", range(50), first=500, size=(64, 64))
    mono = with_tone(
        video_files.write_video(tmp_path / "c0.mp4", range(50), first=900, size=(128, 96), turn=2),
        tmp_path / "c.mp4", 16_000, 1,
    )  # fmt: skip
    target = tmp_path / "film.mp4"
    written = film_of([moment(a, 0, 1), moment(silent, 0, 1), moment(mono, 0, 1)], target)[-1]
    assert isinstance(written, FilmWritten)
    assert (written.form.width, written.form.height) == (64, 48)
    assert (written.resized, written.boxed, written.silent) == (2, 1, 1)
    assert str(written) == (
        f"{target}: 3 moments, 3.0 s, 64 x 48; 2 of another size were scaled to the first, 1 of them with black bars; "
        "1 without sound is silent"
    )
    assert [number for _, number in pictures(target)][:25] == [*range(25)]
    boxed = pictures(target, slice(8, 56))[25:50]
    assert [number for _, number in boxed] == [*range(500, 525)]
    with av.open(str(target)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert frames[30][:, :7].max() < 20 and frames[30][:, -7:].max() < 20
    assert len(frames) == 75
    assert loudness(target, 0.2, 0.8) > 0.2
    assert loudness(target, 1.1, 1.9) < 0.001
    assert loudness(target, 2.2, 2.8) > 0.2


def test_a_moment_that_cannot_be_cut_is_missing(tmp_path: Path) -> None:
    a = video_files.write_video(tmp_path / "a.mp4", range(50))
    broken = tmp_path / "b.mp4"
    broken.write_text("no video")
    target = tmp_path / "film.mp4"
    first, *_, last = film_of([moment(broken, 0, 1), moment(a, 0, 1), moment(broken, 1, 2)], target)
    assert isinstance(first, ExcerptFailed)  # the first that can be cut decides the form
    assert isinstance(last, FilmWritten) and last.pieces == 1
    assert len(pictures(target)) == 25
    events = film_of([moment(broken, 0, 1)], tmp_path / "none.mp4")
    assert [type(event) for event in events] == [ExcerptFailed]
    assert not (tmp_path / "none.mp4").exists()
