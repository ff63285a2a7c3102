"""Feature files of every format, intact and damaged."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mttsg_core.errors import FeatureError
from mttsg_core.features import store
from mttsg_core.features.store import EXTERNAL, VideoFeatures, read_features, write_features
from tests.helpers import tiny
from tests.helpers.tiny import FINGERPRINT

CASES = Path(__file__).parents[3] / "shared" / "cases"
CLIPS = np.arange(12, dtype=np.float32).reshape(4, 3)
REGIONS = np.arange(40, dtype=np.float32).reshape(4, 5, 2)


def write(path: Path, **arrays: Any) -> Path:
    """Write a file of external features."""
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


SUFFIXES = [".npy", ".npz", ".safetensors", ".h5", ".hdf5"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_clip_vectors_in_every_format(tmp_path: Path, suffix: str, dtype: type) -> None:
    read = read_features(write(tmp_path / f"a{suffix}", clips=CLIPS.astype(dtype)), "video")
    assert np.array_equal(read.clips, CLIPS)
    assert read.regions is None
    assert read.duration is None
    assert read.fingerprint == {"encoder": EXTERNAL, "clip_dim": 3, "regions": 0, "region_dim": 0}


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_arrays_with_three_axes_are_regions_whose_mean_is_the_clips(tmp_path: Path, suffix: str) -> None:
    read = read_features(write(tmp_path / f"a{suffix}", regions=REGIONS), "video")
    assert read.regions is not None
    assert np.array_equal(read.regions, REGIONS)
    np.testing.assert_allclose(read.clips, REGIONS.mean(1))
    assert read.fingerprint == {"encoder": EXTERNAL, "clip_dim": 2, "regions": 5, "region_dim": 2}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_clips_and_regions_in_one_file(tmp_path: Path, suffix: str) -> None:
    read = read_features(write(tmp_path / f"a{suffix}", clips=CLIPS, regions=REGIONS, other=np.zeros(1)))
    assert read.regions is not None
    assert np.array_equal(read.clips, CLIPS)
    assert np.array_equal(read.regions, REGIONS)
    regions_only = read_features(write(tmp_path / f"b{suffix}", regions=REGIONS))
    np.testing.assert_allclose(regions_only.clips, REGIONS.mean(1))


def test_a_group_with_one_data_set_in_hdf5(tmp_path: Path) -> None:
    """As in ActivityNet's published C3D features."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["v_abc/c3d_features"] = CLIPS
        file.create_group("empty")
    assert np.array_equal(read_features(path, "v_abc").clips, CLIPS)
    for name in ("v_missing", "empty"):
        with pytest.raises(FeatureError, match=f"no data set '{name}'"):
            read_features(path, name)


def _with_value(value: float) -> np.ndarray:
    array = CLIPS.copy()
    array[2, 1] = value
    return array


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (_with_value(np.nan), "NaN or infinite"),
        (_with_value(np.inf), "NaN or infinite"),
        (CLIPS[0], "2 axes"),
        (CLIPS[None, None], "2 axes"),
        (CLIPS[:0], "2 axes"),
        (CLIPS[:, :0], "2 axes"),
        (CLIPS.astype(np.int64), "floating-point numbers"),
    ],
)
def test_arrays_that_are_not_features(tmp_path: Path, suffix: str, array: np.ndarray, reason: str) -> None:
    with pytest.raises(FeatureError, match=reason) as caught:
        read_features(write(tmp_path / f"a{suffix}", clips=array), "video")
    assert str(caught.value).startswith(f"{tmp_path / 'a'}{suffix}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_regions_must_match_the_clips(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FeatureError, match="4 clips, but regions for 3"):
        read_features(write(tmp_path / f"a{suffix}", clips=CLIPS, regions=REGIONS[:3]))
    with pytest.raises(FeatureError, match="3 axes"):
        read_features(write(tmp_path / f"b{suffix}", clips=CLIPS, regions=CLIPS))
    with pytest.raises(FeatureError, match="neither"):
        read_features(write(tmp_path / f"c{suffix}", other=CLIPS))


class Trap:
    """An object that creates a folder if it is ever unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_rejected_without_loading_them(tmp_path: Path, suffix: str) -> None:
    trapped = tmp_path / "trapped"
    path = tmp_path / f"a{suffix}"
    array = np.array([Trap(trapped)], dtype=object)
    if suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, clips=array)
    with pytest.raises(FeatureError, match="cannot be read as features: an array of Python objects; save the numbers"):
        read_features(path)
    raw = tmp_path / "raw.npy"
    raw.write_bytes(pickle.dumps(Trap(trapped)))
    with pytest.raises(FeatureError, match="cannot be read as features: a Python pickle; a pickle is never loaded"):
        read_features(raw)
    torch.save({"clips": Trap(trapped)}, raw)
    with pytest.raises(FeatureError, match="a PyTorch pickle; a pickle is never loaded; save"):
        read_features(raw)
    assert not trapped.exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".pickle"])
def test_pickles_are_known_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    torch.save({"clips": torch.zeros(3, 2)}, path)
    with pytest.raises(FeatureError, match="not a feature file: a pickle is never loaded; save"):
        read_features(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "a Git LFS pointer, not features: run"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page, not features: a failed download"),
        (bytes(4096), "a file that begins with zeros, not features: an unfinished download"),
    ],
)
def test_files_in_the_place_of_features(tmp_path: Path, suffix: str, content: bytes, reason: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(FeatureError) as caught:
        read_features(path, "video")
    assert str(caught.value).startswith(f"{path}: {reason}")


def test_formats_that_are_mixed_up(tmp_path: Path) -> None:
    for written, named, kind in ((".npy", ".h5", "a NumPy array"), (".hdf5", ".npy", "an HDF5 file")):
        path = write(tmp_path / f"a{written}", clips=CLIPS).rename(tmp_path / f"b{named}")
        with pytest.raises(FeatureError, match=f"{kind}, not features"):
            read_features(path, "video")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_batch_axis_is_removed(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    files = [write(tmp_path / f"{name}{suffix}", clips=CLIPS[None]) for name in "ab"]
    for path in files:
        read = read_features(path, "video")
        assert np.array_equal(read.clips, CLIPS)
        assert read.regions is None
        assert read.fingerprint == {"encoder": EXTERNAL, "clip_dim": 3, "regions": 0, "region_dim": 0}
    assert caplog.messages == [f"{tmp_path}: features of shape (1, T, D) are read as (T, D), without the batch axis"]


def test_a_batch_axis_of_clips_and_regions(tmp_path: Path) -> None:
    read = read_features(write(tmp_path / "a.npz", clips=CLIPS[None], regions=REGIONS[None]))
    assert read.regions is not None
    assert np.array_equal(read.clips, CLIPS)
    assert np.array_equal(read.regions, REGIONS)


def test_one_clip_with_regions_is_no_batch(tmp_path: Path) -> None:
    write_features(tmp_path / "a.safetensors", VideoFeatures(CLIPS[:1], REGIONS[:1], 1.0, FINGERPRINT))
    for path in (tmp_path / "a.safetensors", write(tmp_path / "b.npz", regions=REGIONS[:1])):
        read = read_features(path)
        assert read.regions is not None
        assert np.array_equal(read.regions, REGIONS[:1])


@pytest.mark.data
@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} does not exist")
def test_the_published_case_of_a_batch_axis() -> None:
    files = sorted((CASES / "features_batch_axis" / "features").iterdir())
    assert {read_features(path).clips.shape for path in files} == {(75, 16)}


def test_missing_files_and_unknown_formats(tmp_path: Path) -> None:
    for name in ("absent.npy", "absent.npz", "absent.safetensors", "absent.h5"):
        with pytest.raises(FeatureError, match=name):
            read_features(tmp_path / name, "video")
    (tmp_path / "a.pt").write_bytes(b"x")
    with pytest.raises(FeatureError, match="not a feature file"):
        read_features(tmp_path / "a.pt")
    with pytest.raises(FeatureError):
        read_features(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_are_read_or_rejected_in_one_line(tmp_path: Path, suffix: str) -> None:
    """Files are truncated, or have bytes changed, anywhere."""
    intact = write(tmp_path / f"intact{suffix}", clips=np.linspace(0, 1, 300, dtype=np.float32).reshape(50, 6))
    data = intact.read_bytes()
    damaged = tmp_path / f"a{suffix}"
    random = np.random.default_rng(0)
    truncated = [data[:n] for n in {0, 1, 5, 50, len(data) // 2, len(data) - 1}]
    changed = []
    for _ in range(150):
        copy = bytearray(data)
        for position in random.integers(0, len(data) if random.random() < 0.5 else min(len(data), 160), 3):
            copy[position] = random.integers(256)
        changed.append(bytes(copy))
    rejected = 0
    for content in [*truncated, *changed]:
        damaged.write_bytes(content)
        try:
            read = read_features(damaged, "video")
        except FeatureError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert str(damaged) in str(error)  # noqa: PT017
            rejected += 1
        else:
            assert np.isfinite(read.clips).all()
    assert rejected >= len(truncated) - (suffix in (".h5", ".hdf5"))


@pytest.mark.parametrize("metadata", ["[]", "{", '"x"', '{"duration": "long", "fingerprint": 3, "start": null}'])
def test_metadata_of_other_programs(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"clips": CLIPS}, path, {"mttsg": metadata})
    try:
        read = read_features(path)
    except FeatureError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert read.duration is None
        assert read.fingerprint["encoder"] == EXTERNAL


def test_features_are_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    features = VideoFeatures(CLIPS, REGIONS, 12.345678, FINGERPRINT, start=0.25, lost_clips=2)
    path = tmp_path / "deep" / "er" / "a.safetensors"
    write_features(path, features)
    read = read_features(path)
    assert read.regions is not None
    assert np.array_equal(read.clips, CLIPS)
    assert np.array_equal(read.regions, REGIONS)
    assert read.clips.dtype == np.float32
    assert read.regions.dtype == np.float16
    assert (read.duration, read.start, read.lost_clips, read.fingerprint) == (12.345678, 0.25, 2, FINGERPRINT)
    assert read.timeline.to_seconds([0, 4]) == pytest.approx([0.25, 12.595678])


def test_an_npy_file_that_announces_more_data_than_it_has(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 1024)})
    path = tmp_path / "a.npy"
    path.write_bytes(buffer.getvalue() + b"\0" * 100)
    with pytest.raises(FeatureError, match=r"takes 3814697\.3 GiB, at most 2 GiB is possible for one video"):
        read_features(path)
    path.write_bytes(buffer.getvalue().replace(b"1000000000000", b"10".ljust(13)) + b"\0" * 100)
    with pytest.raises(FeatureError, match="the file is shorter than its header says"):
        read_features(path)


def test_an_error_of_safetensors_while_writing_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(store, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        write_features(tmp_path / "a.safetensors", tiny.features(5))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_feature_files_have_the_permissions_of_new_files(tmp_path: Path) -> None:
    write_features(tmp_path / "a.safetensors", tiny.features(5))
    (tmp_path / "new").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode


@pytest.mark.subprocess
def test_a_writer_killed_at_any_moment_leaves_a_complete_file(tmp_path: Path) -> None:
    """The writer alternates between features of ones and of twos; the file always holds one or the other."""
    target = tmp_path / "a.safetensors"
    program = f"""
import itertools, numpy as np
from pathlib import Path
from mttsg_core.features.store import VideoFeatures, write_features
for value in itertools.cycle((1, 2)):
    write_features(Path({str(target)!r}), VideoFeatures(np.full((600, 512), value, np.float32), None, 9.0, {{}}))
    print("written", flush=True)
"""
    for writes in (1, 2, 3, 10):  # complete writes before the kill, which comes during the next one
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(writes):
                assert writer.stdout.readline()
            writer.kill()
        read = read_features(target)
        assert read.clips.shape == (600, 512)
        assert len(np.unique(read.clips)) == 1
    leftovers = [path for path in tmp_path.iterdir() if path != target]
    assert all(path.name.startswith(".") and path.suffix != target.suffix for path in leftovers)  # not feature files
