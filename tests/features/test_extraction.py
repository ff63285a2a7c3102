"""Videos to features, many at a time: what is finished stays, what fails is one event, what crashes is contained."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mttsg_core.encoders import build_encoder
from mttsg_core.encoders.classic import ClassicEncoder
from mttsg_core.errors import ConfigError, CorruptVideoError, VideoError
from mttsg_core.features import extraction
from mttsg_core.features.extraction import (
    Extracted,
    ExtractionEvent,
    ExtractionFailed,
    ExtractionSettings,
    Job,
    cached_features,
    encode_video,
    extract,
)
from mttsg_core.features.frame_stream import whole_clips
from mttsg_core.features.store import FeatureCache, read_features, write_features
from mttsg_core.video import FrameChunk
from tests.helpers.video_files import damage, draw, write_sound, write_video

SETTINGS = ExtractionSettings(fps=2.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds."""
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", range(100))


def jobs_of(folder: Path, *videos: Path) -> list[Job]:
    return [Job(video, folder / "out" / f"{video.stem}.safetensors") for video in videos]


class TestEncodeVideo:
    """One video to features."""

    def test_clips_are_equal_bins_over_the_video(self, video: Path) -> None:
        made = encode_video(video, build_encoder(), SETTINGS)
        assert made.clips.shape == (8, 102)
        assert made.regions is not None
        assert made.regions.shape == (8, 49, 34)
        assert made.duration == pytest.approx(4.0)
        assert made.start == 0
        assert made.lost_clips == 0
        assert made.fingerprint == {"encoder": "classic", "version": 2, "fps": 2.0, "reader": "auto"}
        assert np.abs(made.clips).sum(1).min() > 0

    def test_each_clip_sees_its_own_frames(self, video: Path) -> None:
        """Frame i of the video shows the number i: the features of a clip are those of the right numbers."""
        encoder = build_encoder()
        made = encode_video(video, encoder, SETTINGS)
        for clip in (0, 3, 7):
            shown = [int((clip + share) * 0.5 * 25) for share in (0.25, 0.75)]
            pictures = [draw(number, 64, 48) for number in shown]
            width, height = encoder.framing.size
            rows, columns = np.arange(height) * 48 // height, np.arange(width) * 64 // width
            frames = np.stack([picture[rows][:, columns] for picture in pictures])[None]
            expected = encoder.encode(frames).clips[0]
            distance = np.linalg.norm(made.clips - expected, axis=1)
            assert int(distance.argmin()) == clip

    def test_the_number_of_clips_in_memory_does_not_count(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = encode_video(video, build_encoder(), SETTINGS)
        monkeypatch.setattr(ClassicEncoder, "clips_at_once", 3)
        np.testing.assert_allclose(encode_video(video, build_encoder(), SETTINGS).clips, whole.clips, atol=1e-6)

    def test_a_late_first_frame_shifts_the_clips(self, tmp_path: Path) -> None:
        late = write_video(tmp_path / "late.mkv", range(50, 100))
        made = encode_video(late, build_encoder(), SETTINGS)
        assert made.start == pytest.approx(2.0, abs=0.05)
        assert made.duration == pytest.approx(2.0, abs=0.05)
        assert len(made.clips) == 4

    def test_a_video_of_one_frame_has_one_clip(self, tmp_path: Path) -> None:
        made = encode_video(write_video(tmp_path / "one.mp4", [0]), build_encoder(), SETTINGS)
        assert len(made.clips) == 1

    def test_clips_that_cannot_be_decoded_are_zero_and_counted(self, tmp_path: Path) -> None:
        broken = write_video(tmp_path / "b.avi", range(100), codec="mjpeg", pix_fmt="yuvj420p")
        for number in (30, 31, 32, 33, 34, 35):
            damage(broken, number)
        made = encode_video(broken, build_encoder(), ExtractionSettings(fps=5.0))
        zero = np.flatnonzero(np.abs(made.clips).sum(1) == 0)
        assert made.lost_clips == len(zero) >= 1
        assert set(zero) <= {5, 6, 7}

    def test_a_file_without_a_readable_frame_is_an_error(self, tmp_path: Path) -> None:
        broken = write_video(tmp_path / "b.avi", range(5), codec="mjpeg", pix_fmt="yuvj420p")
        for number in range(5):
            damage(broken, number)
        with pytest.raises(CorruptVideoError):
            encode_video(broken, build_encoder(), SETTINGS)

    def test_an_unknown_reader_is_refused(self, video: Path) -> None:
        with pytest.raises(ConfigError, match="unknown reader 'vlc'"):
            encode_video(video, build_encoder(), ExtractionSettings(reader="vlc"))


def test_a_fingerprint_leads_back_to_its_settings() -> None:
    settings = ExtractionSettings(fps=1.5, reader="pyav")
    assert ExtractionSettings.from_fingerprint(settings.fingerprint()) == settings


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("missing", [set(), {0}, {3}, {2, 3}, {9}, set(range(10)), {0, 9}, {5, 6, 7}])
def test_only_whole_clips_are_encoded(size: int, missing: set[int]) -> None:
    """Ten frames, two a clip, some of them unreadable, in chunks of any size."""
    there = [number for number in range(10) if number not in missing]
    chunks = [
        FrameChunk(np.array(part), np.array(part) / 2.0, np.array(part, dtype=np.uint8).reshape(-1, 1, 1, 1))
        for part in (there[i : i + size] for i in range(0, len(there), size))
    ]
    found = [
        (clip, frames[:, 0, 0, 0].tolist())
        for piece in whole_clips(chunks, 2)
        for clip, frames in zip(piece.clips, piece.frames, strict=True)
    ]
    expected = [clip for clip in range(5) if not {2 * clip, 2 * clip + 1} & missing]
    assert found == [(clip, [2 * clip, 2 * clip + 1]) for clip in expected]


def _by_name(events: list[ExtractionEvent]) -> dict[str, ExtractionEvent]:
    named = {event.job.video.name: event for event in events}
    assert len(named) == len(events)
    return named


@pytest.fixture
def folder(tmp_path: Path, video: Path) -> Path:
    """Three good videos, a broken one, an empty one, a text and a sound."""
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(video, tmp_path / name)
        with (tmp_path / name).open("ab") as file:
            file.write(name.encode())  # so that each has features of its own
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:600])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video at all " * 100)
    write_sound(tmp_path / "sound.wav")
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_does_not_keep_the_others_from_being_done(folder: Path, workers: int) -> None:
    names = ["a.mp4", "cut.mp4", "empty.mp4", "b.mp4", "text.mp4", "sound.wav", "absent.mp4"]
    jobs = jobs_of(folder, *(folder / name for name in names))
    events = _by_name(list(extract(jobs, SETTINGS, workers=workers)))
    assert events.keys() == set(names)
    for name in ("a.mp4", "b.mp4"):
        event = events.pop(name)
        assert isinstance(event, Extracted)
        assert (event.clips, event.cached) == (8, False)
        assert len(read_features(event.job.target).clips) == 8
    for name, failure in events.items():
        assert isinstance(failure, ExtractionFailed), name
        assert failure.reason
        assert "\n" not in failure.reason
        assert not failure.job.target.exists()


def test_what_is_finished_is_skipped_and_made_anew_when_asked(folder: Path) -> None:
    jobs = jobs_of(folder, folder / "a.mp4", folder / "b.mp4")
    list(extract(jobs, SETTINGS))
    before = [job.target.stat().st_mtime_ns for job in jobs]
    again = list(extract(jobs, SETTINGS))
    assert all(isinstance(event, Extracted) and event.cached for event in again)
    assert [job.target.stat().st_mtime_ns for job in jobs] == before
    anew = list(extract(jobs, SETTINGS, overwrite=True))
    assert all(isinstance(event, Extracted) and not event.cached for event in anew)
    assert all(job.target.stat().st_mtime_ns > old for job, old in zip(jobs, before, strict=True))


def test_features_of_other_settings_are_replaced_only_when_asked_and_damaged_ones_always(folder: Path) -> None:
    [job] = jobs_of(folder, folder / "a.mp4")
    list(extract([job], ExtractionSettings(fps=1.0)))
    before = job.target.read_bytes()
    [event] = extract([job], SETTINGS)
    assert isinstance(event, ExtractionFailed)
    assert "fps 1.0" in event.reason
    assert job.target.read_bytes() == before
    [event] = extract([job], SETTINGS, overwrite=True)
    assert isinstance(event, Extracted)
    assert (event.cached, event.clips) == (False, 8)
    job.target.write_bytes(job.target.read_bytes()[:-50])
    [event] = extract([job], SETTINGS)
    assert isinstance(event, Extracted)
    assert not event.cached
    assert len(read_features(job.target).clips) == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_copies_of_one_file_are_read_once_and_each_reported(folder: Path, workers: int) -> None:
    target = folder / "out" / "same.safetensors"
    jobs = [Job(folder / name, target) for name in ("a.mp4", "b.mp4")] + jobs_of(folder, folder / "c.mp4")
    events = _by_name(list(extract(jobs, SETTINGS, workers=workers)))
    assert events.keys() == {"a.mp4", "b.mp4", "c.mp4"}
    assert all(isinstance(event, Extracted) for event in events.values())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_cannot_be_written_fails_only_its_own(folder: Path, workers: int) -> None:
    (folder / "file").write_text("in the way")
    bad = Job(folder / "a.mp4", folder / "file" / "a.safetensors")
    events = _by_name(list(extract([bad, *jobs_of(folder, folder / "b.mp4", folder / "c.mp4")], SETTINGS, workers=2)))
    assert isinstance(events["a.mp4"], ExtractionFailed)
    assert "\n" not in events["a.mp4"].reason
    assert isinstance(events["b.mp4"], Extracted)
    assert isinstance(events["c.mp4"], Extracted)


def crash_or_hang(job: Job, settings: ExtractionSettings, threads: int | None) -> ExtractionEvent:
    """Stands in for a decoder that crashes on `b.mp4` and never returns from `c.mp4`; runs in a worker."""
    if job.video.name == "b.mp4":
        os._exit(139)
    if job.video.name == "c.mp4":
        time.sleep(600)
    write_features(job.target, encode_video(job.video, build_encoder(), settings))
    return Extracted(job, 1, 1.0)


def test_a_crash_and_a_hang_cost_one_video_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_extract_one", crash_or_hang)
    for name in ("d.mp4", "e.mp4"):
        shutil.copy(folder / "a.mp4", folder / name)
    jobs = jobs_of(folder, *(folder / f"{name}.mp4" for name in "abcde"))
    began = time.monotonic()
    events = _by_name(list(extract(jobs, SETTINGS, workers=2, time_limit=4.0)))
    assert time.monotonic() - began < 60
    crashed, hung = events["b.mp4"], events["c.mp4"]
    assert isinstance(crashed, ExtractionFailed)
    assert crashed.reason == "the decoder crashed on it"
    assert isinstance(hung, ExtractionFailed)
    assert "given up" in hung.reason
    for name in ("a.mp4", "d.mp4", "e.mp4"):
        assert isinstance(events[name], Extracted), name
        assert events[name].job.target.is_file()


class TestALongVideoAlone:
    """Decoded by a worker, encoded here."""

    @pytest.fixture(autouse=True)
    def _every_video_is_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extraction, "_LONG", 0)

    def test_its_features_are_the_same(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = encode_video(folder / "a.mp4", build_encoder(), SETTINGS)
        monkeypatch.setattr(extraction, "_extract_one", None)
        [event] = extract(jobs_of(folder, folder / "a.mp4"), SETTINGS, workers=2)
        assert isinstance(event, Extracted)
        made = read_features(event.job.target)
        assert np.array_equal(made.clips, expected.clips)
        assert (made.fingerprint, made.duration, made.start) == (
            expected.fingerprint,
            expected.duration,
            expected.start,
        )

    def test_one_worker_is_this_process(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extraction, "read_many", None)
        [event] = extract(jobs_of(folder, folder / "a.mp4"), SETTINGS, workers=1)
        assert isinstance(event, Extracted)

    def test_what_is_no_video_is_one_failure(self, folder: Path) -> None:
        [event] = extract(jobs_of(folder, folder / "text.mp4"), SETTINGS, workers=2)
        assert isinstance(event, ExtractionFailed)
        assert event.reason == "not a video"


def test_whoever_stops_listening_stops_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_extract_one", crash_or_hang)
    shutil.copy(folder / "a.mp4", folder / "d.mp4")
    events = extract(jobs_of(folder, folder / "a.mp4", folder / "c.mp4", folder / "d.mp4"), SETTINGS, workers=2)
    next(events)
    began = time.monotonic()
    events.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 20  # it does not wait for the one that hangs


class TestCachedFeatures:
    """Features of one video, made at most once."""

    def test_the_second_time_nothing_is_decoded(
        self, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = FeatureCache(tmp_path)
        first = cached_features(video, cache, SETTINGS)
        monkeypatch.setattr(extraction, "encode_video", None)
        second = cached_features(video, cache, SETTINGS)
        assert np.array_equal(first.clips, second.clips)
        assert first.clips.dtype == second.clips.dtype == np.float32

    def test_a_damaged_entry_is_made_anew(self, video: Path, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path)
        first = cached_features(video, cache, SETTINGS)
        [entry] = tmp_path.rglob("*.safetensors")
        entry.write_bytes(b"damaged")
        assert np.array_equal(cached_features(video, cache, SETTINGS).clips, first.clips)
        assert entry.stat().st_size > 100

    @pytest.mark.parametrize("name", ["absent.mp4", "folder"])
    def test_no_file_no_features(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        with pytest.raises(VideoError):
            cached_features(tmp_path / name, FeatureCache(tmp_path / "cache"), SETTINGS)


def _family(session: int) -> list[str]:
    """Command lines of the processes of a session, zombies left out."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append((status.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def _all_gone(session: int) -> bool:
    """Whether the processes of a session end within ten seconds."""
    deadline = time.monotonic() + 10
    while _family(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _family(session)


def _start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mttsg_cli", "extract", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
class TestKilled:
    """`mttsg extract` killed at random moments."""

    @pytest.fixture
    def videos(self, tmp_path: Path, video: Path) -> Path:
        folder = tmp_path / "videos"
        folder.mkdir()
        for number in range(8):
            shutil.copy(video, folder / f"{number}.mp4")
        return folder

    def test_nothing_that_loads_wrong_is_left_and_the_next_run_makes_only_the_rest(
        self, videos: Path, video: Path, tmp_path: Path
    ) -> None:
        expected = encode_video(video, build_encoder(), SETTINGS).clips
        out = tmp_path / "out"
        seen: dict[Path, int] = {}

        def check() -> None:
            for path in out.rglob("*.safetensors"):
                assert np.array_equal(read_features(path).clips, expected), path
                assert seen.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns, "made twice"

        for delay in (0.3, 0.8, 1.1, 1.3, 1.5):
            process = _start(videos, "--out", out, "--workers", "2")
            time.sleep(delay)
            process.kill()
            process.communicate()
            check()
        process = _start(videos, "--out", out, "--workers", "2")
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        check()
        assert len(seen) == 8

    def test_the_workers_of_a_killed_program_end_too(self, videos: Path, tmp_path: Path) -> None:
        process = _start(videos, "--out", tmp_path / "out", "--workers", "2", "--fps", "100")
        deadline = time.monotonic() + 20
        while len(_family(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(_family(process.pid)) >= 3, "no workers were seen"
        process.kill()
        process.communicate()
        assert _all_gone(process.pid)

    @pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.4])
    def test_ctrl_c_ends_all_with_130_and_no_traceback(self, videos: Path, tmp_path: Path, delay: float) -> None:
        """A terminal sends the signal to the whole group, workers that are just starting included."""
        process = _start(videos, "--out", tmp_path / "out", "--workers", "2", "--fps", "100")
        deadline = time.monotonic() + 20
        while len(_family(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert out == b""
        assert b"Traceback" not in err
        assert _all_gone(process.pid)

    @pytest.mark.parametrize("delay", [0.0, 0.7])
    def test_ctrl_c_while_one_process_encodes_for_all(self, videos: Path, tmp_path: Path, delay: float) -> None:
        from tests.helpers.tiny_encoders import save_clip

        encoder, out = save_clip(tmp_path / "clip"), tmp_path / "out"
        long = write_video(tmp_path / "long.mp4", range(500))
        for path in videos.iterdir():
            shutil.copy(long, path)
        process = _start(videos, "--out", out, "--workers", "2", "--fps", "100", "--encoder", encoder)
        deadline = time.monotonic() + 20
        while len(_family(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(_family(process.pid)) >= 3, "no workers were seen"
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        printed, err = process.communicate(timeout=30)
        assert (process.returncode, printed) == (130, b""), err
        assert b"Traceback" not in err
        assert _all_gone(process.pid)
        assert all(len(read_features(path).clips) == 2000 for path in out.rglob("*.safetensors"))


def test_the_stand_in_has_the_signature_of_what_it_stands_in_for() -> None:
    assert crash_or_hang.__annotations__ == extraction._extract_one.__annotations__
