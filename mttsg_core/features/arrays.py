"""The arrays in feature files of common formats, checked, and why a file cannot be read."""

from __future__ import annotations

import json
import logging
import math
import struct
import tokenize
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from mttsg_core.errors import FeatureError, error_summary
from mttsg_core.features.hdf5 import read_data_set
from mttsg_core.utils.files import is_file
from mttsg_core.utils.text import shorten
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
_NAMES = ("clips", "regions")
_CLIPS_ELSEWHERE = "features"  # the array of a .npz of Moment-DETR and its family
_MAX_BYTES = 2 << 30  # of an array: 16 regions of 768 numbers in single precision for six hours at 2 clips per second
_MAX_COMPRESSION, _FREE_BYTES = 100, 64 << 20  # larger arrays are compressed by no more than this factor
_FAR_OUTSIDE = 1000  # times the values of the other videos: such values are not features of the same kind
_MAX_VALUE = 1e15  # the square of a larger one exceeds single precision
_BYTES_OF_TYPE = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}

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

    Formats: `.npy` (T, D) or (T, R, D); `.npz` or `.safetensors` with `clips` and optionally `regions`, or a `.npz`
    with `features`; `.h5`/`.hdf5` with one data set per video. A batch axis, as in (1, T, D), is removed with a
    warning. Pickled objects are never loaded.

    Args:
        path: the file.
        video: name of the data set inside an HDF5 file; ignored for other formats.

    Raises:
        FeatureError: if the file is missing or damaged, lacks these arrays, or contains NaN or infinite values.
    """
    if path.exists() and not is_file(path):
        raise FeatureError(f"{path}: not a feature file: {'a folder' if path.is_dir() else 'not a regular file'}")
    try:
        arrays, metadata = _read_file(path, video)
    except _READ_ERRORS as error:
        raise FeatureError(f"{path}: {unreadable_reason(path, error)}") from error
    clips, regions = _without_batch_axis(path, arrays.get("clips"), arrays.get("regions"))
    if clips is None and regions is not None and regions.ndim == 3:
        _check_array(path, "regions", regions, axes=3)
        clips = regions.astype(np.float32).mean(axis=1)
    if clips is None:
        raise FeatureError(f"{path}: contains neither 'clips' nor 'regions'")
    _check_arrays(path, clips, regions)
    return FeatureArrays(clips, regions, metadata)


def _read_file(path: Path, video: str | None) -> tuple[dict[str, FloatFeatures], Mapping[str, object]]:
    """Return the arrays of a file by their names, and what its writer recorded. Raises as reading the format does."""
    match path.suffix.lower():
        case ".safetensors":
            with safe_open(path, framework="numpy") as file:
                return _read_safetensors(path, file), _metadata_of(file)
        case ".npz":
            return _read_npz(path), {}
        case ".npy":
            return _name_array(_read_npy(path)), {}
        case ".h5" | ".hdf5":
            return _name_array(read_data_set(path, video or "", check_size)), {}
        case suffix if suffix in _PICKLE_SUFFIXES:
            raise FeatureError(f"{path}: not a feature file: {_NO_PICKLES}")
    raise FeatureError(f"{path}: not a feature file; features are .npy, .npz, .safetensors, .h5 or .hdf5 files")


def _without_batch_axis(
    path: Path, clips: FloatFeatures | None, regions: FloatFeatures | None
) -> tuple[FloatFeatures | None, FloatFeatures | None]:
    """Return arrays (T, ...) of arrays that are perhaps (1, T, ...)."""
    if clips is None or clips.ndim != 3 or len(clips) != 1:
        return clips, regions
    _warn_of_batch_axis(path.parent)
    has_batch_axis = regions is not None and regions.ndim == 4 and len(regions) == 1
    return clips[0], regions[0] if regions is not None and has_batch_axis else regions


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


def largest_value(array: FloatFeatures) -> float:
    """Return the largest absolute value in an array; NaN if it contains NaN.

    >>> largest_value(np.array([[1.0, -3.0]], dtype=np.float16))
    3.0
    """
    if array.dtype == np.float16:  # as integers, which have the same order: NumPy compares them 20 times as fast
        magnitudes = array.view(np.uint16) & 0x7FFF
        return float(magnitudes.max().view(np.float16))
    return max(float(array.max()), -float(array.min()), key=lambda value: (math.isnan(value), value))


def check_size(path: Path, name: str, shape: Sequence[int], itemsize: int, stored: int | None = None) -> None:
    """Check, before an array is read, that it can be the features of one video.

    Args:
        path: the file.
        name: of the array, for the message.
        shape: of the array.
        itemsize: bytes of one of its values.
        stored: bytes that it takes in the file, if it may be compressed there.

    Raises:
        FeatureError: if the array is larger than 2 GiB, or is large and compressed to almost nothing.
    """
    size = math.prod(shape) * itemsize
    described = f"{path}: {name!r} of shape {tuple(shape)} takes {size / 2**30:.1f} GiB"
    if size > _MAX_BYTES:
        raise FeatureError(f"{described}, at most {_MAX_BYTES >> 30} GiB is possible for one video")
    if stored is not None and size > max(_FREE_BYTES, _MAX_COMPRESSION * stored):
        raise FeatureError(f"{described}, but {stored} bytes in the file: not the features of a video")


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
    _check_array(path, "clips", clips, axes=2)
    if regions is not None:
        _check_array(path, "regions", regions, axes=3)
    if regions is not None and len(regions) != len(clips):
        raise FeatureError(f"{path}: {len(clips)} clips, but regions for {len(regions)}")


def _check_array(path: Path, name: str, array: FloatFeatures, axes: int) -> None:
    """Raise FeatureError unless an array has so many axes, and finite numbers of usual size."""
    if array.ndim != axes or 0 in array.shape or not np.issubdtype(array.dtype, np.floating):
        raise FeatureError(
            f"{path}: {name!r} is {array.dtype} of shape {array.shape}, not floating-point numbers with {axes} axes"
        )
    largest = largest_value(array)
    if not largest < np.inf:
        raise FeatureError(f"{path}: {name!r} contains NaN or infinite values")
    if largest > _MAX_VALUE:
        raise FeatureError(f"{path}: {name!r} contains a value of {largest:.3g}, more than {_MAX_VALUE:g}")


def _read_safetensors(path: Path, file: Any) -> dict[str, FloatFeatures]:
    names = [name for name in file.keys() if name in _NAMES]  # noqa: SIM118
    for name in names:
        header = file.get_slice(name)
        check_size(path, name, header.get_shape(), _BYTES_OF_TYPE.get(header.get_dtype(), 1))
    return {name: file.get_tensor(name) for name in names}


def _read_npy(path: Path) -> FloatFeatures:
    with path.open("rb") as file:
        shape, dtype = _npy_header(file)
        check_size(path, "clips", shape, dtype.itemsize)
        if not dtype.hasobject and file.tell() + math.prod(shape) * dtype.itemsize > path.stat().st_size:
            raise ValueError("the file is shorter than its header says")
    array: FloatFeatures = np.load(path, allow_pickle=False)
    return array


def _read_npz(path: Path) -> dict[str, FloatFeatures]:
    with np.load(path, allow_pickle=False) as archive:
        names = {name: name for name in archive.files if name in _NAMES}
        if not names and _CLIPS_ELSEWHERE in archive.files:
            names = {"clips": _CLIPS_ELSEWHERE}
        for name in names.values():
            entry = archive.zip.getinfo(name if name in archive.zip.namelist() else f"{name}.npy")
            with archive.zip.open(entry) as file:
                shape, dtype = _npy_header(file)
            check_size(path, name, shape, dtype.itemsize, entry.compress_size)
        return {name: archive[stored] for name, stored in names.items()}


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array in NumPy's format, without reading it."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def outliers(largest: Mapping[str, tuple[float, ...]]) -> dict[str, str]:
    """Return for each video whose values are far outside those of the others why it cannot be used with them.

    Args:
        largest: `VideoFeatures.largest_values` of each video.

    >>> outliers({"a": (2.0,), "b": (3.0,), "c": (5000.0,)})
    {'c': "'c' has a value of 5e+03, where those of other videos are about 3: not the same kind of features"}
    """
    reasons: dict[str, str] = {}
    for values in zip_longest(*largest.values()):
        typical = float(np.median([value for value in values if value is not None]))
        for video, value in zip(largest, values, strict=True):
            if value is not None and value > _FAR_OUTSIDE * typical > 0:
                others = f"where those of other videos are about {typical:.3g}: not the same kind of features"
                reasons.setdefault(video, f"{shorten(video)} has a value of {value:.3g}, {others}")
    return reasons
