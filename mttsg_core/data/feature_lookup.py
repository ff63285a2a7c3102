"""Where the features of a data folder's videos come from: files in the folder, or extraction into the cache.

A *fingerprint* records how features were made (encoder, frame rate, ...). Only features with the required fingerprint
are used; `choose_fingerprint` selects the one for training.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mttsg_core.data.dataset import Dataset
from mttsg_core.data.file_index import FileMatch
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.pairs import Pair
from mttsg_core.encoders import DEFAULT_ENCODER, OWN_TEXT_TOWER, build_encoder
from mttsg_core.encoders.base import DEFAULT_PRECISION, VISION_ONLY, Settings
from mttsg_core.encoders.defaults import default_sentence_encoder, default_video_encoder
from mttsg_core.errors import DataError, FeatureError, VideoError
from mttsg_core.features.extraction import ExtractionJob, ExtractionSettings
from mttsg_core.features.store import EXTERNAL, FeatureCache, FeatureStore, check_fingerprint
from mttsg_core.features.streams import StreamFile, StreamReader
from mttsg_core.utils.files import is_file
from mttsg_core.utils.json_lines import Problem
from mttsg_core.video.probe import probe

_log = logging.getLogger("mttsg")


@dataclass
class ResolvedSplits:
    """Splits of a data folder, and the feature files of their videos.

    Attributes:
        splits: the pairs of each split. `Pair.video` is the video's key, the same for each of its names.
        problems: the bad rows of all splits.
        files: feature file of each video, the first of several streams; those of `jobs` do not exist yet.
        streams: of features of several streams, all files of each video.
        jobs: the videos to extract.
        durations: seconds of videos, for features that do not record them.
        unusable: why some features cannot be used; filled in by `dataset`.
    """

    splits: dict[str, list[Pair]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    streams: dict[str, tuple[StreamFile, ...]] = field(default_factory=dict)
    jobs: list[ExtractionJob] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=dict)
    unusable: list[str] = field(default_factory=list)

    def dataset(self, split: str, max_clips: int | None = None) -> Dataset:
        """Return a split with the features that exist by now.

        Videos whose extraction failed, or whose features are damaged, have none. The reasons for damaged ones are added
        to `unusable`.

        Args:
            split: its name.
            max_clips: reduce the features of longer videos to this many clips.
        """
        videos = {pair.video for pair in self.splits[split]}
        files = {key: path for key, path in self.files.items() if key in videos and path.is_file()}
        store = FeatureStore(files, self.durations, max_clips=max_clips, read=StreamReader(self.streams))
        self.unusable += store.drop_unusable(sorted(files))
        further = {f"{key} {file.name}": file.path for key in store.files for file in self.streams.get(key, ())[1:]}
        return Dataset(split, self.splits[split], store, further)


def resolve_splits(
    folder: DataFolder,
    splits: Sequence[str],
    cache: FeatureCache,
    fingerprint: Settings,
    *,
    strict: bool = False,
    keep_without_video: bool = False,
    require_moment: bool = True,
) -> ResolvedSplits:
    """Read splits of a data folder and find the features of their videos.

    Features in the folder (or where `DataFolder.open` was told to look) are used if they have the fingerprint. Other
    videos are to be extracted into the cache, unless the fingerprint is that of external features. Notes on the
    annotation files are logged as warnings.

    Args:
        folder: the data folder.
        splits: names of the splits to read.
        cache: for features extracted from videos.
        fingerprint: how the features must have been made; with the encoder `EXTERNAL`, any features in the folder are
            accepted.
        strict: raise on the first bad row.
        keep_without_video: keep the pairs whose video is not in the folder, so that evaluation counts them as misses;
            their rows are among the problems either way. Moments past the stated end of their video are kept too.
        require_moment: treat a row without a moment as a bad row.

    Raises:
        DataError: if a split does not exist or has no good row, or if a row is bad and `strict`.
        FeatureError: if a video has features with another fingerprint, and no file to extract others from.
    """
    resolved = ResolvedSplits()
    for name in splits:
        split = folder.split(name, require_moment=require_moment, check_ends=not keep_without_video, strict=strict)
        if not split.pairs:
            raise DataError(f"{split.file}: no usable row" + "".join(f" ({p})" for p in split.problems[:1]))
        resolved.problems += split.problems
        for note in split.notes:
            _log.warning("%s", note)
        pairs = split.pairs
        if keep_without_video:
            pairs = sorted(pairs + split.without_video, key=lambda pair: pair.line)
        resolved.splits[name] = list(_resolve_pairs(folder, pairs, cache, fingerprint, resolved))
    return resolved


def find_fingerprint(folder: DataFolder, splits: Sequence[str]) -> Settings | None:
    """Return the fingerprint of the first readable features in the folder for a video of the splits, or None.

    Raises:
        DataError: if a split does not exist.
        FeatureError: if there are features, but none can be read.
    """
    unreadable: FeatureError | None = None
    for name in splits:
        for pair in folder.split(name).pairs:
            match = folder.match_features(pair.video)
            if match is None or match.path is None:
                continue
            try:
                return match.read().fingerprint
            except FeatureError as error:
                unreadable = error
    if unreadable is not None:
        raise unreadable
    return None


def require_fingerprint(folder: DataFolder, splits: Sequence[str]) -> Settings:
    """Return what `find_fingerprint` does, or raise if the folder has no features.

    Raises:
        DataError: if there are no features, or a split does not exist.
        FeatureError: if no features can be read.
    """
    fingerprint = find_fingerprint(folder, splits)
    if fingerprint is None:
        raise DataError(f"{folder.features}: no features of any video of {folder.path}")
    return fingerprint


def choose_fingerprint(
    folder: DataFolder,
    splits: Sequence[str],
    *,
    from_folder: bool = False,
    encoder: str | None = None,
    fps: float | None = None,
    reader: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    offline: bool = False,
) -> Settings:
    """Return the fingerprint of the features to train on.

    Features in the folder are used, unless the caller says how to make others. Without them and without an encoder, a
    pretrained one is used if it can be had, see `encoders.defaults`.

    Args:
        folder: the data folder.
        splits: names of the splits to train on.
        from_folder: use the features in the folder in any case.
        encoder: id of the encoder to extract with; with `from_folder`, the one that made the features.
        fps: frames per second to extract from.
        reader: of the videos.
        defaults: encoder, fps and reader for features that are not in the folder.
        offline: never use the network.

    Raises:
        DataError: if a split does not exist, or if `from_folder` and there are no features.
        FeatureError: if none of the features in the folder can be read, or if `from_folder` and another encoder made
            them.
        ConfigError: if the encoder does not exist.
    """
    options = {"encoder": encoder, "fps": fps, "reader": reader}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if from_folder or not given:
        fingerprint = (require_fingerprint if from_folder else find_fingerprint)(folder, splits)
        if fingerprint is not None:
            if encoder is not None:
                expected = {**fingerprint, **build_encoder(encoder, offline=offline).settings}
                check_fingerprint(fingerprint, expected, str(folder.features))
            return fingerprint
    values = {**(defaults or {}), **given}
    return ExtractionSettings(
        **{"encoder": values.get("encoder") or default_video_encoder(offline=offline), **values}, offline=offline
    ).fingerprint()


def default_text_encoder(data: Path, fingerprint: Settings, *, offline: bool = False) -> str:
    """Return the id of the text encoder to train with, as `build_text_encoder` takes it.

    For features of a pretrained encoder with a text tower it is that tower. For others it is the only `glove*.txt` in
    the data folder, or else a pretrained sentence encoder if that can be had, or else the built-in one with a warning.

    Args:
        data: the data folder.
        fingerprint: of the features.
        offline: never use the network.
    """
    # Without a frame rate, another program made the features: the encoder's name need not be a model's id.
    is_pretrained = fingerprint["encoder"] not in (DEFAULT_ENCODER, EXTERNAL) and "fps" in fingerprint
    if is_pretrained and VISION_ONLY not in fingerprint:
        return OWN_TEXT_TOWER
    files = sorted(filter(is_file, data.glob("glove*.txt")))
    return f"glove:{files[0]}" if len(files) == 1 else default_sentence_encoder(offline=offline)


def extraction_settings_for(
    fingerprint: Settings, *, device: str = "cpu", offline: bool = False, precision: str = DEFAULT_PRECISION
) -> ExtractionSettings | None:
    """Return the settings that extract features with a fingerprint, or None for external features."""
    if fingerprint["encoder"] == EXTERNAL:
        return None
    return ExtractionSettings.from_fingerprint(fingerprint, device=device, offline=offline, precision=precision)


def _resolve_pairs(
    folder: DataFolder, pairs: Sequence[Pair], cache: FeatureCache, fingerprint: Settings, resolved: ResolvedSplits
) -> Iterator[Pair]:
    """Yield the pairs with their video's key for its name; add what is found about the videos to `resolved`."""
    for pair in pairs:
        key = folder.video_key(pair.video)
        if key not in resolved.files:
            _resolve_video(folder, pair, key, cache, fingerprint, resolved)
        if pair.duration is not None:
            resolved.durations.setdefault(key, pair.duration)
        yield replace(pair, video=key)


def _resolve_video(
    folder: DataFolder, pair: Pair, key: str, cache: FeatureCache, fingerprint: Settings, resolved: ResolvedSplits
) -> None:
    """Add the feature file of a pair's video to `files`, and an extraction to `jobs` if it must be made."""
    match, video = folder.match_features(pair.video), folder.find_video(pair.video)
    features = None if match is None else match.path
    if match is not None and match.streams:
        resolved.streams[key] = match.streams
    if fingerprint["encoder"] == EXTERNAL:
        if features is None:
            if match is not None and len(folder.streams) > 1:
                resolved.unusable.append(match.reason)
            return
        resolved.files[key] = features
        if pair.duration is None and video is not None:
            with suppress(VideoError):  # the features may record it; if not, reading them reports that it is unknown
                resolved.durations[key] = probe(video).duration
        return
    actual = None if match is None else _fingerprint_of(match)
    if features is not None and actual == dict(fingerprint):
        resolved.files[key] = features
    elif video is not None:
        resolved.files[key] = cache.path(video, fingerprint)
        target = resolved.files[key]
        resolved.jobs.append(ExtractionJob(video, target, identity=target.stem, partial=cache.partial_folder))
    elif features is not None:
        resolved.files[key] = features  # damaged features are reported when they are loaded
        if actual is not None:
            check_fingerprint(actual, fingerprint, str(features))


def _fingerprint_of(match: FileMatch) -> dict[str, str | int | float] | None:
    """Return how features were made, or None if they cannot be read."""
    try:
        return dict(match.read().fingerprint)
    except FeatureError:
        return None
