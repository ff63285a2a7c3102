"""Where a moment is, from the space that a pretrained joint model shares between clips and sentences.

Where clips and sentences come from one joint model (CLIP, SigLIP, or captions and sentences of one sentence encoder),
the product of a clip x_t and the sentence e, less the mean m of sentences, answers without any training. Clips that
look like the best ones count too, as in relevance feedback; there a clip counts by its deviation d_t from the video:

    r_t = x_t . (e - m), from 0 to 1 over the video     f_t = cos(d_t, sum_t softmax(k r_t) d_t), likewise
    relevance_t = (1 - w) r_t + w f_t

This curve is smoothed over a few clips, scaled from 0 to 1, and cut around its peak at four levels. Each cut votes for
a span; a curve that is flat but for noise votes for the whole video. The vote of largest mean utility is the answer
without training. In the network each proposal starts with a logit in proportion to its mean overlap with the votes, to
which scores from the curves alone are added (see `curve_scores`); these two have a loss of their own, and the head adds
to them. The curves are one more evidence for the head, too. Training starts from the answer without training, or close
to it.

The constants below were chosen on the captions of QVHighlights (docs/results.md).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mttsg_core.config import NetworkConfig
from mttsg_core.modeling.curve_scores import CurveScores
from mttsg_core.modeling.curves import SMALLEST_RANGE, smooth, step_noise, unit_range, value_range
from mttsg_core.modeling.layers import QueryGroups, masked_mean, masked_softmax
from mttsg_core.modeling.proposals import proposal_edges, span_iou

_WIDTHS, _CLEAN_WIDTHS = (3, 5, 7), (1, 1, 3)  # clips that a noisy and a clean curve are smoothed over, odd numbers
_CLEAN = 0.05  # of the range of a curve: it is clean if its noise is below
_LEVELS = (0.4, 0.5, 0.6, 0.7)  # of the range of a curve, at which it is cut
_FEEDBACK_SHARPNESS, _FEEDBACK_WEIGHT = 10.0, 0.5  # k and w
_FLAT = 8.0  # standard errors of the noise: a curve of a smaller range is flat
_EVIDENCE_LEVEL, _EVIDENCE_SLOPE = 0.6, 8.0
_CHANNELS = 1 + 2 * (2 + 2 * len(_WIDTHS))


class Relevance(NamedTuple):
    """How relevant the T clips of a video are to each of N sentences.

    Attributes:
        match: (N, T) product of clip and sentence.
        feedback: (N, T) cosine of the clip's and the best clips' deviation from the video.
        weight: (N, T) of each clip among the best ones; a row sums to 1.
        curve: (N, T) both cosines together, 0..1 over each video.
    """

    match: Tensor
    feedback: Tensor
    weight: Tensor
    curve: Tensor


class SharedSpace(nn.Module):
    """Evidence and prior for the head, from the space of a pretrained joint model.

    Args:
        config: of the network.
        has_prior: whether the head scores proposals, which can start from the answer without training.
    """

    centre: Tensor

    def __init__(self, config: NetworkConfig, *, has_prior: bool = True) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(config.clip_dim))
        self.out = nn.Linear(_CHANNELS, config.head_width, bias=False)
        self.trust = nn.Parameter(torch.tensor(config.prior_trust)) if has_prior else None
        self.scores = None
        if has_prior and config.curve_width:
            self.scores = CurveScores(config.curve_width, config.dropout, further=1)
        nn.init.zeros_(self.out.weight)  # the network starts with the answer without training

    def fit(self, centre: Tensor) -> None:
        """Set the mean (D,) of the embeddings of sentences, each of length 1."""
        self.centre.copy_(centre)

    def forward(
        self, clips: Tensor, mask: Tensor, durations: Tensor, sentence: Tensor, groups: QueryGroups
    ) -> tuple[Tensor, Tensor | None]:
        """Describe each sentence's own video.

        Args:
            clips: (V, T, D) of length 1.
            mask: (V, T).
            durations: (V,) seconds.
            sentence: (N, D) of length 1.
            groups: the sentences by video.

        Returns:
            Evidence (N, T, D_h) of each clip for the head, and logits (N, P) that the proposals start from, or None.
        """
        relevance = relevance_of(clips, mask, sentence - self.centre, groups)
        mask = groups.of_video(mask)  # (N, T)
        channels = [(relevance.weight * mask.sum(1, keepdim=True)).log1p()]
        for curve in (relevance.match, relevance.feedback):
            mean = (curve * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
            channels += [4 * curve, 4 * (curve - mean) * mask]
            for width in _WIDTHS:
                relative = unit_range(smooth(curve, mask, width), mask)
                channels += [relative, (_EVIDENCE_SLOPE * (relative - _EVIDENCE_LEVEL)).sigmoid()]
        evidence: Tensor = self.out(torch.stack(channels, dim=-1))
        if self.trust is None:
            return evidence, None
        first, last = proposal_edges(mask.shape[1], mask.device)
        proposals = torch.stack([first, last], dim=-1).to(evidence.dtype)  # (P, 2)
        overlap = span_iou(vote(relevance.curve, mask)[:, :, None], proposals)  # (N, S, P)
        agreement = overlap.mean(1)  # (N, P)
        prior = self.trust * agreement
        if self.scores is None:
            return evidence, prior
        return evidence, prior + self.scores(
            relevance.match, relevance.curve, mask, durations[groups.video_index], agreement
        )


def relevance_of(clips: Tensor, mask: Tensor, sentence: Tensor, groups: QueryGroups) -> Relevance:
    """Compare clips (V, T, D) with mask (V, T) with the sentences (N, D) of each video, and with their best clips."""
    match = groups.product(sentence, clips.transpose(1, 2))  # (N, T)
    own_mask = groups.of_video(mask)
    relative = unit_range(match, own_mask)
    weight = masked_softmax(_FEEDBACK_SHARPNESS * relative, own_mask)
    valid = mask[..., None]
    deviation = normalize(clips - masked_mean(clips, valid, dim=1)[:, None], dim=-1) * valid  # (V, T, D)
    best = normalize(groups.product(weight, deviation), dim=-1)  # (N, D)
    feedback = groups.product(best, deviation.transpose(1, 2))  # (N, T)
    curve = (1 - _FEEDBACK_WEIGHT) * relative + _FEEDBACK_WEIGHT * unit_range(feedback, own_mask)
    return Relevance(match, feedback, weight, curve)


def vote(curve: Tensor, mask: Tensor) -> Tensor:
    """Cut curves (N, T) with mask (N, T) around their peaks, or not at all where they are flat.

    Returns:
        (N, S, 2) the spans that the S cuts vote for, in clip units.
    """
    clip = torch.arange(curve.shape[1], device=curve.device)
    noise = step_noise(curve, mask)  # (N,)
    end = (mask * (clip + 1)).amax(1)  # (N,)
    clean = noise <= _CLEAN * value_range(curve, mask)  # (N,)
    spans = []
    for width, clean_width in zip(_WIDTHS, _CLEAN_WIDTHS, strict=True):
        smoothed = torch.where(clean[:, None], smooth(curve, mask, clean_width), smooth(curve, mask, width))
        flat = value_range(smoothed, mask) <= (_FLAT * noise / width**0.5).clamp_min(SMALLEST_RANGE)  # (N,)
        relative = unit_range(smoothed, mask).masked_fill(~mask, -1)
        peak = relative.argmax(1, keepdim=True)  # (N, 1)
        for level in _LEVELS:
            below = relative <= level
            first = torch.where(below & (clip < peak), clip, -1).amax(1) + 1
            last = torch.where(below & (clip > peak), clip, end[:, None]).amin(1)
            spans.append(torch.stack([first.masked_fill(flat, 0), torch.where(flat, end, last)], dim=-1))
    return torch.stack(spans, dim=1).to(curve.dtype)


def best_vote(votes: Tensor) -> Tensor:
    """Return the vote of each sentence that has the largest mean utility for all of them: (N, S, 2) to (N, 2)."""
    overlap = span_iou(votes[:, :, None], votes[:, None])  # (N, S, S)
    utility = overlap / 2 + (overlap >= 0.5) / 4 + (overlap >= 0.7) / 4
    best = utility.sum(2).argmax(1)
    return votes[torch.arange(len(votes), device=votes.device), best]
