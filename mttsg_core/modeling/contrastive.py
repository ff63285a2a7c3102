"""Cross-modal contrast (the paper's module 3; method, section 3), L_CL.

Sentences and clips are projected into one space. There, with positives and negatives of the whole batch, InfoNCE
  - between modalities, of videos: v_ip = attention pooling of F_i by s_p, S_pi = cos(v_ip, s_p); every query of a
    video is its positive;
  - between modalities, of moments (MMN, AAAI 2022): the pooled clips of the true moment against the sentences of
    other moments, and its sentence against other stretches of its own video;
  - between modalities, of clips: a clip of the true moment against those of its own video outside and those of others;
    where clips have regions, each sentence sees those of every video by what it looks at in them;
  - within each modality: between two views, each of a random half of the words of a sentence, or clips of a moment.
A pair that is no known positive may still match: `negatives` says which. The cosine of each clip with the
sentence is also given to the head.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.layers import (
    contrastive_loss,
    masked_mean,
    masked_softmax,
    own_video_mask,
    symmetric_contrastive_loss,
)
from mttsg_core.modeling.proposals import clip_occupancy, shared_occupancy, span_iou

_TEMPERATURE = 0.1
_SAME, _OTHER = 0.7, 0.5  # moments of one video that overlap so much are one; those that overlap less are two
_CLIPS = 16  # others that a clip of the moment is told from
_STRETCHES = 8  # random stretches of its own video that a sentence is told from


class QueryConditionedClips(NamedTuple):
    """Clips in the common space, as queries see them: with what they look at in the regions.

    Attributes:
        vectors: (..., T, C).
        mask: (..., T).
    """

    vectors: Tensor
    mask: Tensor


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
        self.clip_side = nn.Linear(config.width, config.contrast_width)
        self.text_side = nn.Linear(config.width, config.contrast_width)
        looked = config.region_heads * config.region_width
        self.seen_side = nn.Linear(looked, config.contrast_width, bias=False) if config.regions else None
        self.out = nn.Linear(2, config.head_width, bias=False)
        nn.init.zeros_(self.out.weight)  # the network starts as one without

    def forward(self, clips: Tensor) -> Tensor:
        """Clips F (V, T, D) in the common space, (V, T, C), once a video."""
        projected: Tensor = self.clip_side(clips)
        return projected

    def as_seen(self, clips: Tensor, seen: Tensor | None, mask: Tensor) -> QueryConditionedClips:
        """Clips (..., T, C) with what queries look at in their regions (..., T, H * D_o), if any; mask (..., T)."""
        return QueryConditionedClips(
            clips if self.seen_side is None or seen is None else clips + self.seen_side(seen), mask
        )

    def evidence(self, own: QueryConditionedClips, sentence: Tensor) -> Tensor:
        """How well each clip matches: N queries' own clips (N, T, C) and sentences s (N, D) to (N, T, D_h)."""
        text = normalize(self.text_side(sentence), dim=-1)  # (N, C)
        match = torch.einsum("ntc,nc->nt", normalize(own.vectors, dim=-1), text)  # (N, T)
        share = masked_softmax(match / _TEMPERATURE, own.mask) * own.mask.sum(1, keepdim=True)  # (N, T)
        evidence: Tensor = self.out(torch.stack([match, share.clamp_min(0).log1p()], dim=-1))
        return evidence

    def directions(self, sentence: Tensor) -> Tensor:
        """Sentences s (N, D) in the common space, of length 1: (N, C)."""
        return normalize(self.text_side(sentence).float(), dim=-1)

    def scores(self, own: QueryConditionedClips, views: Tensor, sentences: Tensor, bounds: Tensor) -> Tensor:
        """How well each sentence fits each pair, (N, N): the mean of its cosines with the moment and the sentence.

        Args:
            own: (N, T, C) the clips of each query's video as it sees them.
            views: (N, C) directions of the sentences.
            sentences: (N, C) the same, encoded without dropout.
            bounds: (N, 2).
        """
        inside = clip_occupancy(bounds, own.mask.shape[1]) * own.mask  # (N, T)
        pairs = _pooled(inside, own.vectors.float()) + sentences  # (N, C)
        return 0.5 * views @ pairs.T

    def terms(
        self,
        everywhere: QueryConditionedClips,
        own: QueryConditionedClips,
        words: Tensor,
        word_mask: Tensor,
        sentence: Tensor,
        video_index: Tensor,
        bounds: Tensor,
        sentences: Tensor,
        false_pairs: Tensor,
        false_videos: Tensor,
    ) -> ContrastLosses:
        """The losses of a batch.

        Args:
            everywhere: (N, V, T', C) some clips of all the videos as each query sees them, with mask (V, T');
                (1, V, T', C) if all see the same.
            own: (N, T, C) the clips of each query's video as it sees them.
            words: (N, L, D), with word_mask (N, L).
            sentence: s (N, D).
            video_index: (N,).
            bounds: (N, 2) true moments in clip units.
            sentences: (N,) equal where moments have one sentence: each is a positive of it.
            false_pairs: (N, N) pairs of other videos that are no negatives of a sentence.
            false_videos: (N, V) other videos that are none.
        """
        text = self.directions(sentence)
        clips, there = everywhere.vectors.float(), everywhere.mask  # (N or 1, V, T', C), (V, T')
        own_clips, own_mask = own.vectors.float(), own.mask  # (N, T, C), (N, T)
        inside = clip_occupancy(bounds, own_mask.shape[1]) * own_mask  # (N, T)
        scores = text @ _pooled(inside, own_clips).T  # (N, N)
        anywhere = shared_occupancy(bounds, sentences, own_mask.shape[1])  # (N, T)
        same_video, same = video_index[:, None] == video_index, sentences[:, None] == sentences
        overlap = span_iou(bounds[:, None], bounds[None])  # (N, N)
        positives = same | (same_video & (overlap >= _SAME))
        negatives = ~same & ~(same_video & (overlap >= _OTHER))
        kept = negatives & ~false_pairs
        moment = symmetric_contrastive_loss(scores / _TEMPERATURE, positives, kept)
        moment = moment + self._stretches(text, scores.diagonal(), own_clips, own_mask, bounds, same)
        own_match = torch.einsum("nc,ntc->nt", text, normalize(own_clips, dim=-1)) / _TEMPERATURE  # (N, T)
        match = torch.einsum("nc,nvtc->nvt", text, normalize(clips, dim=-1)) / _TEMPERATURE  # (N, V, T')
        own_videos = own_video_mask(video_index, len(there))
        elsewhere = there & ~(own_videos | false_videos)[..., None]  # (N, V, T')
        return ContrastLosses(
            moment,
            self._clips(own_match, own_mask, inside, anywhere, match, elsewhere),
            self._videos(match, there, clips, text, own_videos, false_videos),
            self._views(words, word_mask, own_clips, inside, kept),
        )

    def _stretches(self, text: Tensor, true: Tensor, own: Tensor, mask: Tensor, bounds: Tensor, same: Tensor) -> Tensor:
        """A sentence with its moment against random stretches of the same video that are none of its moments."""
        clips = mask.sum(1)[:, None, None]
        drawn = torch.rand(len(text), _STRETCHES, 2, device=text.device).sort(dim=-1).values * clips  # (N, S, 2)
        weights = clip_occupancy(drawn, own.shape[1]) * mask[:, None]  # (N, S, T)
        scores = torch.einsum("nsc,nc->ns", normalize(weights @ own, dim=-1), text)  # (N, S)
        overlap = span_iou(drawn[:, None], bounds[None, :, None]) * same[..., None]  # (N, N, S)
        other = overlap.amax(1) < _OTHER  # (N, S)
        rest = (scores / _TEMPERATURE).masked_fill(~other, torch.finfo(scores.dtype).min / 4).logsumexp(1)
        return softplus(rest - true / _TEMPERATURE).mean()

    def _clips(
        self, own: Tensor, own_mask: Tensor, inside: Tensor, anywhere: Tensor, others: Tensor, other_mask: Tensor
    ) -> Tensor:
        """A sentence with the clips of its moment against as many of the others as `_CLIPS`, by their mean.

        The moment's clips count by the logarithm of their mean exponential: not all of them need to show it.

        Args:
            own: (N, T) logits of the clips of the own video, with own_mask (N, T).
            inside: (N, T) how much of each lies in the moment.
            anywhere: (N, T) how much of each lies in any moment of the sentence.
            others: (N, V, T) logits of the clips of the videos, with other_mask (N, V, T) for those to be told from.
        """
        within, outside = inside > 0.5, (anywhere == 0) & own_mask  # (N, T)
        mask = torch.cat([outside, other_mask.flatten(1)], dim=1)
        rest = _log_mean_exp(torch.cat([own, others.flatten(1)], dim=1), mask)  # (N,)
        loss = softplus(rest + math.log(_CLIPS) - _log_mean_exp(own, within))
        return masked_mean(loss, within.any(1) & mask.any(1), dim=0)

    def _videos(self, match: Tensor, mask: Tensor, clips: Tensor, text: Tensor, own: Tensor, false: Tensor) -> Tensor:
        """S_pi = cos(v_ip, s_p) against all the videos of the batch."""
        weights = masked_softmax(match, mask)  # (N, V, T)
        pooled = torch.einsum("nvt,nvtc->nvc", weights, clips)  # (N, V, C)
        scores = torch.einsum("nvc,nc->nv", normalize(pooled, dim=-1), text)  # (N, V)
        return symmetric_contrastive_loss(scores / _TEMPERATURE, own, ~own & ~false)

    def _views(self, words: Tensor, word_mask: Tensor, own: Tensor, inside: Tensor, kept: Tensor) -> Tensor:
        """Two halves of each sentence, and of each moment, know each other."""
        spoken = self.text_side(words).float()  # (N, L, C)
        itself = torch.eye(len(spoken), dtype=torch.bool, device=spoken.device)
        loss = spoken.new_zeros(())
        for weights, tokens in ((word_mask.to(spoken.dtype), spoken), (inside, own)):
            half = torch.rand_like(weights) < 0.5
            first, second = _pooled(weights * half, tokens), _pooled(weights * ~half, tokens)  # (N, C) each
            both = (first.detach().abs().sum(1) > 0) & (second.detach().abs().sum(1) > 0)
            logits = first @ second.T / _TEMPERATURE  # (N, N)
            loss = loss + contrastive_loss(logits, itself & both[:, None], (kept | kept.T) & both)
        return 0.5 * loss


def _log_mean_exp(values: Tensor, mask: Tensor) -> Tensor:
    """Over the entries of each row (N, M) where `mask` is True: (N,)."""
    values = values.masked_fill(~mask, torch.finfo(values.dtype).min / 4)
    return values.logsumexp(1) - mask.sum(1).clamp_min(1).log()


def _pooled(weights: Tensor, tokens: Tensor) -> Tensor:
    """Direction (N, C) of the sum of tokens (N, T, C) with weights (N, T); zero without any."""
    return normalize(torch.einsum("nt,ntc->nc", weights, tokens), dim=-1)
