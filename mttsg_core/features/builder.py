"""The features of one video, put together from the pieces in which it is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mttsg_core.encoders import Encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import VideoError
from mttsg_core.features.frame_stream import ClipFrames
from mttsg_core.features.store import VideoFeatures
from mttsg_core.moments import Timeline


@dataclass
class FeatureBuilder:
    """The features of a video whose clips arrive one after the other; those of missing clips stay zero."""

    timeline: Timeline
    clips: npt.NDArray[np.float32] | None = None  # (T, D)
    regions: npt.NDArray[np.float16] | None = None  # (T, R, D_r)
    encoded: int = 0

    def add(self, piece: ClipFrames, encoder: Encoder) -> None:
        """Encode some clips."""
        features = encoder.encode(piece.frames)
        repeats = piece.repeats or [1] * len(piece.clips)
        rows = [clip + more for clip, count in zip(piece.clips, repeats, strict=True) for more in range(count)]
        if self.clips is None:
            self.clips = np.zeros((self.timeline.clips, *features.clips.shape[1:]), dtype=np.float32)
        self.clips[rows] = np.repeat(features.clips, repeats, axis=0)
        if features.regions is not None:
            if self.regions is None:
                self.regions = np.zeros((self.timeline.clips, *features.regions.shape[1:]), dtype=np.float16)
            self.regions[rows] = np.repeat(features.regions, repeats, axis=0)
        self.encoded += len(rows)

    def build(self, video: Path, fingerprint: Settings) -> VideoFeatures:
        """Return the features of the whole video. Raises VideoError if no clip was added."""
        if self.clips is None:
            raise VideoError(video, "no frame can be decoded")
        return VideoFeatures(
            clips=self.clips,
            regions=self.regions,
            duration=self.timeline.duration,
            start=self.timeline.start,
            fingerprint=fingerprint,
            lost_clips=self.timeline.clips - self.encoded,
        )
