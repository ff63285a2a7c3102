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
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mttsg_core.config import LossConfig, NetworkConfig
from mttsg_core.data.batch import Targets
from mttsg_core.modeling.backbone import EncodedQueries
from mttsg_core.modeling.layers import (
    contrastive_loss,
    masked_mean,
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
    """What is random in the losses of the contrast, drawn in the network, so that the losses draw nothing.

    Attributes:
        random_spans: (N, S, 2) random spans of each query's video, in clip units.
        word_views: (N, L) True for the words of the first of two views.
        clip_views: (N, T) True for the clips of the first of two views.
    """

    random_spans: Tensor
    word_views: Tensor
    clip_views: Tensor


class ContrastOutput(NamedTuple):
    """What the losses of the contrast are computed from.

    Attributes:
        own_clips: (N, T, C) clips of each query's video, conditioned on the query.
        all_clips: (N, V, T', C) some clips of all videos, conditioned on each query, with mask (V, T'); (1, V, T, C)
            all clips, where no regions condition them.
        text: (N, C) sentences in the common space, of length 1.
        words: (N, L, C) words in the common space, with word_mask (N, L).
        draws: see `ContrastDraws`.
        temperature: of every logit.
    """

    own_clips: QueryConditionedClips
    all_clips: QueryConditionedClips
    text: Tensor
    words: Tensor
    word_mask: Tensor
    draws: ContrastDraws
    temperature: float


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
        self.random_spans = config.random_spans
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

    def match_features(self, own: QueryConditionedClips, sentence: Tensor) -> Tensor:
        """Describe how well each clip matches: own clips (N, T, C) and sentences s (N, D) to (N, T, D_h)."""
        text = unit_length(self.text_side(sentence))  # (N, C)
        product = (text[:, None] @ own.vectors.transpose(1, 2)).squeeze(1)  # (N, T)
        match = product / own.vectors.norm(dim=-1).clamp_min(_SHORTEST)  # (N, T) cosines
        share = masked_softmax(match / self.temperature, own.mask) * own.mask.sum(1, keepdim=True)  # (N, T)
        features: Tensor = self.out(torch.stack([match, share.clamp_min(0).log1p()], dim=-1))
        return features

    def project_sentence(self, sentence: Tensor) -> Tensor:
        """Project sentences s (N, D) into the common space, with length 1: (N, C)."""
        return unit_length(self.text_side(sentence).float())

    def draw(self, mask: Tensor, word_mask: Tensor) -> ContrastDraws:
        """Draw what is random in the losses, for the masks (N, T) of clips and (N, L) of words of N queries."""
        device, clips = mask.device, mask.sum(1)[:, None, None]
        spans = torch.rand(len(mask), self.random_spans, 2, device=device).sort(dim=-1).values * clips  # (N, S, 2)
        views = (torch.rand(each.shape, device=device) < 0.5 for each in (word_mask, mask))
        return ContrastDraws(spans, *views)

    def training_output(
        self,
        own: QueryConditionedClips,
        all_clips: QueryConditionedClips,
        queries: EncodedQueries,
        text: Tensor,
        draws: ContrastDraws,
    ) -> ContrastOutput:
        """Project what the losses compare with the projected sentences (N, C)."""
        words = self.text_side(queries.words).float()
        return ContrastOutput(own, all_clips, text, words, queries.mask, draws, self.temperature)


def contrast_losses(
    output: ContrastOutput,
    video_index: Tensor,
    targets: Targets,
    false_pairs: Tensor,
    false_videos: Tensor,
    config: LossConfig,
) -> ContrastLosses:
    """Compute the terms of L_CL of a batch.

    Args:
        output: of N queries and V videos.
        video_index: (N,).
        targets: true moments; those of one sentence are all positives of it.
        false_pairs: (N, N) True for pairs of other videos that are not negatives of a sentence.
        false_videos: (N, V) True for other videos that are not.
        config: which moments of one video are the same and which are different.
    """
    spans, sentence_ids = targets.spans, targets.sentence_ids
    own_clips, own_mask = output.own_clips.vectors.float(), output.own_clips.mask  # (N, T, C), (N, T)
    clips, mask = output.all_clips.vectors.float(), output.all_clips.mask  # (N or 1, V, T', C), (V, T')
    foreground = clip_occupancy(spans, own_mask.shape[1]) * own_mask  # (N, T)
    scores = output.text @ pooled_direction(foreground, own_clips).T  # (N, N)
    any_moment = shared_occupancy(spans, sentence_ids, own_mask.shape[1])  # (N, T)
    same_video, same_sentence = video_index[:, None] == video_index, sentence_ids[:, None] == sentence_ids  # (N, N)
    overlap = span_iou(spans[:, None], spans[None])  # (N, N)
    positives = same_sentence | (same_video & (overlap >= config.same_moment_iou))
    negatives = ~same_sentence & ~(same_video & (overlap >= config.other_moment_iou))
    true_negatives = negatives & ~false_pairs
    moment = symmetric_contrastive_loss(scores / output.temperature, positives, true_negatives)
    moment = moment + intra_video_loss(output, scores.diagonal(), spans, same_sentence, config.other_moment_iou)
    own_logits = torch.einsum("nc,ntc->nt", output.text, unit_length(own_clips)) / output.temperature  # (N, T)
    logits = torch.einsum("nc,nvtc->nvt", output.text, unit_length(clips)) / output.temperature  # (N, V, T')
    own_videos = own_video_mask(video_index, len(mask))
    other_videos = mask & ~(own_videos | false_videos)[..., None]  # (N, V, T')
    outside = (any_moment == 0) & own_mask  # (N, T)
    return ContrastLosses(
        moment=moment,
        clip=clip_level_loss(own_logits, foreground > 0.5, outside, logits, other_videos, config.clip_negatives),
        video=video_level_loss(output, logits, own_videos, ~own_videos & ~false_videos),
        intra=intra_modal_loss(output, foreground, true_negatives),
    )


def moment_directions(output: ContrastOutput, spans: Tensor) -> Tensor:
    """Pool the clips inside the true moments (N, 2), in clip units, of each query's video: (N, C) of length 1."""
    own = output.own_clips
    foreground = clip_occupancy(spans, own.mask.shape[1]) * own.mask  # (N, T)
    return pooled_direction(foreground, own.vectors.float())


def intra_video_loss(
    output: ContrastOutput, true_scores: Tensor, spans: Tensor, same_sentence: Tensor, other_iou: float
) -> Tensor:
    """Contrast a sentence's moment, with scores (N,), with random spans of its video that are none of its moments."""
    own_clips, mask = output.own_clips.vectors.float(), output.own_clips.mask
    weights = clip_occupancy(output.draws.random_spans, own_clips.shape[1]) * mask[:, None]  # (N, S, T)
    scores = torch.einsum("nsc,nc->ns", unit_length(weights @ own_clips), output.text)  # (N, S)
    overlap = span_iou(output.draws.random_spans[:, None], spans[None, :, None]) * same_sentence[..., None]  # (N, N, S)
    other = overlap.amax(1) < other_iou  # (N, S)
    rest = torch.where(other, scores / output.temperature, torch.finfo(scores.dtype).min / 4).logsumexp(1)
    return softplus(rest - true_scores / output.temperature).mean()


def clip_level_loss(
    own: Tensor, inside: Tensor, outside: Tensor, others: Tensor, other_mask: Tensor, negatives: int
) -> Tensor:
    """Contrast the clips of a sentence's moment with the mean of all other clips, counted as `negatives` clips.

    The clips of the moment count by the logarithm of their mean exponential, as not all of them need to show it.

    Args:
        own: (N, T) logits of the clips of the own video.
        inside: (N, T) True inside the moment.
        outside: (N, T) True outside all moments of the sentence.
        others: (N, V, T') logits of clips of all videos.
        other_mask: (N, V, T') True for those that are negatives.
        negatives: weight of the mean of all other clips.
    """
    mask = torch.cat([outside, other_mask.flatten(1)], dim=1)
    rest = _log_mean_exp(torch.cat([own, others.flatten(1)], dim=1), mask)  # (N,)
    loss = softplus(rest + math.log(negatives) - _log_mean_exp(own, inside))
    return masked_mean(loss, inside.any(1) & mask.any(1), dim=0)


def video_level_loss(output: ContrastOutput, logits: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Contrast S_pi = cos(v_ip, s_p) over the videos of the batch, from clip logits (N, V, T') and masks (N, V)."""
    weights = masked_softmax(logits, output.all_clips.mask)  # (N, V, T')
    pooled = torch.einsum("nvt,nvtc->nvc", weights, output.all_clips.vectors.float())  # (N, V, C)
    scores = torch.einsum("nvc,nc->nv", unit_length(pooled), output.text)  # (N, V)
    return symmetric_contrastive_loss(scores / output.temperature, positives, negatives)


def intra_modal_loss(output: ContrastOutput, foreground: Tensor, negatives: Tensor) -> Tensor:
    """Contrast two views of each sentence, and two of each moment with clips (N, T), given negatives (N, N)."""
    itself = torch.eye(len(negatives), dtype=torch.bool, device=negatives.device)
    word_weights, own_clips = output.word_mask.to(output.words.dtype), output.own_clips.vectors.float()
    loss = output.words.new_zeros(())
    for weights, view, tokens in (
        (word_weights, output.draws.word_views, output.words),
        (foreground, output.draws.clip_views, own_clips),
    ):
        first, second = pooled_direction(weights * view, tokens), pooled_direction(weights * ~view, tokens)  # (N, C)
        usable = (first.detach().abs().sum(1) > 0) & (second.detach().abs().sum(1) > 0)
        logits = first @ second.T / output.temperature  # (N, N)
        loss = loss + contrastive_loss(logits, itself & usable[:, None], (negatives | negatives.T) & usable)
    return 0.5 * loss


def pooled_direction(weights: Tensor, tokens: Tensor) -> Tensor:
    """Return the sum of tokens (N, T, C) with weights (N, T) at length 1, (N, C); zero without any weight."""
    return unit_length(torch.einsum("nt,ntc->nc", weights, tokens))


def _log_mean_exp(values: Tensor, mask: Tensor) -> Tensor:
    """Return the logarithm of the mean exponential over the entries (N, M) where `mask` is True: (N,)."""
    values = torch.where(mask, values, torch.finfo(values.dtype).min / 4)
    return values.logsumexp(1) - mask.sum(1).clamp_min(1).log()
