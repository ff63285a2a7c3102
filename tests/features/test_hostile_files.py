"""Feature files of strangers: small ones that want much memory, that point to other files, or whose values are mad."""

from __future__ import annotations

import io
import json
import os
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from mttsg_core.errors import FeatureError
from mttsg_core.features.arrays import largest_value
from mttsg_core.features.store import FeatureStore, VideoFeatures, read_features, write_features

CLIPS = np.arange(12, dtype=np.float32).reshape(4, 3)
SECRET = np.arange(12, dtype=np.float32).reshape(4, 3) + 77


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """Reading a file fails when it asks for more than a gibibyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refusal(path: Path, video: str = "video") -> str:
    """The message with which a file is refused: one line that names it."""
    with pytest.raises(FeatureError) as caught:
        read_features(path, video)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
    return message.removeprefix(f"{path}: ")


def npy_header(shape: tuple[int, ...], version: int = 1) -> bytes:
    buffer = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if version == 1 else np.lib.format.write_array_header_2_0
    write(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.usefixtures("limited_memory")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", [(10**6, 1024), (2**40, 2**40), (10**9, 1, 1)])
def test_an_array_of_many_gigabytes_is_refused_before_it_is_read(
    tmp_path: Path, shape: tuple[int, ...], version: int
) -> None:
    (tmp_path / "a.npy").write_bytes(npy_header(shape, version))
    with (tmp_path / "a.npy").open("r+b") as file:  # with holes, the whole file takes no room on the disk
        file.truncate(min(len(npy_header(shape, version)) + 4 * int(np.prod(shape, dtype=object)), 2**42))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("clips.npy", npy_header(shape, version) + bytes(1 << 20))
    with h5py.File(tmp_path / "a.h5", "w") as hdf5:
        hdf5.create_dataset("video", shape, dtype="f4", chunks=(1 << 10, 1, 1)[: len(shape)])
    for name in ("a.npy", "a.npz", "a.h5"):
        assert "GiB, at most 2 GiB is possible for one video" in refusal(tmp_path / name)


@pytest.mark.usefixtures("limited_memory")
def test_large_arrays_that_are_compressed_to_almost_nothing_are_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("clips.npy", "w") as file,
    ):
        file.write(npy_header((1 << 18, 100)))
        for _ in range(100):
            file.write(bytes(1 << 20))
    with h5py.File(tmp_path / "a.h5", "w") as hdf5:
        hdf5.create_dataset("video", (2_000_000, 256), dtype="f4", chunks=(1000, 256))
        hdf5.create_dataset("smaller", (200_000, 256), dtype="f4", chunks=(1000, 256))
    assert refusal(tmp_path / "a.npz").endswith("bytes in the file: not the features of a video")
    assert refusal(tmp_path / "a.h5", "smaller").endswith(
        "takes 0.2 GiB, but 0 bytes in the file: not the features of a video"
    )


def test_small_arrays_may_be_compressed_to_almost_nothing(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", clips=np.zeros((1000, 512), np.float32))
    assert read_features(tmp_path / "a.npz").clips.shape == (1000, 512)


@pytest.mark.parametrize("name", ["clips", "regions"])
def test_the_size_of_safetensors_is_limited(tmp_path: Path, name: str) -> None:
    shape = (10**6, 1024) if name == "clips" else (10**6, 16, 64)
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * 1024 * 10**6]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 4 * 1024 * 10**6)
    assert "takes 3.8 GiB, at most 2 GiB is possible" in refusal(path)


class TestOtherFiles:
    """What an HDF5 file refers to outside itself is never read."""

    @pytest.fixture
    def secret(self, tmp_path: Path) -> Path:
        (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
        with h5py.File(tmp_path / "secret.h5", "w") as file:
            file["video"] = SECRET
        return tmp_path

    def test_external_storage(self, secret: Path) -> None:
        with h5py.File(secret / "a.h5", "w") as file:
            file.create_dataset(
                "video", SECRET.shape, dtype="f4", external=[(str(secret / "secret.bin"), 0, SECRET.nbytes)]
            )
        assert refusal(secret / "a.h5") == "the numbers of 'video' are in another file, which is never read"

    def test_virtual_data_sets(self, secret: Path) -> None:
        layout = h5py.VirtualLayout(SECRET.shape, dtype="f4")
        layout[:] = h5py.VirtualSource(secret / "secret.h5", "video", SECRET.shape)
        with h5py.File(secret / "a.h5", "w") as file:
            file.create_virtual_dataset("video", layout)
        assert refusal(secret / "a.h5") == "the numbers of 'video' are in another file, which is never read"

    def test_external_links(self, secret: Path) -> None:
        os.mkfifo(secret / "pipe")
        for target in (secret / "secret.h5", secret / "pipe", "/dev/zero"):
            with h5py.File(secret / "a.h5", "w") as file:
                file["video"] = h5py.ExternalLink(str(target), "video")
                file["group/first"] = h5py.ExternalLink(str(target), "video")
                file["soft"] = h5py.SoftLink("/group/first")
                file["deep"] = h5py.SoftLink("video")
            for video in ("video", "group", "group/first", "soft", "deep", "/video", "video/below"):
                assert refusal(secret / "a.h5", video).endswith("is a link to another file, which is never read"), video

    def test_links_inside_the_file_are_followed(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["data/one"] = CLIPS
            file["video"] = h5py.SoftLink("/data/one")
            file["folder"] = h5py.SoftLink("data")
            file["loop"] = h5py.SoftLink("/loop")
            file["nowhere"] = h5py.SoftLink("/data/two")
        for video in ("video", "folder", "folder/one", "data"):
            assert read_features(tmp_path / "a.h5", video).clips.tolist() == CLIPS.tolist()
        for video in ("loop", "nowhere", "folder/two", "", "..", "video/x"):
            assert "no data set" in refusal(tmp_path / "a.h5", video)

    @pytest.mark.parametrize("kind", ["text", "integers", "object", "type", "empty"])
    def test_data_sets_that_are_not_numbers(self, tmp_path: Path, kind: str) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            numbers = {"integers": np.ones((3, 2), np.int64), "type": np.dtype("f4"), "empty": h5py.Empty("f4")}
            if kind == "object":
                file.create_dataset("video", (3,), dtype=h5py.vlen_dtype(np.float32))
            else:
                file["video"] = numbers.get(kind, "words")
        assert refusal(tmp_path / "a.h5")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".h5"])
def test_what_is_not_a_regular_file_is_never_opened(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"folder{suffix}").mkdir()
    assert refusal(tmp_path / f"pipe{suffix}") == "not a feature file: not a regular file"
    assert refusal(tmp_path / f"device{suffix}") == "not a feature file: not a regular file"
    assert refusal(tmp_path / f"folder{suffix}") == "not a feature file: a folder"


@pytest.mark.parametrize("name", ["duration", "start", "lost_clips"])
@pytest.mark.parametrize("value", [10**400, -(10**400), 1e300, float("nan"), float("inf"), -1e9])
def test_a_number_out_of_range_in_the_metadata(tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"clips": CLIPS}, path, {"mttsg": json.dumps({name: value})})
    assert refusal(path).startswith(f"{name} = ")


@pytest.mark.parametrize("metadata", ["9" * 5000, '{"duration": ' + "9" * 5000 + "}", "[" * 200_000, '{"a":' * 200_000])
def test_metadata_that_cannot_be_parsed(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"clips": CLIPS}, path, {"mttsg": metadata})
    assert refusal(path)


@pytest.mark.parametrize(
    "fingerprint", [{"encoder": 3}, {"fps": 2.0}, {"encoder": "x", "fps": "abc"}, {"encoder": "x" * 9, "fps": -1}]
)
def test_a_fingerprint_that_is_not_one(tmp_path: Path, fingerprint: dict[str, object]) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"clips": CLIPS}, path, {"mttsg": json.dumps({"fingerprint": fingerprint})})
    assert ": must be " in refusal(path)


@pytest.mark.parametrize(("dtype", "value"), [(np.float64, 1e300), (np.float32, 3e38), (np.float32, -1e16)])
def test_values_whose_square_single_precision_cannot_hold(tmp_path: Path, dtype: type, value: float) -> None:
    clips: np.ndarray = CLIPS.astype(dtype)
    clips[2, 1] = value
    np.save(tmp_path / "a.npy", clips)
    assert refusal(tmp_path / "a.npy").startswith("'clips' contains a value of ")
    save_file({"clips": CLIPS, "regions": clips[:, :, None]}, tmp_path / "a.safetensors")
    assert refusal(tmp_path / "a.safetensors").startswith("'regions' contains a value of ")


def test_a_file_unlike_the_others_is_dropped_and_named(tmp_path: Path) -> None:
    """Its values would be averaged into the statistics of the features, and flatten all other videos."""
    files: dict[str, Path] = {}
    for number, scale in enumerate([1.0, 2.0, 0.5, 1e6, 1.5, 0.0]):
        files[str(number)] = tmp_path / f"{number}.safetensors"
        clips = np.full((5, 3), scale, np.float32)
        regions = np.ones((5, 2, 2), np.float16)
        if number == 4:
            regions[3, 1, 0] = 2000
        write_features(files[str(number)], VideoFeatures(clips, regions, 5.0, {"encoder": "x"}))
    files["bad"] = tmp_path / "bad.npy"
    files["bad"].write_bytes(b"")
    store = FeatureStore(files)
    reasons = store.drop_unusable(sorted(files))
    assert [reason.partition(": ")[0] for reason in reasons] == [str(files[name]) for name in ("bad", "3", "4")]
    assert (
        "3.safetensors: '3' has a value of 1e+06, where those of other videos are about 1.25: not the same"
        in reasons[1]
    )
    assert sorted(store.files) == ["0", "1", "2", "5"]


@pytest.mark.parametrize("scales", [[1.0], [1.0, 1e6], [0.0, 0.0, 1.0], [1.0, 900.0, 1.0], []])
def test_files_are_compared_with_several_others(tmp_path: Path, scales: list[float]) -> None:
    files = {str(number): tmp_path / f"{number}.npy" for number in range(len(scales))}
    for path, scale in zip(files.values(), scales, strict=True):
        np.save(path, np.full((5, 3), scale, np.float32))
    store = FeatureStore(files, dict.fromkeys(files, 5.0))
    assert store.drop_unusable(files) == []


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize(
    ("values", "largest"),
    [
        ([1, -3], 3),
        ([-0.0, 0.0], 0),
        ([np.inf, 1], np.inf),
        ([-np.inf, np.nan], np.nan),
        ([6e-8], 6e-8),
        ([65504, 1], 65504),
    ],
)
def test_the_largest_value(dtype: str, values: list[float], largest: float) -> None:
    array = np.array([values, values], dtype=dtype)
    np.testing.assert_allclose(largest_value(array[:, ::-1]), largest, rtol=1e-2)
