"""Features of videos on disk: the cache of what was extracted here, and files made elsewhere.

Whatever their origin, the rows of a feature file are equal bins over the video's duration (see `moments.Timeline`).
A file written here carries a *fingerprint*: the id of the encoder and every setting that shapes a feature. Files of
other origin have a fingerprint made of their widths alone.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import stat
import struct
import tokenize
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mttsg_core.encoders.base import Settings
from mttsg_core.errors import FeatureError, brief
from mttsg_core.moments import Timeline
from mttsg_core.utils.atomic import write_atomically

FloatFeatures = npt.NDArray[np.floating]
EXTERNAL = "elsewhere"  # the encoder named in the fingerprint of features that were not made here
# What NumPy, zipfile, h5py and safetensors raise on damaged files, as fuzzing has shown.
_DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError),
    *(SyntaxError, MemoryError, AssertionError, BadZipFile, SafetensorError, zlib.error, struct.error),
    tokenize.TokenError,
)
_SAMPLED_BLOCKS, _SAMPLED_BYTES = 16, 1 << 16
_NO_DURATION = "the duration of the video is not known: give it in the rows, or give the video"


@dataclass(frozen=True)
class VideoFeatures:
    """Features of one video.

    Attributes:
        clips: (T, D) one vector a clip, in the precision of the file.
        regions: (T, R, D_r) one vector a region of each clip, or None.
        duration: seconds that the T clips cover, or None where the file does not say.
        fingerprint: how they were made.
        start: seconds at which the first clip begins; not 0 where a video's first frame comes late.
        lost_clips: clips (all zero) with a frame that could not be read.
    """

    clips: FloatFeatures
    regions: FloatFeatures | None
    duration: float | None
    fingerprint: Settings
    start: float = 0.0
    lost_clips: int = 0

    @property
    def timeline(self) -> Timeline:
        """The conversion between seconds and the clips.

        Raises:
            FeatureError: if the duration is not known.
        """
        if self.duration is None:
            raise FeatureError(_NO_DURATION)
        return Timeline(self.duration, len(self.clips), self.start)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.clips.nbytes + (0 if self.regions is None else self.regions.nbytes)

    def part(self, clips: slice) -> VideoFeatures:
        """A stretch of the video, at its place in the video's seconds. Shares its memory."""
        timeline = self.timeline
        first, last, _ = clips.indices(len(self.clips))
        return replace(
            self,
            clips=self.clips[first:last],
            regions=None if self.regions is None else self.regions[first:last],
            duration=(last - first) * timeline.seconds_per_clip,
            start=float(timeline.to_seconds(first)),
        )

    def at_most(self, clips: int) -> VideoFeatures:
        """The same video in at most so many clips: longer ones are averaged into equal bins."""
        if len(self.clips) <= clips:
            return self
        regions = None if self.regions is None else _average_bins(self.regions, clips)
        return replace(self, clips=_average_bins(self.clips, clips), regions=regions)


class FeatureStore:
    """Features by the key of their video. Those read lately stay in memory, up to `max_bytes`.

    Args:
        files: the feature file of each video.
        durations: seconds of each video whose file does not say it.
        max_clips: see `VideoFeatures.at_most`; None keeps videos as they are.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        durations: Mapping[str, float] | None = None,
        *,
        max_clips: int | None = None,
        max_bytes: int = 4 << 30,
    ) -> None:
        self.files = dict(files)
        self._durations = dict(durations or {})
        self._max_clips = max_clips
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, VideoFeatures] = OrderedDict()
        self._held_bytes = 0

    def load(self, video: str) -> VideoFeatures:
        """The features of a video.

        Raises:
            FeatureError: if there are none, they cannot be used, or nothing tells how long the video is.
        """
        if video in self._held:
            self._held.move_to_end(video)
            return self._held[video]
        if video not in self.files:
            raise FeatureError(f"{video}: no features")
        features = read_features(self.files[video], video)
        if self._max_clips is not None:
            features = features.at_most(self._max_clips)
        if features.duration is None:
            if video not in self._durations:
                raise FeatureError(f"{self.files[video]}: {_NO_DURATION}")
            features = replace(features, duration=self._durations[video])
        self._held[video] = features
        self._held_bytes += features.nbytes
        while self._held_bytes > self._max_bytes and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._held_bytes -= oldest.nbytes
        return features

    def drop_unusable(self, videos: Iterable[str]) -> list[str]:
        """Load the features of these videos, forget the files that cannot be used, and say why of each."""
        reasons = []
        for video in videos:
            try:
                self.load(video)
            except FeatureError as error:
                reasons.append(str(error))
                del self.files[video]
        return reasons


class FeatureCache:
    """Features of video files under one folder, found again by what the file is and how the features were made.

    A file is known by its size, its time of change and samples of its content, so it may be renamed or moved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, video: Path, fingerprint: Settings) -> Path:
        """Where the features of that file, made in that way, are or will be.

        Raises:
            OSError: if the file cannot be read.
        """
        made = f"{fingerprint['encoder']}".replace("/", "--")[:60]
        return self.folder / f"{made}-{_digest(_canonical(fingerprint))}" / f"{file_identity(video)}.safetensors"


def file_identity(path: Path) -> str:
    """A name for the content of a file that is cheap to find for files of any size.

    Raises:
        OSError: if it cannot be read, or is no regular file: opening a pipe would wait for a writer.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    digest = hashlib.blake2b(f"{status.st_size} {status.st_mtime_ns}".encode(), digest_size=16)
    with path.open("rb") as file:
        step = max(_SAMPLED_BYTES, status.st_size // _SAMPLED_BLOCKS)
        for offset in range(0, status.st_size, step):
            file.seek(offset)
            digest.update(file.read(_SAMPLED_BYTES))
    return digest.hexdigest()


def write_features(path: Path, features: VideoFeatures) -> None:
    """Write a `.safetensors` file, regions in half precision.

    It appears whole or not at all, whenever the program is killed.
    """
    arrays: dict[str, FloatFeatures] = {"clips": features.clips.astype(np.float32, copy=False)}
    if features.regions is not None:
        arrays["regions"] = features.regions.astype(np.float16, copy=False)
    about = {
        "duration": features.duration,
        "start": features.start,
        "lost_clips": features.lost_clips,
        "fingerprint": dict(features.fingerprint),
    }
    write_atomically(path, lambda target: save_file(arrays, target, {"mttsg": json.dumps(about)}))


def read_features(path: Path, video: str | None = None) -> VideoFeatures:
    """Read `.npy` (T, D) or (T, R, D), `.npz` or `.safetensors` with `clips` and maybe `regions`, or `.h5`/`.hdf5`.

    Args:
        path: the file.
        video: the data set's name inside an HDF5 file; not used for the others.

    Raises:
        FeatureError: if the file is missing, damaged, holds no such arrays, or values that are not finite.
    """
    about: Mapping[str, object] = {}
    kind = path.suffix.lower()
    try:
        if kind == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {}).get("mttsg", "{}"))
                arrays = {name: file.get_tensor(name) for name in file.keys() if name in ("clips", "regions")}  # noqa: SIM118
        elif kind == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files if name in ("clips", "regions")}
        elif kind == ".npy":
            array = np.load(path, allow_pickle=False)
            arrays = {"regions" if array.ndim == 3 else "clips": array}
        elif kind in (".h5", ".hdf5"):
            array = _read_hdf5(path, video or "")
            arrays = {"regions" if array.ndim == 3 else "clips": array}
        else:
            raise FeatureError(f"{path}: features are .npy, .npz, .safetensors or .h5 files")
    except FeatureError:
        raise
    except _DAMAGE as error:
        raise FeatureError(f"{path}: cannot be read as features ({brief(error)})") from error
    about = about if isinstance(about, dict) else {}  # another program's notes
    regions = arrays.get("regions")
    clips = arrays.get("clips")
    if clips is None and regions is not None and regions.ndim == 3:
        clips = regions.astype(np.float32).mean(axis=1)
    if clips is None:
        raise FeatureError(f"{path}: holds neither 'clips' nor 'regions'")
    _check(path, clips, regions)
    fingerprint = about.get("fingerprint")
    return VideoFeatures(
        clips=clips,
        regions=regions,
        duration=_number(about.get("duration")),
        fingerprint=fingerprint if isinstance(fingerprint, dict) else _external_fingerprint(clips, regions),
        start=_number(about.get("start")) or 0.0,
        lost_clips=int(_number(about.get("lost_clips")) or 0),
    )


def same_fingerprint(found: Settings, wanted: Settings, what: str) -> None:
    """Check that features were made as a model, or other features, expect.

    Raises:
        FeatureError: naming both ways, if they differ.
    """
    if dict(found) != dict(wanted):
        raise FeatureError(f"{what}: made with {describe(found)}, but {describe(wanted)} is expected")


def describe(fingerprint: Settings) -> str:
    """A fingerprint in one line."""
    rest = ", ".join(f"{key} {value}" for key, value in sorted(fingerprint.items()) if key != "encoder")
    return f"encoder {fingerprint.get('encoder', EXTERNAL)!r} ({rest})"


def import_hdf5() -> Any:
    """The module h5py.

    Raises:
        FeatureError: if it is not installed.
    """
    try:
        return import_module("h5py")
    except ImportError as error:
        raise FeatureError("HDF5 features need h5py: pip install 'mttsg[hdf5]'") from error


def _check(path: Path, clips: FloatFeatures, regions: FloatFeatures | None) -> None:
    for name, array, axes in (("clips", clips, 2), ("regions", regions, 3)):
        if array is None:
            continue
        if array.ndim != axes or 0 in array.shape or not np.issubdtype(array.dtype, np.floating):
            raise FeatureError(f"{path}: {name!r} is {array.dtype} {array.shape}, not {axes} axes of real numbers")
        if not np.isfinite(array).all():
            raise FeatureError(f"{path}: {name!r} has values that are not finite")
    if regions is not None and len(regions) != len(clips):
        raise FeatureError(f"{path}: {len(clips)} clips, but regions of {len(regions)}")


def _external_fingerprint(clips: FloatFeatures, regions: FloatFeatures | None) -> dict[str, str | int | float]:
    count, width = (0, 0) if regions is None else regions.shape[1:]
    return {"encoder": EXTERNAL, "clip_dim": clips.shape[1], "regions": count, "region_dim": width}


def _read_hdf5(path: Path, video: str) -> FloatFeatures:
    """The data set of that name; a group is looked into for its only data set, as in ActivityNet's C3D file."""
    h5py = import_hdf5()
    with h5py.File(path, "r") as file:
        node = file.get(video)
        if isinstance(node, h5py.Group):
            node = next(iter(node.values()), None)
        if node is None:
            raise FeatureError(f"{path}: no data set {video!r}")
        return np.asarray(node)


def _average_bins(rows: FloatFeatures, bins: int) -> FloatFeatures:
    """(T, ...) to (bins, ...): each bin the mean of the rows it covers, in proportion to how much it covers."""
    edges = np.linspace(0, len(rows), bins + 1)
    averaged = np.empty((bins, *rows.shape[1:]), dtype=rows.dtype)
    for place, (start, end) in enumerate(pairwise(edges)):
        covered = np.arange(math.floor(start), math.ceil(end))
        share = np.minimum(covered + 1, end) - np.maximum(covered, start)
        averaged[place] = np.tensordot(share / share.sum(), rows[covered[0] : covered[-1] + 1], axes=1)
    return averaged


def _canonical(fingerprint: Settings) -> bytes:
    return json.dumps(dict(fingerprint), sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=6).hexdigest()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
