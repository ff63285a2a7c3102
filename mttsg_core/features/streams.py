"""Several kinds of features of the same videos (CLIP and SlowFast, for example), read as one: their *streams*.

The clip vectors of all streams stand side by side, in the order in which the streams are named; the network knows where
one ends and the next begins (`VideoFeatures.fingerprint`), and projects each by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from mttsg_core.errors import ConfigError, FeatureError
from mttsg_core.features.fingerprint import STREAMS, describe_streams
from mttsg_core.features.store import EXTERNAL, VideoFeatures, describe_fingerprint, read_features
from mttsg_core.utils.text import shorten

FeaturePlaces: TypeAlias = str | Path | Sequence[str | Path]

_NAME = re.compile(r"[\w.-]+")


class FeatureStream(NamedTuple):
    """A kind of features, and where they are.

    Attributes:
        name: of the stream, as models record it.
        folder: of its files, or an HDF5 file.
    """

    name: str
    folder: Path


class StreamFile(NamedTuple):
    """The file of one video in a stream.

    Attributes:
        name: of the stream.
        path: the file.
        key: the video's name in an HDF5 file.
    """

    name: str
    path: Path
    key: str


def parse_streams(places: FeaturePlaces) -> tuple[FeatureStream, ...]:
    """Return the streams that are named: by their folders, or as `NAME=FOLDER`. A text that exists is a folder.

    Raises:
        ConfigError: if there are none, or two have the same name.

    >>> [stream.name for stream in parse_streams(["clip=CLIP ViT-B/32", "slowfast/"])]
    ['clip', 'slowfast']
    """
    named = [places] if isinstance(places, str | Path) else list(places)
    streams = tuple(map(_parse_stream, named))
    if not streams:
        raise ConfigError("features: no folder is named")
    if len(streams) > 1:
        for name, uses in Counter(stream.name for stream in streams).items():
            if uses > 1 or not _NAME.fullmatch(name):
                fault = "two have this name" if uses > 1 else "not a name of letters, digits, '.', '_' and '-'"
                raise ConfigError(f"features {shorten(name)}: {fault}; name each, as in --features NAME=DIR")
    return streams


def feature_words(places: FeaturePlaces | None) -> list[str]:
    """Return the words of a command line that name external features.

    >>> feature_words(["clip=a", "slowfast=b"]), feature_words(None)
    (['--features', 'clip=a', '--features', 'slowfast=b'], [])
    """
    if places is None:
        return []
    named = [places] if isinstance(places, str | Path) else places
    return [word for place in named for word in ("--features", str(place))]


def read_streams(files: Sequence[StreamFile]) -> VideoFeatures:
    """Read the features of a video from the files of its streams, as one.

    Streams with fewer clips than another are resampled to as many equal bins over the video.

    Raises:
        FeatureError: if a file cannot be used, or several have regions or state different durations.
    """
    read = [read_features(file.path, file.key) for file in files]
    clips = max(len(features.clips) for features in read)
    parts = [features.resample(clips) for features in read]
    with_regions = [part for part in parts if part.regions is not None]
    if len(with_regions) > 1:
        raise FeatureError(f"{files[1].path}: several streams have regions; one of them can")
    timed = [(file, part) for file, part in zip(files, parts, strict=True) if part.duration is not None]
    for file, part in timed[1:]:
        if abs((part.duration or 0) - (timed[0][1].duration or 0)) > timed[0][1].timeline.seconds_per_clip:
            raise FeatureError(
                f"{file.path}: of {part.duration:g} s, but {timed[0][0].path} is of {timed[0][1].duration:g} s"
            )
    first = timed[0][1] if timed else parts[0]
    regions = with_regions[0].regions if with_regions else None
    joined = np.concatenate([part.clips for part in parts], axis=1)  # (T, D_1 + D_2 + ...)
    count, width = (0, 0) if regions is None else regions.shape[1:]
    fingerprint = {
        "encoder": EXTERNAL,
        "clip_dim": joined.shape[1],
        "regions": count,
        "region_dim": width,
        STREAMS: describe_streams({file.name: _kind(part) for file, part in zip(files, read, strict=True)}),
    }
    lost = max(part.lost_clips for part in parts)
    return VideoFeatures(joined, regions, first.duration, fingerprint, first.start, lost)


class StreamReader:
    """Reads the features of videos with several streams; those of the others as `read_features` does.

    Args:
        files: the files of each video, by its key.
    """

    def __init__(self, files: Mapping[str, Sequence[StreamFile]]) -> None:
        self._files = files

    def __call__(self, path: Path, video: str) -> VideoFeatures:
        """Return the features of a video. Raises FeatureError as `read_streams`."""
        return read_streams(self._files[video]) if self._files.get(video) else read_features(path, video)


def _parse_stream(place: str | Path) -> FeatureStream:
    name, equals, folder = str(place).partition("=")
    if not equals or isinstance(place, Path) or Path(place).exists():
        path = Path(place)
        return FeatureStream(path.resolve().stem, path)
    if not (name.strip() and folder.strip()):
        raise ConfigError(f"--features {shorten(place)}: not of the form NAME=DIR")
    return FeatureStream(name.strip(), Path(folder.strip()))


def _kind(features: VideoFeatures) -> tuple[int, str]:
    """Return the width of a stream's clips, and how they were made if that is recorded."""
    fingerprint = features.fingerprint
    made = "" if fingerprint.get("encoder") == EXTERNAL else describe_fingerprint(fingerprint)
    return features.clips.shape[1], made
