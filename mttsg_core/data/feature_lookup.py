"""Where the features of a data folder's videos come from: files made elsewhere, or the videos through the cache.

And what a training on the folder takes where nothing is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mttsg_core.data.dataset import Dataset
from mttsg_core.data.folder import DataFolder, Pair, Problem
from mttsg_core.encoders import DEFAULT_ENCODER, DEFAULT_TEXT_ENCODER, OWN_TEXT_TOWER, build_encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import DataError, FeatureError, VideoError
from mttsg_core.features.extraction import ExtractionSettings, Job
from mttsg_core.features.store import EXTERNAL, FeatureCache, FeatureStore, read_features, same_fingerprint
from mttsg_core.video import probe


@dataclass
class ResolvedSplits:
    """The pairs of some splits and where the features of their videos are or will be.

    Attributes:
        splits: the rows of each split; `Pair.video` is the video's key, one for each video.
        problems: the bad rows, which are in no split but for those of videos that are not there, if they are kept.
        files: feature file of each video; those of `jobs` are yet to be written.
        jobs: videos to extract.
        durations: seconds of videos whose features may not tell them.
        unusable: why features that `dataset` came upon cannot be used.
    """

    splits: dict[str, list[Pair]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=dict)
    unusable: list[str] = field(default_factory=list)

    def dataset(self, split: str, max_clips: int | None = None) -> Dataset:
        """A split with the features that exist by now and can be used, in at most `max_clips` clips a video.

        A pair of a video whose extraction failed, or whose features are damaged, has none; the reasons of the latter
        are added to `unusable`.
        """
        videos = {pair.video for pair in self.splits[split]}
        there = {key: path for key, path in self.files.items() if key in videos and path.is_file()}
        store = FeatureStore(there, self.durations, max_clips=max_clips)
        self.unusable += store.drop_unusable(sorted(there))
        return Dataset(split, self.splits[split], store)


def resolve_splits(
    folder: DataFolder,
    splits: Sequence[str],
    cache: FeatureCache,
    wanted: Settings,
    *,
    strict: bool = False,
    keep_without_video: bool = False,
) -> ResolvedSplits:
    """Read splits of a data folder and find the features of their videos.

    Features in the folder (or named when it was opened) are taken where they have the fingerprint that is wanted; other
    videos are to be extracted into the cache, unless features made elsewhere are wanted.

    Args:
        folder: the data folder.
        splits: their names.
        cache: for features of videos.
        wanted: the fingerprint; its encoder is `EXTERNAL` for any features that lie in the folder.
        strict: raise on the first bad row.
        keep_without_video: rows of videos that the folder does not hold are bad rows, but in their split all the same: a
            query that is asked of them is a miss.

    Raises:
        DataError: if a split is missing, or has not one good row, or a row is bad and `strict`.
        FeatureError: if all there is of a video is features made in another way, or damaged ones.
    """
    sources = ResolvedSplits()
    for name in splits:
        split = folder.split(name, require_moment=True, strict=strict)
        if not split.pairs:
            raise DataError(f"{split.file}: no usable row" + "".join(f" ({p})" for p in split.problems[:1]))
        sources.problems += split.problems
        pairs = sorted(split.pairs + split.absent, key=lambda pair: pair.line) if keep_without_video else split.pairs
        sources.splits[name] = list(_located(folder, pairs, cache, wanted, sources))
    return sources


def features_at_hand(folder: DataFolder, splits: Sequence[str]) -> Settings | None:
    """The fingerprint of the first usable features in the folder for a video of the splits; None if there are none.

    Raises:
        DataError: if a split is missing.
        FeatureError: if there are features, but none can be read.
    """
    damaged: FeatureError | None = None
    for name in splits:
        for pair in folder.split(name).pairs:
            path = folder.find_features(pair.video)
            if path is None:
                continue
            try:
                return read_features(path, folder.video_key(pair.video)).fingerprint
            except FeatureError as error:
                damaged = error
    if damaged is not None:
        raise damaged
    return None


def features_named(folder: DataFolder, splits: Sequence[str]) -> Settings:
    """`features_at_hand` of features that were asked for.

    Raises:
        DataError: if there are none, or a split is missing.
        FeatureError: if none can be read.
    """
    found = features_at_hand(folder, splits)
    if found is None:
        raise DataError(f"{folder.features}: no features of any video of {folder.path}")
    return found


def wanted_features(
    folder: DataFolder,
    splits: Sequence[str],
    *,
    named: bool = False,
    encoder: str | None = None,
    fps: float | None = None,
    reader: str | None = None,
    offline: bool = False,
) -> Settings:
    """The fingerprint of the features that a training on the folder takes.

    Those that lie in the folder are taken unless a way of making them is asked for.

    Args:
        folder: the data folder.
        splits: their names.
        named: features of the folder are asked for, whatever else is.
        encoder: of the features to make, or that those in the folder must be of.
        fps: frames a second to make them from.
        reader: of the videos.
        offline: download nothing.

    Raises:
        DataError: if a split is missing, or features are named and there are none.
        FeatureError: if there are features and none can be read, or those named are of another encoder.
        ConfigError: if there is no such encoder.
    """
    given = {"encoder": encoder, "fps": fps, "reader": reader}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if named or not asked:
        at_hand = (features_named if named else features_at_hand)(folder, splits)
        if at_hand is not None:
            if encoder is not None:
                same = {**at_hand, **build_encoder(encoder, offline=offline).settings}
                same_fingerprint(at_hand, same, str(folder.features))
            return at_hand
    return ExtractionSettings(**asked, offline=offline).fingerprint()


def default_text_encoder(data: Path, features: Settings) -> str:
    """What encodes the sentences where nothing is asked for, as `build_text_encoder` takes it.

    The text tower of a pretrained encoder; with others a file of GloVe vectors beside the annotations, or `hashed`.

    Args:
        data: the data folder.
        features: the fingerprint of the features.
    """
    if features["encoder"] not in (DEFAULT_ENCODER, EXTERNAL) and "fps" in features:  # else another program made them
        return OWN_TEXT_TOWER
    files = sorted(data.glob("glove*.txt"))  # a single one beside the annotations is meant to be used
    return f"glove:{files[0]}" if len(files) == 1 else DEFAULT_TEXT_ENCODER


def _located(
    folder: DataFolder, pairs: Sequence[Pair], cache: FeatureCache, wanted: Settings, sources: ResolvedSplits
) -> Iterator[Pair]:
    for pair in pairs:
        key = folder.video_key(pair.video)
        if key not in sources.files:
            _locate(folder, pair, key, cache, wanted, sources)
        if pair.duration is not None:
            sources.durations.setdefault(key, pair.duration)
        yield replace(pair, video=key)


def _locate(
    folder: DataFolder, pair: Pair, key: str, cache: FeatureCache, wanted: Settings, sources: ResolvedSplits
) -> None:
    """Add the features of a pair's video to `files`, and to `jobs` if they must be made."""
    features, video = folder.find_features(pair.video), folder.find_video(pair.video)
    if wanted["encoder"] == EXTERNAL:
        if features is None:
            return
        sources.files[key] = features
        if pair.duration is None and video is not None:
            with suppress(VideoError):  # the features may tell it; if not, reading them says that it is not known
                sources.durations[key] = probe(video).duration
        return
    found = None if features is None else _fingerprint(features, key)
    if features is not None and found == dict(wanted):
        sources.files[key] = features
    elif video is not None:
        sources.files[key] = cache.path(video, wanted)
        sources.jobs.append(Job(video, sources.files[key]))
    elif features is not None:
        sources.files[key] = features  # damaged ones are named when they are loaded
        if found is not None:
            same_fingerprint(found, wanted, str(features))


def _fingerprint(path: Path, key: str) -> dict[str, str | int | float] | None:
    """How features were made; None if they cannot be read."""
    try:
        return dict(read_features(path, key).fingerprint)
    except FeatureError:
        return None


def extraction_settings_for(
    wanted: Settings, *, device: str = "cpu", offline: bool = False
) -> ExtractionSettings | None:
    """How features of a fingerprint are extracted; None for features made elsewhere."""
    if wanted["encoder"] == EXTERNAL:
        return None
    return ExtractionSettings.from_fingerprint(wanted, device=device, offline=offline)
