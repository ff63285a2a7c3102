"""The arrays in feature files of common formats, checked, and why a file cannot be read."""

from __future__ import annotations

import json
import logging
import struct
import tokenize
import zlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from mttsg_core.errors import FeatureError, error_summary
from mttsg_core.video.foreign import PICKLES, foreign_content

FloatFeatures = npt.NDArray[np.floating]

# What NumPy, zipfile, h5py and safetensors raise for damaged files, as fuzzing has shown.
_READ_ERRORS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError),
    *(SyntaxError, MemoryError, AssertionError, BadZipFile, SafetensorError, zlib.error, struct.error),
    tokenize.TokenError,
)
_PICKLE_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle")
_NO_PICKLES = "a pickle is never loaded; save its array with numpy.save"
_HEAD_BYTES = 512

_log = logging.getLogger("mttsg")


class FeatureArrays(NamedTuple):
    """The content of a feature file.

    Attributes:
        clips: (T, D) one vector per clip.
        regions: (T, R, D_r) one vector per region of each clip, or None.
        metadata: what the writer recorded about them.
    """

    clips: FloatFeatures
    regions: FloatFeatures | None
    metadata: Mapping[str, object]


def load_arrays(path: Path, video: str | None = None) -> FeatureArrays:
    """Read the features of one video from a file.

    Formats: `.npy` (T, D) or (T, R, D); `.npz` or `.safetensors` with `clips` and optionally `regions`; `.h5`/`.hdf5`
    with one data set per video. A batch axis, as in (1, T, D), is removed with a warning. Pickled objects are never
    loaded.

    Args:
        path: the file.
        video: name of the data set inside an HDF5 file; ignored for other formats.

    Raises:
        FeatureError: if the file is missing or damaged, lacks these arrays, or contains NaN or infinite values.
    """
    metadata: Mapping[str, object] = {}
    suffix = path.suffix.lower()
    try:
        if suffix == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                metadata = _metadata_of(file)
                arrays = {name: file.get_tensor(name) for name in file.keys() if name in ("clips", "regions")}  # noqa: SIM118
        elif suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files if name in ("clips", "regions")}
        elif suffix == ".npy":
            arrays = _name_array(np.load(path, allow_pickle=False))
        elif suffix in (".h5", ".hdf5"):
            arrays = _name_array(_read_hdf5(path, video or ""))
        elif suffix in _PICKLE_SUFFIXES:
            raise FeatureError(f"{path}: not a feature file: {_NO_PICKLES}")
        else:
            raise FeatureError(f"{path}: not a feature file; features are .npy, .npz, .safetensors, .h5 or .hdf5 files")
    except FeatureError:
        raise
    except _READ_ERRORS as error:
        raise FeatureError(f"{path}: {unreadable_reason(path, error)}") from error
    clips, regions = arrays.get("clips"), arrays.get("regions")
    if clips is not None and clips.ndim == 3 and len(clips) == 1:
        _warn_of_batch_axis(path.parent)
        clips = clips[0]
        regions = regions[0] if regions is not None and regions.ndim == 4 and len(regions) == 1 else regions
    if clips is None and regions is not None and regions.ndim == 3:
        clips = regions.astype(np.float32).mean(axis=1)
    if clips is None:
        raise FeatureError(f"{path}: contains neither 'clips' nor 'regions'")
    _check_arrays(path, clips, regions)
    return FeatureArrays(clips, regions, metadata)


def read_metadata(path: Path) -> Mapping[str, object]:
    """Return what the writer of a `.safetensors` file recorded, without reading its arrays.

    Raises:
        FeatureError: if the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = _metadata_of(file)
    except _READ_ERRORS as error:
        raise FeatureError(f"{path}: {unreadable_reason(path, error)}") from error
    return metadata


def unreadable_reason(path: Path, error: Exception) -> str:
    """Return why a file cannot be read as features, for an error message.

    Args:
        path: the file.
        error: what reading it raised.
    """
    try:
        with path.open("rb") as file:
            foreign = foreign_content(file.read(_HEAD_BYTES))
    except OSError:
        foreign = None
    if foreign is not None and foreign.kind in PICKLES:
        return f"cannot be read as features: {foreign.kind}; {_NO_PICKLES}"
    if foreign is not None and not _has_own_format(foreign.kind, path):
        return foreign.describe("features")
    if "Object arrays" in str(error):
        return "cannot be read as features: an array of Python objects; save the numbers alone, with dtype float32"
    return f"cannot be read as features ({error_summary(error)})"


def import_hdf5() -> Any:
    """Import and return h5py.

    Raises:
        FeatureError: if it is not installed.
    """
    try:
        return import_module("h5py")
    except ImportError as error:
        raise FeatureError("HDF5 features need h5py: pip install 'mttsg[hdf5]'") from error


def finite_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _metadata_of(file: Any) -> Mapping[str, object]:
    metadata = json.loads((file.metadata() or {}).get("mttsg", "{}"))
    return metadata if isinstance(metadata, dict) else {}  # else written by another program


def _has_own_format(kind: str, path: Path) -> bool:
    """Return whether a damaged file has the format that its suffix announces."""
    own = {"a ZIP archive": ".npz", "a NumPy array": ".npy", "a safetensors file": ".safetensors"}
    return own.get(kind, ".h5" if kind == "an HDF5 file" else "") == path.suffix.lower().replace(".hdf5", ".h5")


def _name_array(array: FloatFeatures) -> dict[str, FloatFeatures]:
    """Return the only array of a file by its name; of one clip with regions there is no such file, but of a batch."""
    return {"regions" if array.ndim == 3 and len(array) != 1 else "clips": array}


@lru_cache(maxsize=256)
def _warn_of_batch_axis(folder: Path) -> None:
    """Warn once for each folder, not for each of its files."""
    _log.warning("%s: features of shape (1, T, D) are read as (T, D), without the batch axis", folder)


def _check_arrays(path: Path, clips: FloatFeatures, regions: FloatFeatures | None) -> None:
    for name, array, axes in (("clips", clips, 2), ("regions", regions, 3)):
        if array is None:
            continue
        if array.ndim != axes or 0 in array.shape or not np.issubdtype(array.dtype, np.floating):
            raise FeatureError(
                f"{path}: {name!r} is {array.dtype} of shape {array.shape}, not floating-point numbers with {axes} axes"
            )
        if not np.isfinite(array).all():
            raise FeatureError(f"{path}: {name!r} contains NaN or infinite values")
    if regions is not None and len(regions) != len(clips):
        raise FeatureError(f"{path}: {len(clips)} clips, but regions for {len(regions)}")


def _read_hdf5(path: Path, video: str) -> FloatFeatures:
    """Return the data set of a video; of a group the first data set, as in ActivityNet's C3D features."""
    h5py = import_hdf5()
    with h5py.File(path, "r") as file:
        node = file.get(video)
        if isinstance(node, h5py.Group):
            node = next(iter(node.values()), None)
        if node is None:
            raise FeatureError(f"{path}: no data set {video!r}")
        return np.asarray(node)
