"""Cross-modal contrast (the paper's module 3; docs/method.md, section 3), L_CL.

Sentences and clips are projected into one space. In it, with the positives and negatives of the whole batch, InfoNCE
  - between modalities, at video level: v_ip = attention pooling of F_i by s_p, S_pi = cos(v_ip, s_p); every query of a
    video is its positive;
  - between modalities, at moment level (MMN, AAAI 2022): the pooled clips of the true moment against the sentences of
    other moments, and its sentence against other spans of its own video;
  - between modalities, at clip level: a clip of the true moment against the clips outside it and those of other videos;
    where clips have regions, each sentence attends to the regions of every video;
  - within each modality: between two views, each of a random half of the words of a sentence, or clips of a moment.
A pair that is not a known positive may still match: `false_negatives` tells which. The cosine of each clip with the
sentence is also evidence for the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.data.draws import Draws
from mttsg_core.data.share import WHOLE, Share
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.layers import (
    contrastive_loss,
    masked_softmax,
    own_video_mask,
    symmetric_contrastive_loss,
    unit_length,
)
from mttsg_core.modeling.proposals import clip_occupancy, shared_occupancy, span_iou

_SHORTEST = 1e-12  # length that a vector is divided by, at least


class QueryConditionedClips(NamedTuple):
    """Clips in the common space as queries see them: with the regions that they attend to.

    Attributes:
        vectors: (..., T, C).
        mask: (..., T).
    """

    vectors: Tensor
    mask: Tensor


class ContrastDraws(NamedTuple):
    """What is random in the losses of the contrast, drawn before, so that the losses draw nothing.

    Attributes:
        random_spans: (N, S, 2) random spans of each query's video, in clip units.
        word_views: (N, L) True for the words of the first of two views.
        clip_views: (N, T) True for the clips of the first of two views.
    """

    random_spans: Tensor
    word_views: Tensor
    clip_views: Tensor

    @classmethod
    def of(cls, draws: Draws, mask: Tensor, word_mask: Tensor, share: Share = WHOLE) -> ContrastDraws:
        """Return those of N queries, by the masks (N, T) of their videos and (N, L) of their words."""
        word_views = share.own_queries(draws.word_views)[:, : word_mask.shape[1]] < 0.5
        spans = share.own_queries(draws.spans).sort(dim=-1).values * mask.sum(1)[:, None, None]  # (N, S, 2)
        return cls(spans, word_views, share.own_queries(draws.clip_views) < 0.5)


class ContrastOutput(NamedTuple):
    """What the losses of the contrast are computed from.

    Where a batch is shared by several ranks, N and V are the queries and videos of this one.

    Attributes:
        own_clips: (N, T, C) clips of each query's video, conditioned on the query.
        all_clips: (N*, V, T', C) some clips of all videos, conditioned on each query of all ranks, with mask (V, T');
            (1, V, T, C) all clips, where no regions condition them.
        bare_clips: (1, V, T, C) all clips without regions, with mask (V, T); None where `all_clips` are those.
        text: (N*, C) sentences of all ranks in the common space, of length 1.
        words: (N, L, C) words in the common space, with word_mask (N, L).
        draws: see `ContrastDraws`.
        temperature: of every logit.
    """

    own_clips: QueryConditionedClips
    all_clips: QueryConditionedClips
    bare_clips: QueryConditionedClips | None
    text: Tensor
    words: Tensor
    word_mask: Tensor
    draws: ContrastDraws
    temperature: float


class MomentClips(NamedTuple):
    """Clips of the video of each of N queries. Attributes: inside its moment, outside all of its moments, (N, T)."""

    inside: Tensor
    outside: Tensor


class QueryScores(NamedTuple):
    """What the losses of the contrast compare of N queries.

    Attributes:
        moment: (N, C) direction of the clips of the true moment, of length 1.
        words, other_words: (N, C) of the two views of the sentence.
        clips, other_clips: (N, C) of the two views of the moment.
        inside: (N,) whether there is a clip inside the moment.
        outside: (N,) whether there is one outside all moments of the sentence.
    """

    moment: Tensor
    words: Tensor
    other_words: Tensor
    clips: Tensor
    other_clips: Tensor
    inside: Tensor
    outside: Tensor

    @property
    def views(self) -> tuple[Tensor, ...]:
        """Both views of the sentence, and both of the moment."""
        return self.words, self.other_words, self.clips, self.other_clips


class VideoScores(NamedTuple):
    """How well the clips of V videos match N* sentences. Logits of clips (V, N*, T') with mask (V, T'), of videos."""

    clips: Tensor
    videos: Tensor
    mask: Tensor


class ContrastScores(NamedTuple):
    """What the losses of the contrast compare: of own queries, and of all queries and videos of the batch.

    Attributes:
        own: clips of the own queries' videos.
        queries: of all queries.
        videos: of all videos by their clips; where regions condition these, by bare clips too, as an index stores them.
    """

    own: MomentClips
    queries: QueryScores
    videos: tuple[VideoScores, ...]


class ContrastLosses(NamedTuple):
    """The terms of L_CL, scalars."""

    moment: Tensor
    clip: Tensor
    video: Tensor
    intra: Tensor


class CrossModalContrast(nn.Module):
    """The common space of clips and sentences."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.temperature = config.contrast_temperature
        self.clip_side = nn.Linear(config.width, config.contrast_width)
        self.text_side = nn.Linear(config.width, config.contrast_width)
        attended = config.region_heads * config.region_width
        self.region_side = nn.Linear(attended, config.contrast_width, bias=False) if config.regions else None
        self.out = nn.Linear(2, config.head_width, bias=False)
        nn.init.zeros_(self.out.weight)  # the network starts as one without a contrast

    def forward(self, clips: Tensor) -> Tensor:
        """Project clips F (V, T, D) into the common space, (V, T, C), once a video."""
        projected: Tensor = self.clip_side(clips)
        return projected

    def condition_on_query(self, clips: Tensor, attended: Tensor | None, mask: Tensor) -> QueryConditionedClips:
        """Add to clips (..., T, C) with mask (..., T) the regions (..., T, H * D_o) that queries attend to, if any."""
        if self.region_side is None or attended is None:
            return QueryConditionedClips(clips, mask)
        return QueryConditionedClips(self.region_side(attended).add_(clips), mask)

    def match(self, own: QueryConditionedClips, sentence: Tensor) -> Tensor:
        """Compare own clips (N, T, C) with sentences s (N, D): cosines (N, T)."""
        text = unit_length(self.text_side(sentence))  # (N, C)
        product = (text[:, None] @ own.vectors.transpose(1, 2)).squeeze(1)  # (N, T)
        return product / own.vectors.norm(dim=-1).clamp_min(_SHORTEST)

    def match_features(self, match: Tensor, mask: Tensor) -> Tensor:
        """Describe how well each clip matches: cosines (N, T) with mask (N, T) to (N, T, D_h)."""
        share = masked_softmax(match / self.temperature, mask) * mask.sum(1, keepdim=True)  # (N, T)
        features: Tensor = self.out(torch.stack([match, share.clamp_min(0).log1p()], dim=-1))
        return features

    def project_sentence(self, sentence: Tensor) -> Tensor:
        """Project sentences s (N, D) into the common space, with length 1: (N, C)."""
        return unit_length(self.text_side(sentence).float())

    def training_output(
        self,
        own: QueryConditionedClips,
        all_clips: QueryConditionedClips,
        bare_clips: QueryConditionedClips | None,
        queries: EncodedQueries,
        text: Tensor,
        draws: ContrastDraws,
    ) -> ContrastOutput:
        """Project what the losses compare with the projected sentences (N*, C)."""
        words = self.text_side(queries.words).float()
        return ContrastOutput(own, all_clips, bare_clips, text, words, queries.mask, draws, self.temperature)


def contrast_scores(output: ContrastOutput, targets: Targets) -> ContrastScores:
    """Compute what the losses of the contrast compare, of N queries and V videos with true moments (N, 2)."""
    own_clips, mask = output.own_clips.vectors.float(), output.own_clips.mask  # (N, T, C), (N, T)
    foreground = clip_occupancy(targets.spans, mask.shape[1]) * mask  # (N, T)
    any_moment = shared_occupancy(targets.spans, targets.sentence_ids, mask.shape[1])  # (N, T)
    own = MomentClips(foreground > 0.5, (any_moment == 0) & mask)
    views = _view_directions(output, foreground, own_clips)  # (N, C) each
    of_queries = QueryScores(pooled_direction(foreground, own_clips), *views, own.inside.any(1), own.outside.any(1))
    kinds = [clips for clips in (output.all_clips, output.bare_clips) if clips is not None]
    of_videos = tuple(video_scores(clips, output.text, output.temperature) for clips in kinds)
    return ContrastScores(own, of_queries, of_videos)


def contrast_losses(
    output: ContrastOutput,
    compared: ContrastScores,
    video_index: Tensor,
    targets: Targets,
    false_pairs: Tensor,
    false_videos: Tensor,
    config: LossConfig,
    share: Share = WHOLE,
) -> ContrastLosses:
    """Compute the share in the terms of L_CL of a batch.

    Args:
        output: of N queries.
        compared: see `contrast_scores`, of these, and of the N* queries and V* videos of the batch.
        video_index: (N*,).
        targets: true moments (N*, 2); those of one sentence are all positives of it.
        false_pairs: (N*, N*) True for pairs of other videos that are not negatives of a sentence.
        false_videos: (N*, V*) True for other videos that are not.
        config: which moments of one video are the same and which are different.
        share: which queries of the batch `output` is of; N* = N where it is whole.
    """
    own, of_queries, of_videos = compared
    spans, sentence_ids, temperature = targets.spans, targets.sentence_ids, output.temperature
    same_video, same_sentence = video_index[:, None] == video_index, sentence_ids[:, None] == sentence_ids  # (N*, N*)
    overlap = span_iou(spans[:, None], spans[None])  # (N*, N*)
    positives = same_sentence | (same_video & (overlap >= config.same_moment_iou))
    negatives = ~(same_sentence | (same_video & (overlap >= config.other_moment_iou)) | false_pairs)
    scores = output.text @ of_queries.moment.T  # (N*, N*)
    moment = symmetric_contrastive_loss(scores / temperature, positives, negatives)
    text, true_scores = share.own_queries(output.text), share.own_queries(scores.diagonal())  # (N, C), (N,)
    own_sentence = share.own_queries(same_sentence)  # (N, N*)
    others = intra_video_losses(output, text, true_scores, spans, own_sentence, config.other_moment_iou)

    own_videos = own_video_mask(video_index, len(of_videos[0].mask))  # (N*, V*)
    other_videos = ~(own_videos | false_videos)  # (N*, V*)
    own_clips = unit_length(output.own_clips.vectors.float())  # (N, T, C)
    own_logits = [torch.einsum("nc,ntc->nt", text, own_clips) / temperature]  # (N, T) of each kind of clips
    queries = torch.arange(len(video_index), device=video_index.device)
    own_logits += [share.own_queries(bare.clips[video_index, queries]) for bare in of_videos[1:]]
    clip = text.new_zeros(())
    for logits, scored in zip(own_logits, of_videos, strict=True):
        other_clips = scored.mask & other_videos[..., None]  # (N*, V*, T')
        usable = of_queries.inside & (of_queries.outside | other_clips.flatten(1).any(1))  # (N*,)
        others_logits = share.own_queries(scored.clips.transpose(0, 1))  # (N, V*, T')
        each = clip_level_losses(logits, own, others_logits, share.own_queries(other_clips), config.clip_negatives)
        clip = clip + share.total(each * share.own_queries(usable)) / usable.sum().clamp_min(1)
    by_video = torch.stack([scored.videos.T for scored in of_videos])  # (X, N*, V*)
    return ContrastLosses(
        moment=share.alike(moment) + share.mean(others),
        clip=clip,
        video=share.alike(symmetric_contrastive_loss(by_video, own_videos, other_videos)),
        intra=share.alike(intra_modal_loss(of_queries.views, negatives, temperature)),
    )


def intra_video_losses(
    output: ContrastOutput, text: Tensor, true_scores: Tensor, spans: Tensor, same_sentence: Tensor, other_iou: float
) -> Tensor:
    """Contrast a sentence's moment with random spans of its video that are none of its moments: (N,).

    Args:
        output: of N queries.
        text: (N, C) their sentences.
        true_scores: (N,) of their moments.
        spans: (N*, 2) moments of the batch.
        same_sentence: (N, N*) True for the moments of a sentence.
        other_iou: overlap from which a span is not another one.
    """
    own_clips, mask = output.own_clips.vectors.float(), output.own_clips.mask
    random_spans = output.draws.random_spans
    weights = clip_occupancy(random_spans, own_clips.shape[1]) * mask[:, None]  # (N, S, T)
    scores = torch.einsum("nsc,nc->ns", unit_length(weights @ own_clips), text)  # (N, S)
    overlap = span_iou(random_spans[:, None], spans[None, :, None]) * same_sentence[..., None]  # (N, N*, S)
    other = overlap.amax(1) < other_iou  # (N, S)
    rest = torch.where(other, scores / output.temperature, torch.finfo(scores.dtype).min / 4).logsumexp(1)
    return softplus(rest - true_scores / output.temperature)


def clip_level_losses(logits: Tensor, own: MomentClips, others: Tensor, other_mask: Tensor, negatives: int) -> Tensor:
    """Contrast the clips of a sentence's moment with the mean of all other clips, counted as `negatives` clips: (N,).

    The clips of the moment count by the logarithm of their mean exponential, as not all of them need to show it.

    Args:
        logits: (N, T) of the clips of the own video.
        own: which of them are inside the moment, and outside.
        others: (N, V, T') logits of clips of all videos.
        other_mask: (N, V, T') True for those that are negatives.
        negatives: weight of the mean of all other clips.
    """
    mask = torch.cat([own.outside, other_mask.flatten(1)], dim=1)
    rest = _log_mean_exp(torch.cat([logits, others.flatten(1)], dim=1), mask)  # (N,)
    return softplus(rest + math.log(negatives) - _log_mean_exp(logits, own.inside))


def video_scores(clips: QueryConditionedClips, text: Tensor, temperature: float) -> VideoScores:
    """Compare sentences (N*, C) with some clips (N* or 1, V, T', C) with mask (V, T') of every video.

    The logit of a video is S_pi = cos(v_ip, s_p) over the temperature.
    """
    vectors = clips.vectors.float()
    logits = torch.einsum("nc,nvtc->nvt", text, unit_length(vectors)) / temperature  # (N*, V, T')
    pooled = torch.einsum("nvt,nvtc->nvc", masked_softmax(logits, clips.mask), vectors)  # (N*, V, C)
    of_videos = torch.einsum("nvc,nc->nv", unit_length(pooled), text) / temperature  # (N*, V)
    return VideoScores(logits.transpose(0, 1), of_videos.T, clips.mask)


def _view_directions(
    output: ContrastOutput, foreground: Tensor, own_clips: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pool both views of each sentence, and of each moment with clips (N, T, C) and weights (N, T): (N, C) each."""
    words, clips, weights = output.draws.word_views, output.draws.clip_views, output.word_mask.to(output.words.dtype)
    return (
        pooled_direction(weights * words, output.words),
        pooled_direction(weights * ~words, output.words),
        pooled_direction(foreground * clips, own_clips),
        pooled_direction(foreground * ~clips, own_clips),
    )


def intra_modal_loss(views: Sequence[Tensor], negatives: Tensor, temperature: float) -> Tensor:
    """Contrast two views of each sentence, and two of each moment, (N*, C) each, given negatives (N*, N*)."""
    itself = torch.eye(len(negatives), dtype=torch.bool, device=negatives.device)
    loss = views[0].new_zeros(())
    for first, second in zip(views[::2], views[1::2], strict=True):
        usable = (first.detach().abs().sum(1) > 0) & (second.detach().abs().sum(1) > 0)
        logits = first @ second.T / temperature  # (N*, N*)
        loss = loss + contrastive_loss(logits, itself & usable[:, None], (negatives | negatives.T) & usable)
    return 0.5 * loss


def pooled_direction(weights: Tensor, tokens: Tensor) -> Tensor:
    """Return the sum of tokens (N, T, C) with weights (N, T) at length 1, (N, C); zero without any weight."""
    return unit_length(torch.einsum("nt,ntc->nc", weights, tokens))


def _log_mean_exp(values: Tensor, mask: Tensor) -> Tensor:
    """Return the logarithm of the mean exponential over the entries (N, M) where `mask` is True: (N,)."""
    values = torch.where(mask, values, torch.finfo(values.dtype).min / 4)
    return values.logsumexp(1) - mask.sum(1).clamp_min(1).log()
