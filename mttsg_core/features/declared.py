"""What features made elsewhere are, as their owner declares it, so that a model trained on them can be asked of videos.

The frames of a video are encoded by the declared encoder and pooled into as many clips as the features have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mttsg_core.config import Range, required, setting
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import ConfigError, FeatureError
from mttsg_core.features.arrays import FloatFeatures
from mttsg_core.features.settings import ExtractionSettings
from mttsg_core.features.store import EXTERNAL, VideoFeatures

_UNIT = (0.3, 1.001)  # lengths of vectors of length 1, and of means of some of them; those that are not are far longer
_BINS = Range(at_least=0, at_most=100_000)
_FPS = Range(above=0, at_most=1000)


@dataclass(frozen=True)
class DeclaredFeatures:
    """What features made elsewhere are.

    Attributes:
        encoder: id of the encoder that made them, whose content is fixed.
        bins: equal parts that every video is divided into; 0 if clips are at a rate, `fps`.
        fps: frames per second that are encoded.
        unit_length: whether the vectors of frames are scaled to length 1.
    """

    encoder: str = required("encoder that made the features")
    bins: int = setting(0, "equal parts of a video; 0 for clips at a rate", _BINS)
    fps: float = setting(ExtractionSettings.fps, "frames per second", _FPS)
    unit_length: bool = setting(False, "whether the vectors of frames have length 1")

    def extraction(self, *, device: str = "cpu", offline: bool = False, precision: str = "auto") -> ExtractionSettings:
        """Return how such features are made from a video, before `adapt`; arguments are those of the settings."""
        return ExtractionSettings(self.encoder, self.fps, device=device, offline=offline, precision=precision)

    def adapt(self, features: VideoFeatures, fingerprint: Settings, window: float | None) -> VideoFeatures:
        """Return features of the encoder as those that were declared.

        Args:
            features: of a video, by `extraction`.
            fingerprint: of the declared features.
            window: seconds of the longest video of the training; a longer one gets as many more clips as it is longer.
        """
        clips = features.clips
        if self.unit_length:
            clips = clips / np.maximum(np.linalg.norm(clips, axis=1, keepdims=True), 1e-9)
        adapted = replace(features, clips=clips, regions=None, fingerprint=fingerprint)
        if not self.bins:
            return adapted
        windows = 1.0 if window is None else max(1.0, features.timeline.duration / window)
        return adapted.resample(round(self.bins * windows))


def declare_features(
    settings: ExtractionSettings, bins: int | None, fps: float | None, videos: Iterable[VideoFeatures], max_clips: int
) -> DeclaredFeatures:
    """Return what features are, after a check that they can be that.

    Args:
        settings: name the encoder.
        bins: equal parts that every video is divided into; None if clips are at a rate.
        fps: frames per second; None takes the default, or without bins the usual rate of the clips.
        videos: the features, those of longer videos averaged into `max_clips`.
        max_clips: see there.

    Raises:
        ConfigError: if the encoder does not exist, or the features cannot be its own.
        FeatureError: if there are none, or they record how they were made.
    """
    encoder = settings.build_encoder()
    width, height = encoder.frame_transform.size
    blank = np.zeros((1, encoder.frames_per_clip, height, width, 3), dtype=np.uint8)
    dim = encoder.encode(blank).clips.shape[1]
    rates: list[float] = []
    lengths: list[float] = []
    for features in videos:
        _check(features, settings.encoder, dim, bins if bins is None else min(bins, max_clips))
        lengths.append(_typical_length(features.clips))
        if len(features.clips) < max_clips:
            rates.append(1 / features.timeline.seconds_per_clip)
    if not lengths:
        raise FeatureError("no features of any training video")
    if bins is None and fps is None and not rates:
        raise ConfigError(f"--features-of: every video has {max_clips} clips or more; give their rate with --fps")
    rate = fps or (round(float(np.median(rates)), 3) if bins is None else ExtractionSettings.fps)
    unit_length = _UNIT[0] <= float(np.median(lengths)) <= _UNIT[1]
    return DeclaredFeatures(str(encoder.settings["encoder"]), bins or 0, rate, unit_length)


def _check(features: VideoFeatures, encoder: str, dim: int, bins: int | None) -> None:
    """Raise unless features can be those of an encoder, with so many clips."""
    if features.fingerprint.get("encoder") != EXTERNAL:
        raise FeatureError(f"--features-of: the features record that {features.fingerprint.get('encoder')!r} made them")
    if "streams" in features.fingerprint or features.regions is not None:
        raise ConfigError("--features-of: of several streams, or of regions, one encoder cannot have made all")
    if features.clips.shape[1] != dim:
        raise ConfigError(
            f"--features-of {encoder}: its vectors have {dim} numbers, but the features {features.clips.shape[1]}"
        )
    if bins is not None and len(features.clips) != bins:
        raise ConfigError(f"--bins {bins}: a video has features of {len(features.clips)} clips")


def _typical_length(clips: FloatFeatures) -> float:
    return float(np.median(np.linalg.norm(clips.astype(np.float32), axis=1)))
