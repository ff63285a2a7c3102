"""Feature files: the cache of extracted features, and external features in common formats.

Whatever their origin, the rows of a feature file are equal bins over the video's duration (see `moments.Timeline`). An
extracted file carries a *fingerprint*: the id of the encoder and every setting that affects feature values. External
files get a fingerprint made of their widths alone.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mttsg_core.encoders.base import Settings
from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features.arrays import FloatFeatures, largest_value, load_arrays, outliers, read_metadata
from mttsg_core.features.fingerprint import fingerprint_fault, number_in, stream_fault, stream_widths
from mttsg_core.features.identity import clock_version, file_identity
from mttsg_core.moments import Timeline
from mttsg_core.utils.atomic import write_atomically
from mttsg_core.utils.files import is_file
from mttsg_core.utils.locks import share_folder
from mttsg_core.utils.text import os_reason, shorten
from mttsg_core.utils.writable import check_writable

EXTERNAL = "external"  # the encoder in the fingerprint of external features
_MIN_SECONDS, _MAX_SECONDS = 1e-3, 1e7  # of a video; 116 days
_SHOWN_SETTINGS, _SHOWN_CHARACTERS = 12, 60  # of a fingerprint in a message, and of a value in it
_NO_DURATION = (
    "the duration of the video is unknown: add it to the annotation rows, provide the video, or use --duration"
)

_log = logging.getLogger("mttsg")


@dataclass(frozen=True)
class VideoFeatures:
    """The features of one video.

        >>> clips = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> features = VideoFeatures(clips, None, duration=2.0, fingerprint={"encoder": "external"})
        >>> features.timeline.seconds_per_clip
        0.5
        >>> features.downsample(2).clips.tolist()
        [[0.5], [2.5]]
        >>> window = features.slice_clips(slice(1, 3))
        >>> window.start, window.duration, window.clips.tolist()
        (0.5, 1.0, [[1.0], [2.0]])

    Attributes:
        clips: (T, D) one vector per clip, in the precision of the file.
        regions: (T, R, D_r) one vector per region of each clip, or None.
        duration: seconds that the T clips cover, or None if the file does not say.
        fingerprint: how the features were made.
        start: seconds at which the first clip begins; not 0 if the video's first frame comes late.
        lost_clips: number of clips (all zeros) with a frame that could not be decoded.
    """

    clips: FloatFeatures
    regions: FloatFeatures | None
    duration: float | None
    fingerprint: Settings
    start: float = 0.0
    lost_clips: int = 0

    @property
    def timeline(self) -> Timeline:
        """The conversion between seconds and clips.

        Raises:
            FeatureError: if the duration is unknown.
        """
        if self.duration is None:
            raise FeatureError(_NO_DURATION)
        return Timeline(self.duration, len(self.clips), self.start)

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return self.clips.nbytes + (0 if self.regions is None else self.regions.nbytes)

    @property
    def largest_values(self) -> tuple[float, ...]:
        """The largest absolute value of the clips of each stream, and that of the regions if there are any."""
        widths = [*stream_widths(self.fingerprint).values()]  # values of one stream say nothing about another's
        streams = np.split(self.clips, np.cumsum(widths[:-1]), axis=1) if widths else [self.clips]
        return tuple(largest_value(array) for array in (*streams, self.regions) if array is not None)

    def slice_clips(self, clips: slice) -> VideoFeatures:
        """Return the features of some consecutive clips, with their own start and duration, sharing memory."""
        timeline = self.timeline
        first, last, _ = clips.indices(len(self.clips))
        return replace(
            self,
            clips=self.clips[first:last],
            regions=None if self.regions is None else self.regions[first:last],
            duration=(last - first) * timeline.seconds_per_clip,
            start=float(timeline.to_seconds(first)),
        )

    def downsample(self, max_clips: int) -> VideoFeatures:
        """Return the same video with at most `max_clips` clips, averaged over equal bins if there are more."""
        return self if len(self.clips) <= max_clips else self.resample(max_clips)

    def resample(self, clips: int) -> VideoFeatures:
        """Return the same video with so many clips, more or fewer: each is the mean of what it covers."""
        if len(self.clips) == clips:
            return self
        regions = None if self.regions is None else _average_bins(self.regions, clips)
        return replace(self, clips=_average_bins(self.clips, clips), regions=regions)


class FeatureStore:
    """Feature files by the key of their video. Recently used features stay in memory, up to `max_bytes`.

    Args:
        files: the feature file of each video.
        durations: seconds of the videos whose files do not state their duration.
        max_clips: downsample longer videos to this many clips, see `VideoFeatures.downsample`; None keeps all.
        max_bytes: memory for recently used features.
        read: reads the features of a video from its file; default: `read_features`.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        durations: Mapping[str, float] | None = None,
        *,
        max_clips: int | None = None,
        max_bytes: int = 4 << 30,
        read: Callable[[Path, str], VideoFeatures] | None = None,
    ) -> None:
        self.files = dict(files)
        self._durations = dict(durations or {})
        self._max_clips = max_clips
        self._max_bytes = max_bytes
        self._memory: OrderedDict[str, VideoFeatures] = OrderedDict()
        self._memory_bytes = 0
        self._read = read or read_features

    def load(self, video: str) -> VideoFeatures:
        """Return the features of a video.

        Raises:
            FeatureError: if there are none, they cannot be used, or the duration of the video is unknown.
        """
        if video in self._memory:
            self._memory.move_to_end(video)
            return self._memory[video]
        if video not in self.files:
            raise FeatureError(f"{video}: no features")
        features = self._read(self.files[video], video)
        if self._max_clips is not None:
            features = features.downsample(self._max_clips)
        if features.duration is None:
            if video not in self._durations:
                raise FeatureError(f"{self.files[video]}: {_NO_DURATION}")
            features = replace(features, duration=self._durations[video])
        self._memory[video] = features
        self._memory_bytes += features.nbytes
        while self._memory_bytes > self._max_bytes and len(self._memory) > 1:
            _, oldest = self._memory.popitem(last=False)
            self._memory_bytes -= oldest.nbytes
        return features

    def drop_unusable(self, videos: Iterable[str]) -> list[str]:
        """Drop the files of the given videos that cannot be used, see `unusable`, and return a reason for each."""
        reasons = self.unusable(videos)
        for video in reasons:
            del self.files[video]
        return list(reasons.values())

    def unusable(self, videos: Iterable[str]) -> dict[str, str]:
        """Load the features of the given videos, and return for each that cannot be used why.

        A file whose largest value is more than 1,000 times that of most videos cannot be used either: it would decide
        the mean and spread of all of them.
        """
        reasons: dict[str, str] = {}
        largest: dict[str, tuple[float, ...]] = {}
        for video in videos:
            try:
                features = self.load(video)
            except FeatureError as error:
                reasons[video] = str(error)
            else:
                largest[video] = features.largest_values
        return reasons | {video: f"{self.files[video]}: {reason}" for video, reason in outliers(largest).items()}


class FeatureCache:
    """A folder of extracted features, addressed by the identity of the video file and the fingerprint.

    A file is identified by its size, modification time and samples of its content, so it may be renamed or moved. Where
    the folder cannot be written, its features are still used, and new ones are kept until the program ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._warned = False

    @property
    def partial_folder(self) -> Path:
        """The folder of what is done of long videos whose extraction was stopped."""
        return self.folder / "partial"

    def writing(self) -> AbstractContextManager[None]:
        """Return a context in which nothing is deleted from the cache, see `cache_contents.prune_cache`."""
        return share_folder(self.folder)

    def entry(self, video: Path, fingerprint: Settings) -> Path:
        """Return the file in the folder for the features of a video file with the given fingerprint.

        Raises:
            VideoError: if the video file cannot be read.
        """
        encoder = f"{fingerprint['encoder']}".replace("/", "--")[:60]
        try:
            identity, version = file_identity(video), clock_version(video)
        except OSError as error:
            raise VideoError(video, os_reason(error).lower()) from error
        return self.folder / f"{encoder}-{_digest(_canonical(fingerprint))}{version}" / f"{identity}.safetensors"

    def path(self, video: Path, fingerprint: Settings) -> Path:
        """Return where such features are, or are to be written: the entry, or if that is impossible a temporary file.

        Raises:
            VideoError: if the video file cannot be read.
        """
        entry = self.entry(video, fingerprint)
        return entry if is_file(entry) else self._folder_to_write / entry.relative_to(self.folder)

    def warn(self, error: OSError) -> None:
        """Say once that features cannot be kept, and why."""
        if not self._warned:
            reason = os_reason(error).lower()
            _log.warning("%s: cannot be written (%s), so features are not kept", self.folder, reason)
        self._warned = True

    @cached_property
    def _folder_to_write(self) -> Path:
        """The folder, or a temporary one if it cannot be written."""
        try:
            check_writable(self.folder)
        except OSError as error:
            self.warn(error)
        else:
            return self.folder
        try:
            substitute = Path(tempfile.mkdtemp(prefix="mttsg-"))
        except OSError:
            return self.folder  # whoever writes there keeps the features in memory instead
        atexit.register(shutil.rmtree, substitute, ignore_errors=True)
        return substitute


def write_features(path: Path, features: VideoFeatures, video: str | None = None, source: Path | None = None) -> None:
    """Write a `.safetensors` file, with regions in half precision.

    The write is atomic: if the program is killed, the file is complete or does not change.

    Args:
        path: the file.
        features: what to write.
        video: file name of the video, which `video_of` reads back.
        source: where the video is, for the cache's own use: by it, what has become useless is found.

    Raises:
        OSError: if the file cannot be written.
    """
    arrays: dict[str, FloatFeatures] = {"clips": features.clips.astype(np.float32, copy=False)}
    if features.regions is not None:
        arrays["regions"] = features.regions.astype(np.float16, copy=False)
    metadata = {
        "duration": features.duration,
        "start": features.start,
        "lost_clips": features.lost_clips,
        "fingerprint": dict(features.fingerprint),
        "video": video,
        **({} if source is None else {"source": os.fsencode(source).decode("utf-8", "surrogateescape")}),
    }
    write_atomically(path, lambda target: save_file(arrays, target, {"mttsg": json.dumps(metadata)}))


def read_features(path: Path, video: str | None = None) -> VideoFeatures:
    """Read the features of one video from a file.

    Formats: see `arrays.load_arrays`.

    Args:
        path: the file.
        video: name of the data set inside an HDF5 file; ignored for other formats.

    Raises:
        FeatureError: if the file is missing or damaged, lacks these arrays, or contains NaN or infinite values.
    """
    clips, regions, metadata = load_arrays(path, video)
    fingerprint = metadata.get("fingerprint")
    if not isinstance(fingerprint, dict) or not fingerprint:
        fingerprint = _external_fingerprint(clips, regions)
    elif (fault := fingerprint_fault(fingerprint)) is not None:
        raise FeatureError(f"{path}: {fault}")
    try:
        return VideoFeatures(
            clips=clips,
            regions=regions,
            duration=number_in(metadata, "duration", _MIN_SECONDS, _MAX_SECONDS),
            fingerprint=fingerprint,
            start=number_in(metadata, "start", -_MAX_SECONDS, _MAX_SECONDS) or 0.0,
            lost_clips=int(number_in(metadata, "lost_clips", 0, len(clips)) or 0),
        )
    except ValueError as error:
        raise FeatureError(f"{path}: {error}") from error


def video_of(path: Path) -> str | None:
    """Return the file name of the video that a feature file was made from; None if it does not say, or is none."""
    try:
        video = read_metadata(path).get("video")
    except FeatureError:
        return None
    return video if isinstance(video, str) else None


def check_fingerprint(actual: Settings, expected: Settings, name: str) -> None:
    """Check that features were made in the way that a model, or other features, require.

    Args:
        actual: the fingerprint of the features.
        expected: the required fingerprint.
        name: what has the actual fingerprint, for the error message.

    Raises:
        FeatureError: if the fingerprints differ; the message names both.
    """
    if dict(actual) != dict(expected):
        if (fault := stream_fault(actual, expected)) is not None:
            raise FeatureError(f"{name}: {fault}")
        raise FeatureError(
            f"{name}: made with {describe_fingerprint(actual)}, but {describe_fingerprint(expected)} is expected"
        )


def describe_fingerprint(fingerprint: Settings) -> str:
    """Return a fingerprint as one line of text.

    >>> describe_fingerprint({"encoder": "classic", "version": 2, "fps": 1.5})
    "encoder 'classic' (fps 1.5, version 2)"
    """
    rest = [f"{_short(key)} {_short(value)}" for key, value in sorted(fingerprint.items()) if key != "encoder"]
    more = ["..."] if len(rest) > _SHOWN_SETTINGS else []
    return f"encoder {shorten(fingerprint.get('encoder', EXTERNAL))} ({', '.join(rest[:_SHOWN_SETTINGS] + more)})"


def _short(value: object) -> str:
    """Return a key or value of a fingerprint, which may be anything in a file of others, as a few words."""
    text = "" if isinstance(value, list | dict) else str(value)
    return text if text.isprintable() and 0 < len(text) <= _SHOWN_CHARACTERS else shorten(value)


def _external_fingerprint(clips: FloatFeatures, regions: FloatFeatures | None) -> dict[str, str | int | float]:
    count, width = (0, 0) if regions is None else regions.shape[1:]
    return {"encoder": EXTERNAL, "clip_dim": clips.shape[1], "regions": count, "region_dim": width}


def _average_bins(rows: FloatFeatures, bins: int) -> FloatFeatures:
    """Average (T, ...) to (bins, ...): each bin is the mean of the rows it covers, weighted by how much it covers."""
    edges = np.linspace(0, len(rows), bins + 1)
    averaged = np.empty((bins, *rows.shape[1:]), dtype=rows.dtype)
    for index, (start, end) in enumerate(pairwise(edges)):
        covered = np.arange(math.floor(start), math.ceil(end))
        weights = np.minimum(covered + 1, end) - np.maximum(covered, start)
        averaged[index] = np.tensordot(weights / weights.sum(), rows[covered[0] : covered[-1] + 1], axes=1)
    return averaged


def _canonical(fingerprint: Settings) -> bytes:
    return json.dumps(dict(fingerprint), sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=6).hexdigest()
