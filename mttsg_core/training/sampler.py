"""The training pairs, drawn again every epoch: which videos share a batch, and how they are augmented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mttsg_core.config import TrainingConfig
from mttsg_core.data.batch import Batch, Targets, VideoItem, draw_batches
from mttsg_core.data.batch_parts import collate_part
from mttsg_core.data.dataset import Dataset
from mttsg_core.data.familiarity import Familiarity, learn_familiarity
from mttsg_core.encoders import TextEncoder
from mttsg_core.encoders.base import Array
from mttsg_core.errors import DataError
from mttsg_core.features.fingerprint import stream_widths
from mttsg_core.features.store import check_fingerprint
from mttsg_core.modeling.mktn import MKTN
from mttsg_core.training.augmentation import remove_moment, temporal_concat, temporal_crop
from mttsg_core.utils.distributed import ALONE, Ranks


class TrainingSampler:
    """The training pairs by video, with word vectors and true moments in clip units.

    Attributes:
        videos: with at least one moment to learn from.
        sentences: about these videos; one with several moments comes several times.
        pairs: number of pairs with one.
        clipped: moments that end past the end of their video, and are clipped to it.
        outside: moments that start past the end of their video, and are left out.

    Raises:
        DataError: if there is no pair to learn from.
        FeatureError: if features cannot be used, or were made in different ways.
    """

    def __init__(self, dataset: Dataset, text_encoder: TextEncoder) -> None:
        self.store = dataset.store
        self.clipped = self.outside = self.pairs = 0
        self.videos: list[str] = []
        self.sentences: list[str] = []
        self.words: list[list[Array]] = []
        self.spans: list[Array] = []
        expected = dataset.fingerprint
        for video, positions in dataset.by_video().items():
            features = self.store.load(video)
            check_fingerprint(features.fingerprint, expected, video)
            timeline = features.timeline
            pairs = [dataset.pairs[position] for position in positions if dataset.pairs[position].moments]
            examples = [
                (pair, moment)
                for pair in pairs
                for moment in pair.moments
                if moment[0] < timeline.start + timeline.duration and moment[1] > timeline.start
            ]  # a pair with several true moments gives an example for each of them
            self.outside += sum(len(pair.moments) for pair in pairs) - len(examples)
            if not examples:
                continue
            spans = timeline.to_clips([moment for _, moment in examples])
            self.clipped += int((spans[:, 1] > timeline.clips).sum())
            self.videos.append(video)
            self.pairs += len({id(pair) for pair, _ in examples})
            self.sentences += [pair.query for pair, _ in examples]
            self.words.append(text_encoder.encode([pair.query for pair, _ in examples]))
            self.spans.append(spans.clip(0, timeline.clips).astype(np.float32))
        if not self.videos:
            raise DataError(f"{dataset.name}: no pair to learn from")
        self._first_pair = np.cumsum([0, *map(len, self.words)]).tolist()  # number of the first example of each video

    @property
    def examples(self) -> int:
        """The number of examples: a pair with several true moments gives one for each of them."""
        return int(self._first_pair[-1])

    def max_window_seconds(self) -> float:
        """Return the length of the longest video, but at most twice what nine tenths of the videos stay below."""
        seconds = [self.store.load(video).timeline.duration for video in self.videos]
        return float(min(max(seconds), 2 * np.quantile(seconds, 0.9)))

    def feature_sizes(self) -> dict[str, int | str]:
        """Return the settings of the network that the features decide."""
        features = self.store.load(self.videos[0])
        regions, region_dim = (0, 0) if features.regions is None else features.regions.shape[1:]
        streams = "+".join(map(str, stream_widths(features.fingerprint).values()))
        return {"clip_dim": features.clips.shape[1], "regions": regions, "region_dim": region_dim, "streams": streams}

    def fit_statistics(self, network: MKTN, videos: int) -> None:
        """Give the network the mean and deviation of the features, from at most `videos` videos.

        In a shared space, also the mean of the sentences.
        """
        sample = self.videos[:: -(-len(self.videos) // videos)]
        encoder = network.video_encoder
        encoder.standardise.fit(*_mean_and_deviation(self.store.load(video).clips for video in sample))
        if encoder.regions is not None:
            regions = (self.store.load(video).regions for video in sample)
            encoder.regions.standardise.fit(*_mean_and_deviation(array for array in regions if array is not None))
        if network.shared_space is not None:
            width = network.config.clip_dim
            sentences = np.stack([words[0, :width] for of_video in self.words for words in of_video])  # (N, D)
            network.shared_space.fit(normalize(torch.from_numpy(sentences), dim=-1).mean(0))

    def familiarity(self, videos: int, *, knows_words: bool) -> Familiarity:
        """Return what the training consists of: all of its words, and at most `videos` videos.

        Args:
            videos: that are read.
            knows_words: whether the text encoder was pretrained on text.
        """
        sample = self.videos[:: -(-len(self.videos) // videos)]
        clips = (self.store.load(video).clips for video in sample)
        return learn_familiarity(self.sentences, clips, knows_words=knows_words)

    def batches(self, config: TrainingConfig, epoch: int, ranks: Ranks = ALONE) -> Iterator[tuple[Batch, Targets]]:
        """Yield the batches of an epoch; the same for the same seed and epoch, whatever came before.

        Of several ranks each gets its part of every batch.
        """
        generator = np.random.default_rng([config.seed, epoch])
        size = config.batch_videos
        # Batches drawn together are sorted by length among them, so that little is padded; not too many at once, or
        # the same videos would always share a batch.
        together = min(config.sorted_batches, config.steps_per_epoch(len(self.videos)) // config.sorted_share)
        for drawn in draw_batches([len(words) for words in self.words], size * max(1, together), generator):
            items = [self._item(video, drawn, config, generator) for video in drawn]
            items.sort(key=lambda item: len(item.features.clips))
            for first in generator.permutation(range(0, len(items), size)):
                batch = items[first : first + size]
                yield collate_part(batch, ranks)

    def _item(
        self, video: int, others: Sequence[int], config: TrainingConfig, generator: np.random.Generator
    ) -> VideoItem:
        """Draw some queries of a video and augment both."""
        item = self._draw(video, config, generator)
        change = generator.random()
        crop, concat = config.temporal_crop, config.temporal_crop + config.temporal_concat
        if change < concat:
            item = temporal_crop(item, config, generator)
        elif change < concat + config.remove_moment:
            whole = self._with_queries(video, range(len(self.words[video])))
            item = remove_moment(item, whole, config, generator)
        if crop <= change < concat and len(others) > 1:
            other = generator.choice([other for other in others if other != video])
            item = temporal_concat(item, self._draw(other, config, generator), config, generator)
        return item

    def _draw(self, video: int, config: TrainingConfig, generator: np.random.Generator) -> VideoItem:
        """Return a video with some of its queries."""
        order = generator.permutation(len(self.words[video]))
        return self._with_queries(video, order[: config.queries_per_video].tolist())

    def _with_queries(self, video: int, queries: Sequence[int]) -> VideoItem:
        """Return a video with these of its queries."""
        words = [self.words[video][query] for query in queries]
        spans = self.spans[video][list(queries)]
        pairs = [self._first_pair[video] + query for query in queries]
        return VideoItem(self.store.load(self.videos[video]), words, spans, [video] * len(words), pairs, [video])


def _mean_and_deviation(arrays: Iterable[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return both over all axes but the last, with one array in memory at a time (Chan et al., 1983)."""
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
