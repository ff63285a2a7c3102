"""What is done of a long video, kept until it is whole: an extraction that was stopped goes on from there.

The kept features are parts of some minutes each, which are written once. A part ends where a batch of the encoder ends,
so that the rest is encoded in the same batches as without a stop, and the features are the same to the bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from mttsg_core.encoders.base import Settings
from mttsg_core.errors import DataError, FeatureError
from mttsg_core.features.arrays import load_arrays
from mttsg_core.features.builder import FeatureBuilder
from mttsg_core.features.identity import clock_version, file_identity
from mttsg_core.features.jobs import ExtractionJob
from mttsg_core.moments import Timeline
from mttsg_core.utils.atomic import write_atomically

_log = logging.getLogger("mttsg")


class PartialFeatures:
    """The kept parts of one video.

    Args:
        job: says where parts are kept, and how long they are.
        fingerprint: how the features are made.
    """

    def __init__(self, job: ExtractionJob, fingerprint: Settings) -> None:
        self._job = job
        self._fingerprint = json.dumps(dict(fingerprint), sort_keys=True)
        self._folder: Path | None = None  # of this video; found when it is first needed
        self._kept = 0  # clips that are kept
        self._failed = job.partial is None

    def load(self) -> FeatureBuilder | None:
        """Return the features that an earlier run has kept, or None if there are none."""
        if self._failed or self._job.partial is None or not self._job.partial.is_dir():
            return None
        folder = self._find_folder()
        builder: FeatureBuilder | None = None
        while folder is not None and (path := folder / f"{self._kept}.safetensors").is_file():
            try:
                builder = _add_part(path, builder, self._fingerprint)
            except (FeatureError, DataError, LookupError, TypeError, ValueError) as error:
                _log.info("%s: not used (%s)", path, error)
                break
            self._kept = builder.next_clip
        return builder

    def keep(self, builder: FeatureBuilder) -> None:
        """Keep what has been added since the last part, if it is enough. Failing to costs nothing but that."""
        span = (builder.next_clip - self._kept) * builder.timeline.seconds_per_clip
        if self._failed or builder.clips is None or span < self._job.partial_seconds:
            return
        folder = self._find_folder()
        if folder is None or builder.next_clip >= builder.timeline.clips:
            return
        try:
            _write_part(folder / f"{self._kept}.safetensors", builder, self._kept, self._fingerprint)
        except OSError as error:
            self._failed = True
            _log.info("%s: what is done of %s is not kept (%s)", folder, self._job.video, error)
            return
        self._kept = builder.next_clip

    def remove(self) -> None:
        """Remove the parts: the features are whole, or of no use."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):
                self._folder.parent.rmdir()  # if it is empty
        self._kept = 0

    def _find_folder(self) -> Path | None:
        """Return the folder of the parts, named by the content of the video and the settings; None without a video."""
        if self._folder is None and self._job.partial is not None:
            try:
                name = self._job.identity or file_identity(self._job.video)
                made = hashlib.blake2b(self._fingerprint.encode(), digest_size=6).hexdigest()
                self._folder = self._job.partial / f"{name}-{made}{clock_version(self._job.video)}"
            except OSError:
                self._failed = True  # whoever reads the video says so
        return self._folder


def _write_part(path: Path, builder: FeatureBuilder, first: int, fingerprint: str) -> None:
    """Write the clips from `first` on."""
    timeline = builder.timeline
    metadata = {
        "timeline": [timeline.duration, timeline.clips, timeline.start],
        "end": builder.next_clip,
        "encoded": builder.encoded,
        "fingerprint": fingerprint,
    }
    arrays: dict[str, npt.NDArray[np.float32] | npt.NDArray[np.float16]] = {}
    if builder.clips is not None:
        arrays["clips"] = builder.clips[first : builder.next_clip]
    if builder.regions is not None:
        arrays["regions"] = builder.regions[first : builder.next_clip]
    write_atomically(path, lambda part: save_file(arrays, part, {"mttsg": json.dumps(metadata)}))


def _add_part(path: Path, builder: FeatureBuilder | None, fingerprint: str) -> FeatureBuilder:
    """Return a builder with the clips of a part added.

    Raises:
        ValueError, LookupError, TypeError, DataError, FeatureError: if it is not the next part of these features.
    """
    clips, regions, metadata = load_arrays(path)
    known: Any = metadata
    timeline, end = Timeline(*known["timeline"]), int(known["end"])
    result = builder or FeatureBuilder(timeline)
    if known["fingerprint"] != fingerprint or result.timeline != timeline:
        raise ValueError("made in another way")
    if not result.next_clip < end < timeline.clips or len(clips) != end - result.next_clip:
        raise ValueError("not the next part")
    result.restore(clips, regions, int(known["encoded"]))
    return result
