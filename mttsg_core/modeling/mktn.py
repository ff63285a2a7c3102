"""The Multi-Thread Knowledge Transfer Network (MKTN, AAAI 2025): encoders and co-training around a grounding network.

`NetworkConfig.network` chooses the latter, a fusion and a head; by default it is the paper's own. See `networks`.

    output = network(batch)                  # in training with everything that the losses need from the weights
    losses = criterion(output, targets)      # training.losses.MKTNCriterion, which calls nothing back

`build_network` and `build_network_shape` are the only places that make one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

from mttsg_core.config import NetworkConfig
from mttsg_core.data.batch import Batch, Sources
from mttsg_core.data.draws import Draws, draw
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.activity_sentence import ActivitySentenceAlignment, VideoActivities
from mttsg_core.modeling.backbone import EncodedQueries, EncodedVideos, QueryEncoder, VideoEncoder
from mttsg_core.modeling.contrastive import ContrastOutput, CrossModalContrast, QueryConditionedClips
from mttsg_core.modeling.cross_sentence_memory import CrossSentenceMemory
from mttsg_core.modeling.false_negatives import hard_negative_weights
from mttsg_core.modeling.fusion import RegionCrossAttention
from mttsg_core.modeling.layers import QueryGroups, own_video_mask, random_steps
from mttsg_core.modeling.networks import NETWORKS, AnyFusion, AnyHead, GroundingOutput
from mttsg_core.modeling.object_phrase import ObjectPhraseAlignment
from mttsg_core.modeling.shared_space import SharedSpace


class PreparedVideos(NamedTuple):
    """Everything about V videos that depends on no query.

    Attributes:
        encoded: by the video encoder.
        contrast: (V, T, C) clips in the common space, or None.
        objects: (V, T, K_o, C) object prototypes, or None.
        activities: of the videos, or None.
    """

    encoded: EncodedVideos
    contrast: Tensor | None
    objects: Tensor | None
    activities: VideoActivities | None

    def part(self, rows: slice, clips: int) -> PreparedVideos:
        """Return some of the videos, without the padding after their first `clips` clips."""

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows, :clips]

        encoded, activities = self.encoded, self.activities
        return PreparedVideos(
            encoded=EncodedVideos(
                encoded.clips[rows, :clips],
                cut(encoded.regions),
                encoded.mask[rows, :clips],
                encoded.durations[rows],
                cut(encoded.shared),
            ),
            contrast=cut(self.contrast),
            objects=cut(self.objects),
            activities=None
            if activities is None
            else VideoActivities(activities.vectors[rows], activities.attention[rows, :, :clips]),
        )


class FusedQueries(NamedTuple):
    """N queries fused with their videos.

    Attributes:
        fused: (N, T, D_h) the clips as the head reads them.
        own_clips: (N, T, C) clips of the query's video in the common space, conditioned on the query, or None.
        phrases: (N, K_w, C) phrase prototypes, or None.
        activity_text: (N, C) sentences in the space of activities, or None.
        gate: (N, D) gate of the memory, or None.
        prior: (N, P) logits that proposals start from, or None.
    """

    fused: Tensor
    own_clips: QueryConditionedClips | None
    phrases: Tensor | None
    activity_text: Tensor | None
    gate: Tensor | None
    prior: Tensor | None


class TrainingOutput(NamedTuple):
    """What only the losses need.

    Attributes:
        contrast: projections and random draws of the contrast, or None.
        text: (N*, C) sentences of the whole batch at length 1, in the common space if there is one.
        clean_text: (N*, C) the same, encoded without dropout.
        negative_presence: (A,) presence logits of mismatched queries, or None where presence is not learned.
        sources: of the batch, or None.
        share: what the output is of the batch.
    """

    contrast: ContrastOutput | None
    text: Tensor
    clean_text: Tensor
    negative_presence: Tensor | None
    sources: Sources | None = None
    share: Share = WHOLE


class _Learning(NamedTuple):
    """What a query learns from beside its own video: random numbers, and sources (N*,) and share of the batch."""

    draws: Draws
    sources: Tensor | None
    share: Share


class MKTNOutput(NamedTuple):
    """The network's output for N queries of V videos.

    Attributes:
        head: what the head found.
        videos: everything that depends on no query.
        queries: encoded.
        fused: queries fused with their videos.
        video_index: (N,).
        training: what only the losses need; None outside training.
    """

    head: GroundingOutput
    videos: PreparedVideos
    queries: EncodedQueries
    fused: FusedQueries
    video_index: Tensor
    training: TrainingOutput | None = None


class MKTN(nn.Module):
    """Multi-pair batch in, moments and scores of clips out.

    By default a prediction depends on its own video and its own sentence only. Each of the paper's modules is None
    where it is switched off.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.video_encoder = VideoEncoder(config)
        self.query_encoder = QueryEncoder(config)
        self.region_attention = RegionCrossAttention(config) if config.regions else None
        network = NETWORKS[config.network]
        self.fusion: AnyFusion = network.fusion(config)
        self.head: AnyHead = network.head(config)
        self.shared_space = SharedSpace(config, has_prior=network.reads_prior) if config.joint else None
        self.contrast = CrossModalContrast(config) if config.contrast else None
        self.memory = CrossSentenceMemory(config) if config.mining else None
        self.object_phrase = ObjectPhraseAlignment(config) if config.objects else None
        self.activity_sentence = ActivitySentenceAlignment(config) if config.activities else None

    def forward(self, batch: Batch, *, joint: bool = False) -> MKTNOutput:
        """Ground the queries of a batch; in training also compute what the losses need. See `Batch` and `ground`."""
        queries = self.encode_queries(batch.words, batch.word_mask)
        if batch.sources is not None:
            excluded = batch.sources.excluded(batch.sources.queries, batch.video_index)
            queries = queries._replace(excluded_sources=excluded)
        videos = self.encode_videos(batch)
        if not self.training:
            return self.ground(videos, queries, batch.video_index, joint=joint)
        learning = self._learning(batch)
        output = self.ground(videos, queries, batch.video_index, joint=joint, learning=learning)
        return output._replace(training=self._training_output(output, batch, learning))

    def _learning(self, batch: Batch) -> _Learning:
        """Return what the queries of a batch learn from each other with, and draw it where the batch does not."""
        share, draws = batch.share, batch.draws
        if draws is None:
            queries, words = batch.word_mask.shape
            videos, clips = batch.clip_mask.shape
            draws = draw(self.config, queries, words, videos, clips, device=batch.clips.device)
        sources = None if batch.sources is None else share.whole(batch.sources).queries
        return _Learning(draws, sources, share)

    def encode_queries(self, words: Tensor, mask: Tensor) -> EncodedQueries:
        """Compute everything about sentences, words (N, L, D_w) with mask (N, L), that depends on no video."""
        queries: EncodedQueries = self.query_encoder(words, mask)
        if self.object_phrase is None:
            return queries
        return queries._replace(phrases=self.object_phrase.phrases(queries.words, queries.mask))

    def encode_videos(self, batch: Batch) -> PreparedVideos:
        """Compute everything that depends on no query."""
        encoded: EncodedVideos = self.video_encoder(batch.clips, batch.clip_mask, batch.durations, batch.regions)
        return PreparedVideos(
            encoded,
            None if self.contrast is None else self.contrast(encoded.clips),
            None if self.object_phrase is None else self.object_phrase(encoded.clips, encoded.regions),
            None if self.activity_sentence is None else self.activity_sentence(encoded.clips, encoded.mask),
        )

    def ground(
        self,
        videos: PreparedVideos,
        queries: EncodedQueries,
        video_index: Tensor,
        *,
        joint: bool = False,
        learning: _Learning | None = None,
    ) -> MKTNOutput:
        """Ground N queries, each in the video that `video_index` names.

        Args:
            videos: see `encode_videos`.
            queries: see `encode_queries`.
            video_index: (N,).
            joint: let the queries of a video read each other, regardless of their order.
            learning: in training, what the queries learn from each other with.
        """
        fused = self._fuse(videos, queries, video_index, joint=joint, learning=learning)
        encoded = videos.encoded
        mask, durations = encoded.mask[video_index], encoded.durations[video_index]
        head: GroundingOutput = self.head(fused.fused, mask, durations, fused.prior)
        return MKTNOutput(head, videos, queries, fused, video_index)

    def negative_presence(self, videos: PreparedVideos, negatives: EncodedQueries, video_index: Tensor) -> Tensor:
        """Return presence logits (A,) of mismatched queries, each in the video that `video_index` (A,) names."""
        fused = self._fuse(videos, negatives, video_index, negatives=True).fused
        return self.head.presence_logits(fused, videos.encoded.mask[video_index])

    def _fuse(
        self,
        videos: PreparedVideos,
        queries: EncodedQueries,
        video_index: Tensor,
        *,
        joint: bool = False,
        negatives: bool = False,
        learning: _Learning | None = None,
    ) -> FusedQueries:
        """Fuse queries with their videos, with the evidence of every module that is on.

        What the memory retrieves is read by the head alone: all that compares queries with videos compares the queries
        themselves.
        """
        encoded = videos.encoded
        groups = QueryGroups(video_index, len(encoded.clips))
        sentence, enriched, gate = queries.sentence, queries, None
        if self.memory is not None:
            if learning is None:
                retrieved = self.memory(queries, encoded, groups, joint=joint, negatives=negatives)
            else:
                drawn, sources, share = learning.draws.sees_others, learning.sources, learning.share
                retrieved = self.memory(queries, encoded, groups, drawn=drawn, sources=sources, share=share)
            enriched, gate = queries._replace(words=retrieved.words, sentence=retrieved.sentence), retrieved.gate
        evidence: list[Tensor] = []  # (N, T, D_h) each
        attended = own_clips = activity_text = prior = None
        if self.region_attention is not None and encoded.regions is not None:
            attended, region_evidence = self.region_attention(encoded.regions, sentence, groups)
            evidence.append(region_evidence)
        if self.shared_space is not None and encoded.shared is not None and queries.shared is not None:
            shared, prior = self.shared_space(encoded.shared, encoded.mask, queries.shared, groups)
            evidence.append(shared)
        if self.contrast is not None and videos.contrast is not None:
            mask = groups.of_video(encoded.mask)
            own_clips = self.contrast.condition_on_query(groups.of_video(videos.contrast), attended, mask)
            evidence.append(self.contrast.match_features(own_clips, sentence))
        if self.object_phrase is not None and videos.objects is not None and queries.phrases is not None:
            evidence.append(self.object_phrase.match_features(videos.objects, queries.phrases, groups))
        if self.activity_sentence is not None and videos.activities is not None:
            activity_text = self.activity_sentence.project_sentence(sentence)
            features = self.activity_sentence.match_features(videos.activities, encoded.mask, activity_text, groups)
            evidence.append(features)
        fused = self.fusion(encoded, enriched, groups, evidence)
        return FusedQueries(fused, own_clips, queries.phrases, activity_text, gate, prior)

    def _training_output(self, output: MKTNOutput, batch: Batch, learning: _Learning) -> TrainingOutput:
        """Compute what the losses need from the weights beside the answer."""
        share, queries = learning.share, output.queries
        clean = self.query_encoder.without_dropout(batch.words, batch.word_mask)  # (N, D)
        project: Callable[[Tensor], Tensor] = _direction if self.contrast is None else self.contrast.project_sentence
        own_text = project(queries.sentence)
        with torch.no_grad():
            own_clean = project(clean)
        text, clean_text, sentences = share.gather_queries(own_text, own_clean, queries.sentence)  # (N*, ...) each
        clean_text = clean_text.detach()
        contrast = None
        if self.contrast is not None and output.fused.own_clips is not None:
            all_clips = self.clips_of_all_videos(output, learning.draws, sentences, share)
            own_clips, draws = output.fused.own_clips, learning.draws
            contrast = self.contrast.training_output(own_clips, all_clips, queries, text, draws, share)
        presence = None
        if self.config.presence:
            presence = self._negative_presence(output, batch, text.detach(), clean_text, learning)
        return TrainingOutput(contrast, text, clean_text, presence, batch.sources, share)

    def clips_of_all_videos(
        self, output: MKTNOutput, draws: Draws, sentences: Tensor, share: Share = WHOLE
    ) -> QueryConditionedClips:
        """Condition clips of the V videos here on each sentence (N*, D) of the batch, in the common space.

        Returns:
            (N*, V, T', C) with mask (V, T'), a few clips of each video, spread evenly and drawn again each time;
            without regions all clips, the same for every query: (1, V, T, C).

        Raises:
            ValueError: if the contrast is switched off.
        """
        clips, encoded = output.videos.contrast, output.videos.encoded
        if self.contrast is None or clips is None:
            raise ValueError("this network was built without contrast")
        if self.region_attention is None or encoded.regions is None:
            return self.contrast.condition_on_query(clips[None], None, encoded.mask)
        steps = random_steps(encoded.mask, share.own_videos(draws.clips))  # (V, T')
        drawn = torch.arange(len(clips), device=clips.device)[:, None], steps
        attended = self.region_attention.attend_all_videos(encoded.regions[drawn], sentences)
        return self.contrast.condition_on_query(clips[drawn], attended, encoded.mask[drawn])

    def _negative_presence(
        self, output: MKTNOutput, batch: Batch, text: Tensor, clean_text: Tensor, learning: _Learning
    ) -> Tensor:
        """Return presence logits (A,) of mismatched queries.

        Those are the negative queries of the videos here, and some queries of the batch that are not about them, each
        asked of another video than its own.
        """
        share, draws, sources = learning.share, learning.draws, batch.sources
        all_index, videos = share.whole_index(output.video_index), share.whole_videos(len(batch.clips))
        weights = self._negative_weights(text, clean_text, all_index, videos)  # (N*, V*)
        chance = weights.cumsum(1)  # (N*, V*)
        aim = draws.mismatched_video[:, None] * (1 - 1e-6) * chance[:, -1:]  # below the last one
        asked = (chance > aim).to(torch.uint8).argmax(1)  # (N*,) a video each, as likely as it weighs
        chosen = (draws.mismatched < self.config.negative_share) & (chance[:, -1] > 0)
        numbers = chosen.nonzero().squeeze(1)  # (A*,)
        here, index = share.asked_here(asked[numbers])
        numbers = numbers[here]  # (A,)
        negatives = _gathered(output.queries, share).part(numbers)
        if sources is not None:
            excluded = sources.excluded(share.whole(sources).queries[numbers], index)
            negatives = negatives._replace(excluded_sources=excluded)
        if batch.negatives is not None:
            written = self.encode_queries(batch.negatives.words, batch.negatives.mask)
            if sources is not None:
                asked_of = batch.negatives.video_index
                excluded = sources.excluded(sources.videos[asked_of, 0], asked_of)
                written = written._replace(excluded_sources=excluded)
            negatives = negatives.concat(written)
            index = torch.cat([index, batch.negatives.video_index])
        if not len(index):
            return output.head.presence.new_zeros(0)
        return self.negative_presence(output.videos, negatives, index)

    def _negative_weights(self, text: Tensor, clean_text: Tensor, video_index: Tensor, videos: int) -> Tensor:
        """Weigh the videos (N, V) that a sentence may be asked of as a mismatched query."""
        if not self.config.negatives:
            return (~own_video_mask(video_index, videos)).float()
        similarity, own = clean_text @ clean_text.T, (text * clean_text).sum(1)  # (N, N), (N,)
        return hard_negative_weights(similarity, own, video_index, videos, self.config.hard_negative_scale)


def build_network(config: NetworkConfig) -> MKTN:
    """Build the network of a config, with fresh weights."""
    return MKTN(config)


def build_network_shape(config: NetworkConfig) -> MKTN:
    """Build the network of a config on the `meta` device, where weights have a shape and a type but take no memory.

    Raises:
        RuntimeError, TypeError, OverflowError: if a size is beyond what a tensor can have.
    """
    with torch.device("meta"), _WithoutValues():
        return MKTN(config)


class _WithoutValues(TorchFunctionMode):
    """Leaves out what only gives new weights their values: on the `meta` device it would import for seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.mul, Tensor.repeat, Tensor.copy_) or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func is torch.linspace:
            return torch.empty(args[2])
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def _gathered(queries: EncodedQueries, share: Share) -> EncodedQueries:
    """Return the queries of all ranks, without the sources that they must not retrieve."""
    kept = {name: values for name, values in queries._asdict().items() if values is not None}
    kept.pop("excluded_sources", None)
    return EncodedQueries(**dict(zip(kept, share.gather_queries(*kept.values()), strict=True)))


def _direction(sentence: Tensor) -> Tensor:
    """Return sentences (N, D) at length 1."""
    return normalize(sentence.float(), dim=-1)
