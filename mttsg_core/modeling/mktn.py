"""The Multi-Thread Knowledge Transfer Network (MKTN, AAAI 2025): encoders and co-training around a grounding network.

`NetworkConfig.network` chooses the latter, a fusion and a head; by default it is the paper's own. See `networks`.

    output = network(batch)                  # in training with everything that the losses need from the weights
    losses = criterion(output, targets)      # training.losses.MKTNCriterion, which calls nothing back

`build_network` and `build_network_shape` are the only places that make one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

from mttsg_core.config import NetworkConfig
from mttsg_core.data.batch import Batch, Sources
from mttsg_core.data.draws import Draws, draw
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.activity_sentence import ActivitySentenceAlignment
from mttsg_core.modeling.backbone import EncodedQueries, EncodedVideos, QueryEncoder, VideoEncoder
from mttsg_core.modeling.contrastive import ContrastDraws, CrossModalContrast, QueryConditionedClips
from mttsg_core.modeling.cross_sentence_memory import CrossSentenceMemory
from mttsg_core.modeling.curve_scores import CurveScores
from mttsg_core.modeling.curves import unit_range
from mttsg_core.modeling.false_negatives import hard_negative_weights
from mttsg_core.modeling.fusion import RegionCrossAttention
from mttsg_core.modeling.head import GroundingOutput, Head
from mttsg_core.modeling.layers import QueryGroups, own_video_mask, random_steps, unit_length
from mttsg_core.modeling.network_output import FusedQueries, MismatchedQueries, MKTNOutput, Negatives, TrainingOutput
from mttsg_core.modeling.networks import NETWORKS, AnyFusion
from mttsg_core.modeling.object_phrase import ObjectPhraseAlignment
from mttsg_core.modeling.prepared import PreparedVideos
from mttsg_core.modeling.shared_space import SharedSpace


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
        self.head: Head = network.head(config)
        self.shared_space = SharedSpace(config, has_prior=network.reads_prior) if config.joint else None
        self.contrast = CrossModalContrast(config) if config.contrast else None
        self.memory = CrossSentenceMemory(config) if config.mining else None
        self.object_phrase = ObjectPhraseAlignment(config) if config.objects else None
        self.activity_sentence = ActivitySentenceAlignment(config) if config.activities else None
        self.curve_scores = None
        if self.contrast is not None and config.contrast_curve_width and network.reads_prior and not config.joint:
            self.curve_scores = CurveScores(config.contrast_curve_width, config.dropout)

    def forward(self, batch: Batch, *, joint: bool = False, draws: Draws | None = None) -> MKTNOutput:
        """Ground the queries of a batch; in training also compute what the losses need. See `Batch` and `ground`.

        What is random in training beside dropout is drawn, if it is not given.
        """
        if self.training:
            return self._train(batch, draws or self.draw(batch), joint=joint)
        queries = self.encode_queries(batch.words, batch.word_mask)
        return self.ground(self.encode_videos(batch), queries, batch.video_index, joint=joint)

    def draw(self, batch: Batch) -> Draws:
        """Draw what is random in training beside dropout, for the whole batch: alike on all ranks of the same seed."""
        share, (videos, clips) = batch.share, batch.clip_mask.shape
        queries, written = len(share.whole_index(batch.video_index)), batch.negatives
        words = max(batch.words.shape[1], 0 if written is None else written.words.shape[1])
        return draw(self.config, queries, words, share.whole_videos(videos), clips, batch.words.device)

    def encode_queries(self, words: Tensor, mask: Tensor) -> EncodedQueries:
        """Compute everything about sentences, words (N, L, D_w) with mask (N, L), that depends on no video."""
        queries: EncodedQueries = self.query_encoder(words, mask)
        if self.object_phrase is not None:
            queries = queries._replace(phrases=self.object_phrase.phrases(queries.words, queries.mask))
        if self.activity_sentence is not None:
            queries = queries._replace(activity=self.activity_sentence.project_sentence(queries.sentence))
        return queries

    def encode_videos(self, batch: Batch) -> PreparedVideos:
        """Compute everything that depends on no query."""
        encoded: EncodedVideos = self.video_encoder(batch.clips, batch.clip_mask, batch.durations, batch.regions)
        return PreparedVideos(
            encoded,
            None if self.contrast is None else self.contrast(encoded.clips),
            None if self.object_phrase is None else self.object_phrase(encoded.clips, encoded.regions),
            None if self.activity_sentence is None else self.activity_sentence(encoded.clips, encoded.mask),
            self.fusion.project(encoded.clips),
        )

    def ground(
        self, videos: PreparedVideos, queries: EncodedQueries, video_index: Tensor, *, joint: bool = False
    ) -> MKTNOutput:
        """Ground N queries, each in the video that `video_index` names.

        Args:
            videos: see `encode_videos`.
            queries: see `encode_queries`.
            video_index: (N,).
            joint: let the queries of a video read each other, regardless of their order.
        """
        fused = self._fuse(videos, queries, video_index, joint=joint)
        encoded = videos.encoded
        mask, durations = encoded.mask[video_index], encoded.durations[video_index]
        head: GroundingOutput = self.head(fused.fused, mask, durations, self._prior(fused, mask, durations))
        return MKTNOutput(head, videos, queries, fused, video_index)

    def presence(self, videos: PreparedVideos, queries: EncodedQueries, video_index: Tensor) -> Tensor:
        """Return the presence logits (N,) of `ground` alone, for less arithmetic."""
        mask = videos.encoded.mask[video_index]
        fused = self._fuse(videos, queries, video_index).fused
        return self.head.presence_logits(self.head.read(fused, mask), mask)

    def _fuse(
        self,
        videos: PreparedVideos,
        queries: EncodedQueries,
        video_index: Tensor,
        *,
        joint: bool = False,
        negatives: int = 0,
        drawn: Tensor | None = None,
        sources: Tensor | None = None,
        share: Share = WHOLE,
    ) -> FusedQueries:
        """Fuse queries, the last ones mismatched, with their videos, with the evidence of every module that is on.

        What the memory retrieves is read by the head alone: all that compares queries with videos compares the queries
        themselves.
        """
        encoded = videos.encoded
        groups = QueryGroups(video_index, len(encoded.clips))
        sentence, enriched, gate = queries.sentence, queries, None
        if self.memory is not None:
            retrieved = self.memory(
                queries, encoded, groups, joint=joint, negatives=negatives, drawn=drawn, sources=sources, share=share
            )
            enriched, gate = queries._replace(words=retrieved.words, sentence=retrieved.sentence), retrieved.gate
        evidence: list[Tensor] = []  # (N, T, D_h) each
        attended = own_clips = prior = match = None
        regions = videos.ragged_regions or encoded.regions
        if self.region_attention is not None and regions is not None:
            attended, region_evidence = self.region_attention(regions, sentence, groups)
            evidence.append(region_evidence)
        if self.shared_space is not None and encoded.shared is not None and queries.shared is not None:
            shared, prior = self.shared_space(encoded.shared, encoded.mask, encoded.durations, queries.shared, groups)
            evidence.append(shared)
        if self.contrast is not None and videos.contrast is not None:
            mask = groups.of_video(encoded.mask)
            own_clips = self.contrast.condition_on_query(groups.of_video(videos.contrast), attended, mask)
            match = self.contrast.match(own_clips, sentence)  # (N, T)
            evidence.append(self.contrast.match_features(match, mask))
        if self.object_phrase is not None and videos.objects is not None and queries.phrases is not None:
            evidence.append(self.object_phrase.match_features(videos.objects, queries.phrases, groups))
        if self.activity_sentence is not None and videos.activities is not None and queries.activity is not None:
            features = self.activity_sentence.match_features(videos.activities, encoded.mask, queries.activity, groups)
            evidence.append(features)
        fused = self.fusion(videos.projected, encoded.mask, enriched, groups, evidence)
        return FusedQueries(fused, own_clips, gate, prior, match)

    def _train(self, batch: Batch, draws: Draws, *, joint: bool) -> MKTNOutput:
        """Ground the queries of a batch together with the mismatched ones, and compute what the losses need.

        On one process all numbers of queries are known before: nothing waits for a GPU.
        """
        count, share = len(batch.words), batch.share
        encoded = self.encode_queries(*_all_words(batch, with_negatives=self.config.presence))
        own = encoded.part(slice(count)) if len(encoded.words) > count else encoded
        videos = self.encode_videos(batch)
        clean = self.query_encoder.without_dropout(batch.words, batch.word_mask)  # (N, D)
        project: Callable[[Tensor], Tensor] = _direction if self.contrast is None else self.contrast.project_sentence
        with torch.no_grad():
            own_clean = project(clean)
        everyone, text, clean_text = _gathered(own, project(own.sentence), own_clean, share)  # N*
        all_clips = mismatched = None
        if self.contrast is not None:
            all_clips = self.clips_of_all_videos(videos, everyone.sentence, draws.clips, share)
        if self.config.presence:
            mismatched = self._choose_mismatched(batch, text.detach(), clean_text, draws)
            encoded = _with_written(everyone, encoded, count, share)
        queries, fused, head, presence = self._ground_all(batch, videos, encoded, mismatched, draws, joint=joint)
        contrast = None
        if self.contrast is not None and all_clips is not None and fused.own_clips is not None:
            of_contrast = ContrastDraws.of(draws, fused.own_clips.mask, queries.mask, share)
            contrast = self.contrast.training_output(
                fused.own_clips, all_clips, self._bare_clips(videos), queries, text, of_contrast
            )
        negatives = None if mismatched is None else Negatives(presence, mismatched.valid, mismatched.taking_part)
        training = TrainingOutput(everyone, contrast, text, clean_text, negatives, batch.sources, share)
        return MKTNOutput(head, videos, queries, fused, batch.video_index, training)

    def _ground_all(
        self,
        batch: Batch,
        videos: PreparedVideos,
        encoded: EncodedQueries,
        mismatched: MismatchedQueries | None,
        draws: Draws,
        *,
        joint: bool,
    ) -> tuple[EncodedQueries, FusedQueries, GroundingOutput, Tensor]:
        """Fuse the N queries of a batch, and after them the A mismatched ones, with their videos.

        Args:
            batch: to ground.
            videos: encoded.
            encoded: the N queries; where there are mismatched ones the N* of all ranks and those that were written.
            mismatched: which ones, or None.
            draws: what is random.
            joint: see `ground`.

        Returns:
            The N queries, encoded and fused, the head's output for them, and the presence logits (A,) of the others.
        """
        count, index, share = len(batch.words), batch.video_index, batch.share
        queries, negatives = encoded, 0 if mismatched is None else len(mismatched.rows)
        own = share.own_queries(torch.arange(len(share.whole_index(index)), device=index.device))  # (N,)
        rows = own
        if mismatched is not None:
            rows = torch.cat([own, mismatched.rows])
            index = torch.cat([index, mismatched.video_index])
            queries = encoded.part(rows) if negatives or len(encoded.words) > count else encoded
        sources = None
        if batch.sources is not None:
            sources = share.whole(batch.sources).queries  # (N*,)
            excluded = batch.sources.excluded(_sources_of(batch, batch.sources, sources)[rows], index)
            queries = queries._replace(excluded_sources=excluded)
        fused = self._fuse(
            videos,
            queries,
            index,
            joint=joint,
            negatives=negatives,
            drawn=draws.sees_others,
            sources=sources,
            share=share,
        )
        mask, durations = videos.encoded.mask[index], videos.encoded.durations[batch.video_index]
        hidden = self.head.read(fused.fused, mask)  # (N + A, T, D_h)
        presence = self.head.presence_logits(hidden, mask)  # (N + A,)
        if negatives:
            queries, fused = queries.part(slice(count)), fused.part(slice(count))
        mask = mask[:count]
        prior = self._prior(fused, mask, durations)
        head = self.head.ground(hidden[:count], mask, durations, presence[:count], prior)
        return queries, fused, head, presence[count:]

    def _prior(self, fused: FusedQueries, mask: Tensor, durations: Tensor) -> Tensor | None:
        """Return the logits (N, P) that proposals start from, given masks (N, T) and seconds (N,); None for zero."""
        if self.curve_scores is None or fused.match is None:
            return fused.prior
        match = fused.match.detach()  # what learns from a curve does not bend it
        scores: Tensor = self.curve_scores(match, unit_range(match, mask), mask, durations)
        return scores

    def clips_of_all_videos(
        self, videos: PreparedVideos, sentence: Tensor, drawn: Tensor, share: Share = WHOLE
    ) -> QueryConditionedClips:
        """Condition clips of the V videos here on each of N* sentences (N*, D), in the common space.

        Returns:
            (N*, V, T', C) with mask (V, T'), a few clips of each video, spread evenly and drawn (V*, T'); without
            regions all clips, the same for every query: (1, V, T, C).

        Raises:
            ValueError: if the contrast is switched off.
        """
        clips, encoded = videos.contrast, videos.encoded
        if self.contrast is None or clips is None:
            raise ValueError("this network was built without contrast")
        if self.region_attention is None or encoded.regions is None:
            return self.contrast.condition_on_query(clips[None], None, encoded.mask)
        steps = random_steps(encoded.mask, share.own_videos(drawn))  # (V, T')
        places = torch.arange(len(clips), device=clips.device)[:, None], steps
        attended = self.region_attention.attend_all_videos(encoded.regions[places], sentence)
        return self.contrast.condition_on_query(clips[places], attended, encoded.mask[places])

    def _bare_clips(self, videos: PreparedVideos) -> QueryConditionedClips | None:
        """Return all clips of the V videos as an index stores them, (1, V, T, C); None if no regions condition them."""
        if videos.contrast is None or self.region_attention is None or videos.encoded.regions is None:
            return None
        return QueryConditionedClips(videos.contrast[None], videos.encoded.mask)

    def _choose_mismatched(self, batch: Batch, text: Tensor, clean_text: Tensor, draws: Draws) -> MismatchedQueries:
        """Choose another video for the drawn queries of a batch, and append the mismatched ones that it has.

        Of all queries (N*, C) those are kept that are to be asked of a video here.
        """
        share, rows = batch.share, draws.mismatched  # (A*,)
        index, videos = share.whole_index(batch.video_index), share.whole_videos(len(batch.clips))
        weights = self._negative_weights(text, clean_text, index, videos)[rows]  # (A*, V*)
        here, asked = share.asked_here((weights / draws.patience).argmax(1))
        exists = (weights > 0).any(1)  # (A*,)
        rows, valid = rows[here], exists[here]
        written_here = 0 if batch.negatives is None else len(batch.negatives.words)
        if batch.negatives is not None:
            written = torch.arange(written_here, device=rows.device)
            rows = torch.cat([rows, len(text) + written])
            asked = torch.cat([asked, batch.negatives.video_index])
            valid = torch.cat([valid, torch.ones_like(written, dtype=torch.bool)])
        return MismatchedQueries(rows, asked, valid, exists.sum() + share.whole_negatives(written_here))

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


def _all_words(batch: Batch, *, with_negatives: bool) -> tuple[Tensor, Tensor]:
    """Return the words (N + A, L, D_w) of the queries of a batch and of its mismatched ones, with mask (N + A, L)."""
    words, mask, negatives = batch.words, batch.word_mask, batch.negatives
    if negatives is None or not with_negatives:
        return words, mask
    longest = max(words.shape[1], negatives.words.shape[1])
    all_words = [pad(each, (0, 0, 0, longest - each.shape[1])) for each in (words, negatives.words)]
    masks = [pad(each, (0, longest - each.shape[1])) for each in (mask, negatives.mask)]
    return torch.cat(all_words), torch.cat(masks)


def _gathered(
    own: EncodedQueries, text: Tensor, clean_text: Tensor, share: Share
) -> tuple[EncodedQueries, Tensor, Tensor]:
    """Return the N* queries of all ranks, their texts (N*, C), and those without dropout, (N*, C) without gradients."""
    kept = {name: values for name, values in own._asdict().items() if values is not None}
    (of_all, of_clean, *rest), _ = share.gather([text, clean_text, *kept.values()])
    return EncodedQueries(**dict(zip(kept, rest, strict=True))), of_all, of_clean.detach()


def _with_written(everyone: EncodedQueries, encoded: EncodedQueries, count: int, share: Share) -> EncodedQueries:
    """Return the N* queries of all ranks, and after them the encoded ones after the first `count`.

    Where the batch is whole these are the encoded ones.
    """
    if share is WHOLE:
        return encoded
    if len(encoded.words) == count:
        return everyone
    written = encoded.part(slice(count, None))._asdict()
    joined = {
        name: torch.cat([of_all, written[name]]) for name, of_all in everyone._asdict().items() if of_all is not None
    }
    return EncodedQueries(**joined)


def _sources_of(batch: Batch, sources: Sources, of_queries: Tensor) -> Tensor:
    """Return the training video that each query was written for: those of the N* queries, then of the written ones."""
    if batch.negatives is None:
        return of_queries
    return torch.cat([of_queries, sources.videos[batch.negatives.video_index, 0]])


def _direction(sentence: Tensor) -> Tensor:
    """Return sentences (N, D) at length 1."""
    return unit_length(sentence.float())
