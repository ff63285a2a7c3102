"""The features of one video, put together from the pieces in which it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mttsg_core.encoders import Encoder
from mttsg_core.encoders.base import Settings
from mttsg_core.errors import VideoError
from mttsg_core.features.arrays import FloatFeatures
from mttsg_core.features.frame_stream import ClipFrames
from mttsg_core.features.store import VideoFeatures
from mttsg_core.moments import Timeline


@dataclass
class FeatureBuilder:
    """The features of a video whose clips arrive one after the other; those of missing clips stay zero.

    Attributes:
        timeline: of the video.
        clips: (T, D); None before the first clip.
        regions: (T, R, D_r), or None if there are none.
        encoded: number of clips that have been added.
        next_clip: the clip after the last one that has been added.
    """

    timeline: Timeline
    clips: npt.NDArray[np.float32] | None = None
    regions: npt.NDArray[np.float16] | None = None
    encoded: int = 0
    next_clip: int = 0

    @property
    def seconds(self) -> float:
        """Seconds of the video that are done."""
        return self.next_clip * self.timeline.seconds_per_clip

    def add(self, piece: ClipFrames, encoder: Encoder) -> None:
        """Encode some clips."""
        features = encoder.encode(piece.frames)
        repeats = piece.repeats or [1] * len(piece.clips)
        rows = [clip + more for clip, count in zip(piece.clips, repeats, strict=True) for more in range(count)]
        self._fill(rows, np.repeat(features.clips, repeats, axis=0))
        if features.regions is not None:
            self._fill_regions(rows, np.repeat(features.regions, repeats, axis=0))
        self.encoded += len(rows)
        self.next_clip = rows[-1] + 1

    def restore(self, clips: FloatFeatures, regions: FloatFeatures | None, encoded: int) -> None:
        """Add the features (n, D) and (n, R, D_r) of the next n clips, of which an earlier run encoded all but a few.

        Args:
            clips: the clip vectors.
            regions: the regions, if there are any.
            encoded: number of clips that have been encoded by then, from the first on.
        """
        rows = range(self.next_clip, self.next_clip + len(clips))
        self._fill(rows, clips)
        if regions is not None:
            self._fill_regions(rows, regions)
        self.encoded, self.next_clip = encoded, rows.stop

    def _fill(self, rows: Sequence[int], values: FloatFeatures) -> None:
        if self.clips is None:
            self.clips = np.zeros((self.timeline.clips, *values.shape[1:]), dtype=np.float32)
        self.clips[list(rows)] = values

    def _fill_regions(self, rows: Sequence[int], values: FloatFeatures) -> None:
        if self.regions is None:
            self.regions = np.zeros((self.timeline.clips, *values.shape[1:]), dtype=np.float16)
        self.regions[list(rows)] = values

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
