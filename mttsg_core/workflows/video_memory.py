"""Encoded videos that stay in memory for the next sentence: those that were asked last."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence

from mttsg_core.errors import FeatureError, VideoError
from mttsg_core.features.store import VideoFeatures, read_features
from mttsg_core.inference.encoded_videos import Askable, Asker, asker
from mttsg_core.inference.grounder import Grounder
from mttsg_core.search.index import IndexedVideo
from mttsg_core.workflows.all_or_each import all_or_each

_log = logging.getLogger("mttsg")


class VideoMemory:
    """The encoded videos of one model. Further ones are read from the cache of features and encoded again.

    A video is known by its entry in the cache, which is another one if the file has changed.

    Args:
        grounder: the model.
        max_bytes: memory for encoded videos; those that were asked last stay.

    Attributes:
        grounder: as given.
        asker: asks the videos.
    """

    def __init__(self, grounder: Grounder, max_bytes: int) -> None:
        self.grounder = grounder
        self.asker: Asker = asker(grounder)
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, Askable] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of videos in memory."""
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._bytes

    @property
    def is_full(self) -> bool:
        """Whether a video as large as the others would take the place of one."""
        return bool(self._kept) and self._bytes * (1 + 1 / len(self._kept)) > self._max_bytes

    def held(self, video: IndexedVideo) -> Askable | None:
        """Return a video that is in memory; None for others."""
        return self._kept.get(video.features)

    def load(self, videos: Sequence[IndexedVideo]) -> list[Askable | None]:
        """Return videos encoded, from memory or made now; None for one that cannot be read, which is warned about."""
        found: dict[str, Askable] = {}
        missing: dict[str, tuple[IndexedVideo, VideoFeatures]] = {}
        for video in videos:
            if video.features in self._kept:
                self._kept.move_to_end(video.features)
                found[video.features] = self._kept[video.features]
            elif video.features not in missing:
                try:
                    missing[video.features] = video, self.features(video)
                except (VideoError, FeatureError) as error:
                    _log.warning("%s", error)
        features = [of_video for _, of_video in missing.values()]
        for (key, (video, _)), encoded in zip(missing.items(), all_or_each(self.asker.encode, features), strict=True):
            if isinstance(encoded, FeatureError):
                _log.warning("%s: %s", video.path, encoded)
            else:
                found[key] = encoded
                self._keep(key, encoded)
        return [found.get(video.features) for video in videos]

    def features(self, video: IndexedVideo) -> VideoFeatures:
        """Return features from the cache; missing or damaged ones are extracted now.

        Raises:
            VideoError, FeatureError: if that is impossible.
        """
        try:
            return self.grounder.adapt(read_features(self.grounder.cache.folder / video.features))
        except FeatureError:
            return self.grounder.features_of(video.path)

    def _keep(self, key: str, encoded: Askable) -> None:
        self._kept[key] = encoded
        self._bytes += encoded.nbytes
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
