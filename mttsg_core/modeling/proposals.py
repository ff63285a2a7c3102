"""Candidate spans over clips, and the choice among them.

Clip t covers [t, t + 1] in clip units. Candidates of up to 8 clips lie everywhere; longer ones grow by a seventh and
step by an eighth of their length, so there are at most 17 candidates a clip, however long the video.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_DENSE, _GROWTH = 8, 1.14
_CONSIDERED = 112  # the best candidates, among which answers are chosen
_COMPARED = 32  # queries whose candidates are compared at a time: memory for more is taken from the system each time
_SHARPEN = 1.4  # trained distributions are a little too flat; found by cross-validation
_LONGER = 0.5  # and too fond of short candidates, of which there are more: power of the length, found in the same way
NMS_IOU = 0.5  # two answers to one query overlap at most so much

Layout = list[tuple[int, int]]


class SelectedProposals(NamedTuple):
    """The best candidates of N queries, the best first.

    Attributes:
        candidate: (N, K) its place among the candidates.
        score: (N, K) the chance that the true moment overlaps it by half, 0..1; 0 where no candidate is left.
    """

    candidate: Tensor
    score: Tensor


def proposal_layout(clips: int) -> Layout:
    """(length, step) of each group of candidates, in clips. A longer video has the groups of a shorter one first."""
    layout: Layout = []
    length = 1
    while length <= clips:
        layout.append((length, max(1, length // _DENSE)))
        length = length + 1 if length < _DENSE else max(length + 1, round(length * _GROWTH))
    return layout


def proposal_edges(clips: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """First clip and one past the last clip of every candidate, (P,) each, in the order of `proposal_layout`."""
    firsts = [torch.arange(0, clips - length + 1, step, device=device) for length, step in proposal_layout(clips)]
    lengths = [
        torch.full_like(first, length) for first, (length, _) in zip(firsts, proposal_layout(clips), strict=True)
    ]
    first = torch.cat(firsts)
    return first, first + torch.cat(lengths)


def proposal_sum(parts: Tensor, mask: Tensor) -> Tensor:
    """For every candidate: what its first clip says, what its last clip says, and the mean of what all its clips say.

    Args:
        parts: (N, T, 3 * D), what each clip says as the first, as the last, and as one inside.
        mask: (N, T).

    Returns:
        (N, P, D).
    """
    there = mask[..., None].to(parts.dtype)
    at_start, at_end, inside = (parts * there).chunk(3, dim=-1)
    total = functional.pad(inside.cumsum(1), (0, 0, 1, 0))  # (N, T + 1, D)
    result: Tensor = _ProposalSum.apply(at_start, at_end, total, proposal_layout(mask.shape[1]))  # type: ignore[no-untyped-call]
    return result


class _ProposalSum(torch.autograd.Function):
    """By slices, forward and backward: gathering the same entries takes several times as long."""

    @staticmethod
    def forward(ctx: Any, at_start: Tensor, at_end: Tensor, total: Tensor, layout: Layout) -> Tensor:
        clips = at_start.shape[1]
        ctx.layout, ctx.shape = layout, at_start.shape
        groups = []
        for length, step in layout:
            ends = at_start[:, 0 : clips - length + 1 : step] + at_end[:, length - 1 : clips : step]
            whole = total[:, length::step] - total[:, 0 : clips - length + 1 : step]
            groups.append(torch.add(ends, whole, alpha=1 / length))
        return torch.cat(groups, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        [gradient] = gradients
        queries, clips, width = ctx.shape
        at_start, at_end = gradient.new_zeros(2, queries, clips, width)
        total = gradient.new_zeros(queries, clips + 1, width)
        done = 0
        for length, step in ctx.layout:
            count = (clips - length) // step + 1
            part = gradient[:, done : done + count]
            done += count
            at_start[:, 0 : clips - length + 1 : step] += part
            at_end[:, length - 1 : clips : step] += part
            share = part / length
            total[:, length::step] += share
            total[:, 0 : clips - length + 1 : step] -= share
        return at_start, at_end, total, None


def select_proposals(logits: Tensor, bounds: Tensor, top: int) -> SelectedProposals:
    """The candidates of largest expected utility under the distribution over all, none overlapping a better one.

    The utility of an answer is 1/2 IoU + 1/4 [IoU >= 0.5] + 1/4 [IoU >= 0.7]: taking its expectation instead of the
    likeliest candidate answers for the whole distribution (minimum Bayes risk).

    Args:
        logits: (N, P), very low for candidates past the end of a video.
        bounds: (N, P, 2), or (1, P, 2), of the candidates as they would be answered, in clip units.
        top: K, answers a query.
    """
    every = bounds.expand(len(logits), -1, -1)
    parts = [_select(*some, top) for some in zip(logits.split(_COMPARED), every.split(_COMPARED), strict=True)]
    return SelectedProposals(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _select(logits: Tensor, bounds: Tensor, top: int) -> SelectedProposals:
    considered = min(_CONSIDERED, logits.shape[1])
    believed = _believed(logits, bounds[..., 1] - bounds[..., 0])  # (N, P)
    best, index = believed.topk(considered, dim=-1)  # (N, C)
    weight = best.softmax(-1)
    places = index[..., None].expand(-1, -1, 2)
    answers = bounds.to(weight.dtype).gather(1, places)  # (N, C, 2)
    overlap = span_iou(answers[:, :, None], answers[:, None])  # (N, C, C)
    half = (overlap >= 0.5).to(weight.dtype)
    utility = (overlap / 2).add_(half, alpha=0.25).add_(overlap >= 0.7, alpha=0.25)  # (N, C, C)
    expected = (utility @ weight[..., None]).squeeze(-1)  # (N, C)
    chance = (half @ weight[..., None]).squeeze(-1)
    free = best > torch.finfo(best.dtype).min / 16
    chosen, scores = [], []
    for _ in range(top):
        place = expected.masked_fill(~free, -1).argmax(-1, keepdim=True)  # (N, 1)
        scores.append((chance * free).gather(1, place))
        chosen.append(index.gather(1, place))
        near = overlap.gather(1, place[..., None].expand(-1, -1, considered)).squeeze(1) > NMS_IOU
        free = free & ~near
    # The first has the largest utility but need not have the largest chance; ranks and scores must not disagree.
    return SelectedProposals(torch.cat(chosen, 1), torch.cat(scores, 1).clamp(0, 1).cummin(dim=1).values)


def _believed(logits: Tensor, lengths: Tensor) -> Tensor:
    """Logits (N, P) of candidates, and their lengths in clips, (N, P) or (P,), to the logits that answers go by."""
    return logits.float() * _SHARPEN + _LONGER * lengths.clamp_min(1).float().log()


def span_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of spans (..., 2) and (..., 2), broadcast."""
    overlap = torch.minimum(first[..., 1], second[..., 1]) - torch.maximum(first[..., 0], second[..., 0])
    overlap = overlap.clamp_min(0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - overlap
    return overlap / union.clamp_min(1e-6)


def clip_occupancy(bounds: Tensor, clips: int) -> Tensor:
    """How much of each clip lies in the spans (..., 2) in clip units: (..., T) between 0 and 1."""
    clip = torch.arange(clips, device=bounds.device)
    covered = torch.minimum(clip + 1, bounds[..., 1:]) - torch.maximum(clip, bounds[..., :1])
    return covered.clamp(0, 1)


def shared_occupancy(bounds: Tensor, sentences: Tensor, clips: int) -> Tensor:
    """How much of each clip lies in any true moment of the same sentence.

    Args:
        bounds: (N, 2) in clip units.
        sentences: (N,) numbers below N, equal for moments of one sentence.
        clips: T.

    Returns:
        (N, T) between 0 and 1.
    """
    own = clip_occupancy(bounds, clips)  # (N, T)
    rows = sentences[:, None].expand_as(own)
    return torch.zeros_like(own).scatter_reduce(0, rows, own, "amax").gather(0, rows)


def coverage_probability(logits: Tensor, clips: int) -> Tensor:
    """The chance that each clip lies in the moment: the share of the distribution (N, P) that covers it, (N, T)."""
    first, last = proposal_edges(clips, logits.device)
    weight = _believed(logits, last - first).softmax(-1)
    change = weight.new_zeros(len(weight), clips + 1).index_add(1, first, weight).index_add(1, last, -weight)
    return change.cumsum(-1)[:, :clips].clamp(0, 1)
