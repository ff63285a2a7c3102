"""The training pairs, drawn anew every epoch: which videos stand together, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mttsg_core.config import TrainingConfig
from mttsg_core.data.batch import Batch, VideoItem, collate, draw_batches
from mttsg_core.data.dataset import Dataset
from mttsg_core.encoders import TextEncoder
from mttsg_core.encoders.base import Array
from mttsg_core.errors import DataError
from mttsg_core.features.store import same_fingerprint
from mttsg_core.modeling.mktn import MKTN
from mttsg_core.training.augmentation import remove_moment, temporal_concat, temporal_crop

_SORTED = 4  # batches whose videos are sorted by length among them, so that little is padded, at most
_OF_EPOCH = 4  # of so many batches of an epoch, one: else the same videos would always stand together
_STATISTICS_VIDEOS = 200  # the mean and spread of the features are taken from so many videos, at most


class TrainingSampler:
    """The training pairs, ready to be drawn: by video, with word vectors and true bounds in clip units."""

    def __init__(self, dataset: Dataset, text_encoder: TextEncoder) -> None:
        self.store = dataset.store
        self.clipped = self.outside = self.pairs = 0  # moments that end, and that begin, past the end of their video
        self.videos: list[str] = []
        self.words: list[list[Array]] = []
        self.bounds: list[Array] = []
        expected = dataset.fingerprint
        for video, positions in dataset.by_video().items():
            features = self.store.load(video)
            same_fingerprint(features.fingerprint, expected, video)
            timeline = features.timeline
            pairs = [dataset.pairs[position] for position in positions if dataset.pairs[position].moments]
            spans = [
                (pair, moment)
                for pair in pairs
                for moment in pair.moments
                if moment[0] < timeline.start + timeline.duration and moment[1] > timeline.start
            ]  # a pair with several true moments teaches each of them
            self.outside += sum(len(pair.moments) for pair in pairs) - len(spans)
            if not spans:
                continue
            bounds = timeline.to_clips([moment for _, moment in spans])
            self.clipped += int((bounds[:, 1] > timeline.clips).sum())
            self.videos.append(video)
            self.pairs += len({id(pair) for pair, _ in spans})
            self.words.append(text_encoder.encode([pair.query for pair, _ in spans]))
            self.bounds.append(bounds.clip(0, timeline.clips).astype(np.float32))
        if not self.videos:
            raise DataError(f"{dataset.name}: no pair to learn from")

    def max_window_seconds(self) -> float:
        """Seconds of the longest video, but for outliers: at most twice what nine tenths of the videos stay below."""
        seconds = [self.store.load(video).timeline.duration for video in self.videos]
        return float(min(max(seconds), 2 * np.quantile(seconds, 0.9)))

    def feature_sizes(self) -> dict[str, int]:
        """The settings of the network that the features decide."""
        features = self.store.load(self.videos[0])
        regions, region_dim = (0, 0) if features.regions is None else features.regions.shape[1:]
        return {"clip_dim": features.clips.shape[1], "regions": regions, "region_dim": region_dim}

    def fit_statistics(self, network: MKTN) -> None:
        """Give the network the mean and spread of the features, from videos spread over the whole set."""
        sample = self.videos[:: -(-len(self.videos) // _STATISTICS_VIDEOS)]
        encoder = network.video_encoder
        encoder.standardise.fit(*_mean_and_deviation(self.store.load(video).clips for video in sample))
        if encoder.regions is not None:
            regions = (self.store.load(video).regions for video in sample)
            encoder.regions.standardise.fit(*_mean_and_deviation(array for array in regions if array is not None))

    def batches(self, config: TrainingConfig, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch; the same for the same seed and epoch, whatever came before."""
        generator = np.random.default_rng([config.seed, epoch])
        size = config.batch_videos
        together = size * max(1, min(_SORTED, config.steps_per_epoch(len(self.videos)) // _OF_EPOCH))
        for drawn in draw_batches([len(words) for words in self.words], together, generator):
            items = [self._item(video, drawn, config, generator) for video in drawn]
            items.sort(key=lambda item: len(item.features.clips))
            for first in generator.permutation(range(0, len(items), size)):
                yield collate(items[first : first + size])

    def _item(
        self, video: int, others: Sequence[int], config: TrainingConfig, generator: np.random.Generator
    ) -> VideoItem:
        item = self._some(video, config, generator)
        change = generator.random()
        if change < config.cut + config.join:
            item = temporal_crop(item, generator)
        elif change < config.cut + config.join + config.erase:
            item = remove_moment(item, self._asked(video, range(len(self.words[video]))), generator)
        if config.cut <= change < config.cut + config.join and len(others) > 1:
            other = generator.choice([other for other in others if other != video])
            item = temporal_concat(item, self._some(other, config, generator), generator)
        return item

    def _some(self, video: int, config: TrainingConfig, generator: np.random.Generator) -> VideoItem:
        """A video as it is, with some of its queries."""
        return self._asked(video, generator.permutation(len(self.words[video]))[: config.queries_per_video].tolist())

    def _asked(self, video: int, queries: Sequence[int]) -> VideoItem:
        """A video as it is, with these of its queries."""
        words = [self.words[video][query] for query in queries]
        bounds = self.bounds[video][list(queries)]
        return VideoItem(self.store.load(self.videos[video]), words, bounds, [video] * len(words), [video])


def _mean_and_deviation(arrays: Iterable[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Over all axes but the last, with one array in memory at a time (Chan et al., 1983)."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for array in arrays:
        values = array.reshape(-1, array.shape[-1]).astype(np.float64)
        own = values.mean(axis=0)
        moved = own - mean
        total = count + len(values)
        squares = squares + ((values - own) ** 2).sum(axis=0) + moved**2 * (count * len(values) / total)
        mean = mean + moved * (len(values) / total)
        count = total
    return torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(squares / count)).float()
