"""Seeded generators of hostile feature files: damaged, mad, gigantic, linked, pickled or not files at all."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
from hostile_cases import (
    CLIPS,
    DIM,
    FINGERPRINT,
    JUNK,
    REFUSED,
    Case,
    Payload,
    damage,
    pick,
    save_features,
)
from safetensors.numpy import save_file

from mttsg_core.features.store import read_features


def hostile_features(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make a feature file: of every format, with damaged bytes, mad values, wrong shapes, or that wants memory."""
    make = pick(
        random, [damaged_features, mad_metadata, mad_values, wrong_array, bomb, other_file, not_a_file, pickled]
    )
    return make(random, base, folder)


def damaged_features(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Change bytes of a feature file."""
    features = read_features(base / "good.safetensors")
    suffix = pick(random, [".npy", ".npz", ".safetensors", ".h5"])
    path = save_array(folder / f"a{suffix}", features.clips)
    path.write_bytes(damage(random, path.read_bytes()))
    return Case(path, f"bytes of a {suffix} file")


def mad_metadata(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Record mad numbers and texts in a feature file."""
    features = read_features(base / "good.safetensors")
    path = folder / "a.safetensors"
    name = pick(random, ["duration", "start", "lost_clips", "fingerprint", "encoder", "fps", "raw"])
    value = pick(random, JUNK)
    if name == "raw":
        text = pick(random, ["", "[" * 100_000, "9" * 5000, "{", json.dumps(value), '{"a":' * 50_000])
        save_file({"clips": features.clips}, path, {"mttsg": text})
    elif name in ("encoder", "fps"):
        save_features(path, features.clips, features.regions, fingerprint={**FINGERPRINT, name: value})
    else:
        save_features(path, features.clips, features.regions, **{name: value})
    return Case(path, f"{name} = {value!r:.60}")


def mad_values(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Write a value that no features have."""
    features = read_features(base / "good.safetensors")
    value = pick(random, [np.nan, np.inf, -np.inf, 3e38, -1e20, 1e300])
    clips = features.clips.astype(np.float64 if value == 1e300 else np.float32)
    clips[random.integers(CLIPS), random.integers(DIM)] = value
    suffix = pick(random, [".npy", ".npz", ".safetensors", ".h5"])
    return Case(save_array(folder / f"a{suffix}", clips), f"a value of {value}", REFUSED)


def wrong_array(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Write an array that is not features."""
    shape = pick(random, [(), (0,), (5,), (0, 6), (20, 0), (20, 7), (2, 3, 4, 5), (20, 4, 3), (1, 20, 7)])
    dtype = pick(random, ["f4", "i8", "?", "S5", "c8", ">f4", "f2", "m8[s]"])
    suffix = pick(random, [".npy", ".npz"])
    path = save_array(folder / f"a{suffix}", np.zeros(shape, dtype))
    return Case(path, f"{dtype} of shape {shape}", REFUSED)


def bomb(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make a small file that announces gigabytes."""
    shape = pick(random, [(10**6, 1024), (2**40, 2**20), (10**9, 6), (10**8, 4, 3)])
    kind = pick(random, ["npy", "npz", "zeros", "h5", "safetensors"])
    path = folder / f"a.{'npz' if kind == 'zeros' else kind}"
    size = min(4 * int(np.prod(shape, dtype=object)), 2**42)
    if kind == "npy":
        path.write_bytes(npy_header(shape))
        os.truncate(path, size + 128)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("video", shape, dtype="f4", chunks=(1024, 1, 1)[: len(shape)])
    elif kind == "safetensors":
        content = json.dumps({"clips": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
        path.write_bytes(len(content).to_bytes(8, "little") + content)
        os.truncate(path, 8 + len(content) + size)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            whole = npy_header((1 << 19, 64)) + bytes(1 << 27)
            archive.writestr("clips.npy", whole if kind == "zeros" else npy_header(shape) + bytes(1 << 20))
    return Case(path, f"{kind} of shape {shape}", REFUSED)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the start of a file in NumPy's format."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def other_file(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make an HDF5 file whose numbers are in another file."""
    secret, target = folder / "secret.bin", folder / "secret.h5"
    numbers = np.ones((CLIPS, DIM), np.float32)
    secret.write_bytes(numbers.tobytes())
    save_array(target, numbers)
    kind = pick(random, ["external", "virtual", "link", "pipe", "soft"])
    with h5py.File(folder / "a.h5", "w") as file:
        if kind == "external":
            file.create_dataset("video", numbers.shape, dtype="f4", external=[(str(secret), 0, numbers.nbytes)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(numbers.shape, dtype="f4")
            layout[:] = h5py.VirtualSource(target, "video", numbers.shape)
            file.create_virtual_dataset("video", layout)
        elif kind == "pipe":
            os.mkfifo(folder / "pipe")
            file["video"] = h5py.ExternalLink(str(folder / "pipe"), "video")
        else:
            file["other"] = h5py.ExternalLink(str(target), "video")
            file["video"] = h5py.SoftLink("/other") if kind == "soft" else h5py.ExternalLink(str(target), "video")
    return Case(folder / "a.h5", kind, REFUSED)


def not_a_file(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Make something that is not a regular file."""
    path = folder / f"a{pick(random, ['.npy', '.npz', '.safetensors', '.h5'])}"
    kind = pick(random, ["pipe", "device", "folder", "loop", "missing"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.symlink_to("/dev/zero" if kind == "device" else path.name)
    return Case(path, kind, REFUSED)


def pickled(random: np.random.Generator, base: Path, folder: Path) -> Case:
    """Pickle an object that would leave a mark."""
    path = folder / f"a{pick(random, ['.npy', '.npz', '.pt', '.pkl', '.h5', '.safetensors'])}"
    if path.suffix == ".npz":
        np.savez(path, clips=np.array([Payload()], dtype=object))
    elif path.suffix == ".npy" and random.random() < 0.5:
        np.save(path, np.array([Payload()], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Payload()))
    return Case(path, "a pickle", REFUSED)


def save_array(path: Path, array: np.ndarray) -> Path:
    """Write an array as the features of a video, in the format of the suffix."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, clips=array)
    elif path.suffix == ".safetensors":
        save_file({"clips": array}, path)
    else:
        with h5py.File(path, "w") as file:
            file["video"] = array
    return path
