"""Feature files of every kind, good and bad, and the cache."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mttsg_core.errors import FeatureError
from mttsg_core.features.store import (
    EXTERNAL,
    FeatureCache,
    FeatureStore,
    VideoFeatures,
    read_features,
    same_fingerprint,
    write_atomically,
    write_features,
)
from tests.helpers.tiny import MADE, features

CLIPS = np.arange(12, dtype=np.float32).reshape(4, 3)
REGIONS = np.arange(40, dtype=np.float32).reshape(4, 5, 2)


def write(path: Path, **arrays: np.ndarray) -> Path:
    """A file of features made elsewhere."""
    if path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(arrays, path)
    else:
        with h5py.File(path, "w") as file:
            file["video"] = next(iter(arrays.values()))
    return path


KINDS = [".npy", ".npz", ".safetensors", ".h5", ".hdf5"]


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_clip_vectors_of_every_kind_of_file(tmp_path: Path, suffix: str, dtype: type) -> None:
    read = read_features(write(tmp_path / f"a{suffix}", clips=CLIPS.astype(dtype)), "video")
    assert np.array_equal(read.clips, CLIPS)
    assert read.regions is None
    assert read.duration is None
    assert read.fingerprint == {"encoder": EXTERNAL, "clip_dim": 3, "regions": 0, "region_dim": 0}


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_three_axes_are_regions_and_clips_their_mean(tmp_path: Path, suffix: str) -> None:
    read = read_features(write(tmp_path / f"a{suffix}", regions=REGIONS), "video")
    assert read.regions is not None
    assert np.array_equal(read.regions, REGIONS)
    np.testing.assert_allclose(read.clips, REGIONS.mean(1))
    assert read.fingerprint == {"encoder": EXTERNAL, "clip_dim": 2, "regions": 5, "region_dim": 2}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_clips_and_regions_of_one_file(tmp_path: Path, suffix: str) -> None:
    read = read_features(write(tmp_path / f"a{suffix}", clips=CLIPS, regions=REGIONS, other=np.zeros(1)))
    assert read.regions is not None
    assert np.array_equal(read.clips, CLIPS)
    assert np.array_equal(read.regions, REGIONS)
    only = read_features(write(tmp_path / f"b{suffix}", regions=REGIONS))
    np.testing.assert_allclose(only.clips, REGIONS.mean(1))


def test_a_group_of_one_data_set_in_hdf5(tmp_path: Path) -> None:
    """As in ActivityNet's published C3D features."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["v_abc/c3d_features"] = CLIPS
        file.create_group("empty")
    assert np.array_equal(read_features(path, "v_abc").clips, CLIPS)
    for name in ("v_missing", "empty"):
        with pytest.raises(FeatureError, match=f"no data set '{name}'"):
            read_features(path, name)


def _bad_value(value: float) -> np.ndarray:
    array = CLIPS.copy()
    array[2, 1] = value
    return array


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (_bad_value(np.nan), "not finite"),
        (_bad_value(np.inf), "not finite"),
        (CLIPS[0], "2 axes"),
        (CLIPS[None, None], "2 axes"),
        (CLIPS[:0], "2 axes"),
        (CLIPS[:, :0], "2 axes"),
        (CLIPS.astype(np.int64), "real numbers"),
    ],
)
def test_arrays_that_are_no_features(tmp_path: Path, suffix: str, array: np.ndarray, reason: str) -> None:
    with pytest.raises(FeatureError, match=reason) as caught:
        read_features(write(tmp_path / f"a{suffix}", clips=array), "video")
    assert str(caught.value).startswith(f"{tmp_path / 'a'}{suffix}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_regions_must_go_with_the_clips(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FeatureError, match="4 clips, but regions of 3"):
        read_features(write(tmp_path / f"a{suffix}", clips=CLIPS, regions=REGIONS[:3]))
    with pytest.raises(FeatureError, match="3 axes"):
        read_features(write(tmp_path / f"b{suffix}", clips=CLIPS, regions=CLIPS))
    with pytest.raises(FeatureError, match="neither"):
        read_features(write(tmp_path / f"c{suffix}", other=CLIPS))


class Trap:
    """Leaves a mark if it is ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / f"a{suffix}"
    array = np.array([Trap(mark)], dtype=object)
    if suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, clips=array)
    with pytest.raises(FeatureError, match="cannot be read"):
        read_features(path)
    raw = tmp_path / "raw.npy"
    raw.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(FeatureError, match="cannot be read"):
        read_features(raw)
    assert not mark.exists()


def test_what_is_missing_or_of_another_kind(tmp_path: Path) -> None:
    for name in ("absent.npy", "absent.npz", "absent.safetensors", "absent.h5"):
        with pytest.raises(FeatureError, match=name):
            read_features(tmp_path / name, "video")
    (tmp_path / "a.pt").write_bytes(b"x")
    with pytest.raises(FeatureError, match="features are"):
        read_features(tmp_path / "a.pt")
    with pytest.raises(FeatureError):
        read_features(tmp_path)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_damaged_file_is_one_line_whatever_the_damage(tmp_path: Path, suffix: str) -> None:
    """Cut anywhere, or bytes changed anywhere: it either still reads as features, or says in one line that not."""
    whole = write(tmp_path / f"whole{suffix}", clips=np.linspace(0, 1, 300, dtype=np.float32).reshape(50, 6))
    data = whole.read_bytes()
    damaged = tmp_path / f"a{suffix}"
    random = np.random.default_rng(0)
    cuts = [data[:n] for n in {0, 1, 5, 50, len(data) // 2, len(data) - 1}]
    changed = []
    for _ in range(150):
        copy = bytearray(data)
        for place in random.integers(0, len(data) if random.random() < 0.5 else min(len(data), 160), 3):
            copy[place] = random.integers(256)
        changed.append(bytes(copy))
    refused = 0
    for content in [*cuts, *changed]:
        damaged.write_bytes(content)
        try:
            read = read_features(damaged, "video")
        except FeatureError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert str(damaged) in str(error)  # noqa: PT017
            refused += 1
        else:
            assert np.isfinite(read.clips).all()
    assert refused >= len(cuts) - (suffix in (".h5", ".hdf5"))


@pytest.mark.parametrize("about", ["[]", "{", '"x"', '{"duration": "long", "fingerprint": 3, "start": null}'])
def test_notes_in_a_file_that_are_not_ours(tmp_path: Path, about: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"clips": CLIPS}, path, {"mttsg": about})
    try:
        read = read_features(path)
    except FeatureError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert read.duration is None
        assert read.fingerprint["encoder"] == EXTERNAL


def test_written_and_read_again(tmp_path: Path) -> None:
    made = VideoFeatures(CLIPS, REGIONS, 12.345678, MADE, start=0.25, lost_clips=2)
    path = tmp_path / "deep" / "er" / "a.safetensors"
    write_features(path, made)
    read = read_features(path)
    assert read.regions is not None
    assert np.array_equal(read.clips, CLIPS)
    assert np.array_equal(read.regions, REGIONS)
    assert (read.clips.dtype, read.regions.dtype) == (np.float32, np.float16)
    assert (read.duration, read.start, read.lost_clips, read.fingerprint) == (12.345678, 0.25, 2, MADE)
    assert read.timeline.to_seconds([0, 4]) == pytest.approx([0.25, 12.595678])


def test_without_a_duration_there_is_no_timeline() -> None:
    with pytest.raises(FeatureError, match="duration"):
        _ = VideoFeatures(CLIPS, None, None, MADE).timeline


@given(rows=st.integers(1, 60), bins=st.integers(1, 60), width=st.integers(1, 3), seed=st.integers(0, 99))
def test_at_most_so_many_clips_keeps_the_mean(rows: int, bins: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(rows, 2, width)).astype(np.float32)
    made = VideoFeatures(values.mean(1), values, 7.0, MADE).at_most(bins)
    assert len(made.clips) == min(rows, bins)
    assert made.regions is not None
    assert made.regions.shape == (min(rows, bins), 2, width)
    np.testing.assert_allclose(made.clips.mean(0), values.mean(1).mean(0), atol=1e-5)
    np.testing.assert_allclose(made.regions.mean(0), values.mean(0), atol=1e-5)
    assert made.duration == 7.0


def test_at_most_averages_neighbours() -> None:
    made = VideoFeatures(np.arange(6, dtype=np.float16)[:, None], None, 3.0, MADE)
    assert made.at_most(3).clips[:, 0].tolist() == [0.5, 2.5, 4.5]
    assert made.at_most(4).clips[:, 0] == pytest.approx([1 / 3, 5 / 3, 10 / 3, 14 / 3], abs=2e-3)
    assert made.at_most(6) is made
    assert made.at_most(4).clips.dtype == np.float16


def _store(folder: Path, **options: int) -> FeatureStore:
    for number in range(4):
        write_features(folder / f"{number}.safetensors", features(10, seed=number, regions=False))
    np.save(folder / "x.npy", CLIPS)
    files = {name: folder / f"{name}.safetensors" for name in "0123"} | {"x": folder / "x.npy", "y": folder / "y.npy"}
    return FeatureStore(files, {"x": 4.0, "0": 99.0}, **{"max_clips": 5, **options})


def test_at_most_needs_no_memory_for_a_second_copy() -> None:
    regions = np.ones((4000, 16, 32), dtype=np.float16)  # 4 MB
    made = VideoFeatures(regions[:, 0], regions, 7.0, MADE)
    tracemalloc.start()
    try:
        made.at_most(64)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < regions.nbytes / 2


def test_a_store_averages_and_knows_durations(tmp_path: Path) -> None:
    store = _store(tmp_path)
    assert store.load("0").clips.shape == (5, 6)
    assert store.load("0").duration == 5.0  # what the file says counts
    assert store.load("x").duration == 4.0
    with pytest.raises(FeatureError, match="absent: no features"):
        store.load("absent")
    with pytest.raises(FeatureError, match=r"y\.npy"):
        store.load("y")
    with pytest.raises(FeatureError, match=r"x\.npy: the duration of the video is not known"):
        FeatureStore(store.files).load("x")


def test_a_store_reads_a_file_once_and_forgets_when_memory_is_short(tmp_path: Path) -> None:
    store = _store(tmp_path)
    first = store.load("0")
    assert store.load("0") is first
    small = _store(tmp_path, max_bytes=2 * first.nbytes)
    kept = small.load("0")
    small.load("1")
    assert small.load("0") is kept
    small.load("2")  # drops 1, which was not used lately
    assert small.load("0") is kept
    tiny = _store(tmp_path, max_bytes=1)
    assert tiny.load("0").clips.shape == tiny.load("1").clips.shape


def test_fingerprints_that_differ_are_both_named() -> None:
    same_fingerprint({"encoder": "a", "fps": 2.0}, {"fps": 2.0, "encoder": "a"}, "x")
    with pytest.raises(FeatureError, match=r"'clip'.*'classic'") as caught:
        same_fingerprint({"encoder": "clip", "fps": 1}, {"encoder": "classic", "fps": 2}, "v.npy")
    assert str(caught.value).startswith("v.npy: ")


class TestCache:
    """A file is known by its content; how features were made is part of their address."""

    @pytest.fixture
    def video(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.mp4"
        path.write_bytes(os.urandom(3_000_000))
        return path

    def test_a_renamed_or_moved_file_keeps_its_features(self, video: Path, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path / "cache")
        before = cache.path(video, MADE)
        (tmp_path / "other").mkdir()
        moved = video.rename(tmp_path / "other" / "b.mkv")
        assert cache.path(moved, MADE) == before
        assert before.is_relative_to(tmp_path / "cache")

    def test_changed_content_has_other_features(self, video: Path, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path / "cache")
        status, before = video.stat(), cache.path(video, MADE)
        data = video.read_bytes()
        for changed in (b"x" + data[1:], data[:-4096], data + b"x"):
            video.write_bytes(changed)
            os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
            assert cache.path(video, MADE) != before
        video.write_bytes(data)
        os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert cache.path(video, MADE) == before
        os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
        assert cache.path(video, MADE) != before

    def test_every_setting_counts_and_their_order_does_not(self, video: Path, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path)
        made = {"encoder": "classic", "version": 1, "fps": 2.0}
        others = [{**made, "fps": 1.0}, {**made, "version": 2}, {**made, "encoder": "c"}, {**made, "new": 0}]
        assert len({cache.path(video, other) for other in [made, *others]}) == 5
        assert cache.path(video, dict(reversed(made.items()))) == cache.path(video, made)

    def test_an_encoders_name_cannot_leave_the_cache(self, video: Path, tmp_path: Path) -> None:
        path = FeatureCache(tmp_path / "cache").path(video, {"encoder": "../../org/" + "x" * 300})
        assert path.resolve().is_relative_to((tmp_path / "cache").resolve())

    def test_a_missing_video_is_an_os_error(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No such file"):
            FeatureCache(tmp_path).path(tmp_path / "absent.mp4", MADE)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_what_safetensors_cannot_write_is_an_error_of_the_system(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        raise SafetensorError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="no such permissions")
def test_whoever_may_read_new_files_may_read_features(tmp_path: Path) -> None:
    write_features(tmp_path / "a.safetensors", features(5))
    (tmp_path / "new").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_a_writer_killed_at_any_moment_leaves_nothing_that_loads_wrong(tmp_path: Path) -> None:
    """It writes features of only ones and only twos in turn over one file; whatever is there is one or the other."""
    target = tmp_path / "a.safetensors"
    program = f"""
import itertools, numpy as np
from pathlib import Path
from mttsg_core.features import VideoFeatures, write_features
print("ready", flush=True)
for value in itertools.cycle((1, 2)):
    write_features(Path({str(target)!r}), VideoFeatures(np.full((600, 512), value, np.float32), None, 9.0, {{}}))
"""
    for delay in (0.0, 0.004, 0.011, 0.03):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        if target.exists():
            read = read_features(target)
            assert read.clips.shape == (600, 512)
            assert len(np.unique(read.clips)) == 1
    assert target.exists()
    leftovers = [path for path in tmp_path.iterdir() if path != target]
    assert all(path.name.startswith(".") and path.suffix != target.suffix for path in leftovers)  # no features


def test_a_file_of_npy_that_announces_more_than_there_is(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 1024)})
    path = tmp_path / "a.npy"
    path.write_bytes(buffer.getvalue() + b"\0" * 100)
    with pytest.raises(FeatureError, match="cannot be read"):
        read_features(path)
