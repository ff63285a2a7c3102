"""Proposals: candidate spans over clips, and the selection of answers among them.

Clip t covers [t, t + 1] in clip units. Proposals of up to 8 clips start at every clip; longer ones grow by a seventh
and step by an eighth of their length, so there are fewer than 18 proposals a clip, however long the video.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mttsg_core.config import NetworkConfig
from mttsg_core.utils.devices import at_once, upload

_DENSE, _GROWTH = 8, 1.14
GEOMETRY = 6  # numbers that describe length and position of a proposal
_COMPARED_AT_ONCE = 16  # queries whose proposals are compared at a time: more do not fit in the processor's cache
NMS_IOU: float = NetworkConfig.nms_iou  # where nothing else is configured

Layout = list[tuple[int, int]]


class SelectedProposals(NamedTuple):
    """The best proposals of N queries, the best first.

    Attributes:
        proposal: (N, K) its number.
        score: (N, K) probability that the true moment overlaps it by half, 0..1; 0 where no proposal is left.
    """

    proposal: Tensor
    score: Tensor


def proposal_layout(clips: int) -> Layout:
    """Return (length, step) of each group of proposals, in clips; a longer video starts with those of a shorter one.

    >>> proposal_layout(3)
    [(1, 1), (2, 1), (3, 1)]
    """
    layout: Layout = []
    length = 1
    while length <= clips:
        layout.append((length, max(1, length // _DENSE)))
        length = length + 1 if length < _DENSE else max(length + 1, round(length * _GROWTH))
    return layout


def proposal_edges(clips: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return the first clip and one past the last clip of every proposal, (P,) each, in the order of the layout.

    They are computed once for each number of clips, and must not be written to.
    """
    return _edges(clips, device or torch.device("cpu"))


@lru_cache(maxsize=64)
def _edges(clips: int, device: torch.device) -> tuple[Tensor, Tensor]:
    layout = proposal_layout(clips)
    with torch.inference_mode(False):  # they are used in training too
        firsts = [torch.arange(0, clips - length + 1, step) for length, step in layout]
        lengths = [torch.full_like(first, length) for first, (length, _) in zip(firsts, layout, strict=True)]
        first = torch.cat(firsts)
        return upload(first, device), upload(first + torch.cat(lengths), device)


def proposal_geometry(first: Tensor, last: Tensor, clips: Tensor, durations: Tensor) -> Tensor:
    """Describe length and position of proposals (P,) in videos of (N,) clips and seconds: (N, P, 6)."""
    count = clips[:, None].to(durations.dtype)
    length = (last - first).to(durations.dtype)[None]
    seconds = length * (durations[:, None] / count)  # (N, P)
    scale = seconds.log() - 2
    before, after = first / count, 1 - last / count
    return torch.stack([scale, scale**2, (length / count).sqrt(), before, after, 10 / seconds.clamp_min(1)], dim=-1)


def proposal_sum(parts: Tensor, mask: Tensor) -> Tensor:
    """Sum, for every proposal, a vector of its first clip, one of its last clip, and the mean over its clips.

    Args:
        parts: (N, T, 3 * D), the vectors of each clip as the first one, as the last one, and as one inside.
        mask: (N, T).

    Returns:
        (N, P, D).
    """
    valid = mask[..., None].to(parts.dtype)
    if parts.device.type != "cpu":
        return _proposal_product((parts * valid).unflatten(-1, (3, -1)))
    at_start, at_end, inside = (parts * valid).chunk(3, dim=-1)
    total = functional.pad(inside.cumsum(1), (0, 0, 1, 0))  # (N, T + 1, D)
    result: Tensor = _ProposalSum.apply(at_start, at_end, total, proposal_layout(mask.shape[1]))  # type: ignore[no-untyped-call]
    return result


def _proposal_product(parts: Tensor) -> Tensor:
    """Compute `proposal_sum` of parts (N, T, 3, D) in single precision as one matrix product, which a GPU prefers.

    Its gradient is one as well, and thus deterministic, which that of gathering is not.
    """
    queries, clips, _, width = parts.shape
    first, last = proposal_edges(clips, parts.device)  # (P,) each
    clip = torch.arange(clips, device=parts.device)
    edges = torch.stack([first, last - 1], dim=1)[..., None] == clip  # (P, 2, T)
    inside = ((clip >= first[:, None]) & (clip < last[:, None])) / (last - first)[:, None]  # (P, T)
    weights = torch.cat([edges.to(inside.dtype), inside[:, None]], dim=1).flatten(1)  # (P, 3 * T)
    with torch.autocast(parts.device.type, enabled=False):
        columns = parts.float().permute(0, 3, 2, 1).reshape(queries * width, -1)  # (N * D, 3 * T)
        return (columns @ weights.T).unflatten(0, (queries, width)).transpose(1, 2)


class _ProposalSum(torch.autograd.Function):
    """`proposal_sum` by slices, forward and backward: gathering the same entries takes several times as long."""

    @staticmethod
    def forward(ctx: Any, at_start: Tensor, at_end: Tensor, total: Tensor, layout: Layout) -> Tensor:
        clips = at_start.shape[1]
        ctx.layout, ctx.shape = layout, at_start.shape
        counts = [(clips - length) // step + 1 for length, step in layout]
        result = at_start.new_empty(len(at_start), sum(counts), at_start.shape[2])
        for group, (length, step) in zip(result.split(counts, dim=1), layout, strict=True):
            inside = total[:, length::step] - total[:, 0 : clips - length + 1 : step]
            torch.add(at_start[:, 0 : clips - length + 1 : step], at_end[:, length - 1 : clips : step], out=group)
            group.add_(inside, alpha=1 / length)
        return result

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


@torch.no_grad()
def select_proposals(logits: Tensor, spans: Tensor, top: int, config: NetworkConfig) -> SelectedProposals:
    """Select the proposals of largest expected utility under the distribution over all, without overlapping ones.

    The utility of an answer is 1/2 IoU + 1/4 [IoU >= 0.5] + 1/4 [IoU >= 0.7]: taking its expectation in place of the
    most likely proposal uses the whole distribution (minimum Bayes risk).

    Args:
        logits: (N, P), very low for proposals past the end of a video.
        spans: (N, P, 2), or (1, P, 2), the proposals as they would be answered, in clip units.
        top: K, answers to a query.
        config: how proposals are selected.
    """
    lengths = spans[..., 1] - spans[..., 0]
    considered = min(config.considered_proposals, logits.shape[1])
    best, index = calibrated_logits(logits, lengths, config).topk(considered, dim=-1)  # (N, C)
    answers = torch.stack(
        [edge.to(best.dtype).expand(len(logits), -1).gather(1, index) for edge in spans.unbind(-1)]
    ).movedim(0, -1)  # (N, C, 2), all starts before all ends in memory: comparing neighbours is twice as fast
    expected, probability = _expectations(answers, best.softmax(-1))
    free = best > torch.finfo(best.dtype).min / 16
    position, is_left = best_apart(expected, answers, free, top, config.nms_iou)
    # The first has the largest utility but not always the largest probability; ranks and scores must not disagree.
    scores = (probability.gather(1, position) * is_left).clamp(0, 1).cummin(dim=1).values
    return SelectedProposals(index.gather(1, position), scores)


def best_apart(values: Tensor, spans: Tensor, free: Tensor, top: int, nms_iou: float) -> tuple[Tensor, Tensor]:
    """Return the candidates of largest value that overlap each other by at most `nms_iou`, the best first.

    Args:
        values: (N, C) of the candidates.
        spans: (N, C, 2).
        free: (N, C) True for candidates that may be chosen.
        top: K.
        nms_iou: largest overlap of two of them.

    Returns:
        Their numbers (N, K), and whether there was a candidate left for each place (N, K).
    """
    position, is_left = [], []
    for _ in range(top):
        best = values.masked_fill(~free, -torch.inf).argmax(-1, keepdim=True)  # (N, 1)
        position.append(best)
        is_left.append(free.gather(1, best))
        chosen = spans.gather(1, best[..., None].expand(-1, -1, 2))  # (N, 1, 2)
        free = free & ~(span_iou(spans, chosen) > nms_iou)
    return torch.cat(position, 1), torch.cat(is_left, 1)


def answers_apart(spans: Tensor, scores: Tensor, top: int, nms_iou: float) -> tuple[Tensor, Tensor]:
    """Return the spans of largest score that overlap each other by at most `nms_iou`, the best first.

    Args:
        spans: (N, C, 2).
        scores: (N, C), more than 0.
        top: K.
        nms_iou: largest overlap of two of them.

    Returns:
        Spans (N, K, 2) and their scores (N, K), 0 where no span is left.
    """
    position, is_left = best_apart(scores, spans, torch.ones_like(scores, dtype=torch.bool), top, nms_iou)
    return spans.gather(1, position[..., None].expand(-1, -1, 2)), scores.gather(1, position) * is_left


def _expectations(answers: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the expected utility of each answer, (N, C), and the probability that it overlaps the moment by half.

    Args:
        answers: (N, C, 2) spans.
        weight: (N, C) probability that the moment is that of the answer.
    """
    expected, probability = torch.empty_like(weight), torch.empty_like(weight)
    size = at_once(_COMPARED_AT_ONCE, answers.device)
    parts = (tensor.split(size) for tensor in (answers, weight, expected, probability))
    for spans, share, utility, half in zip(*parts, strict=True):
        overlap = span_iou(spans[:, :, None], spans[:, None])  # (N', C, C), symmetric: the weights may come first
        reached = torch.empty_like(overlap)
        half.copy_(_weighted_sum(share, torch.ge(overlap, 0.5, out=reached)))
        torch.add(_weighted_sum(share, overlap) / 2, half, alpha=0.25, out=utility)
        utility.add_(_weighted_sum(share, torch.ge(overlap, 0.7, out=reached)), alpha=0.25)
    return expected, probability


def _weighted_sum(weight: Tensor, values: Tensor) -> Tensor:
    """Return (N, C) the sums of values (N, B, C) with weights (N, B)."""
    return (weight[:, None] @ values).squeeze(1)


def calibrated_logits(logits: Tensor, lengths: Tensor, config: NetworkConfig) -> Tensor:
    """Adjust the trained logits of proposals to those that answers are selected by.

    Trained distributions are a little too flat, and favour short proposals, of which there are more. Both constants
    were found by cross-validation on Charades-STA.

    Args:
        logits: (N, P).
        lengths: (N, P) or (P,), in clips.
        config: `inverse_temperature` and `length_prior_power`.
    """
    return logits.float() * config.inverse_temperature + config.length_prior_power * lengths.clamp_min(1).float().log()


def coverage_probability(logits: Tensor, clips: int, config: NetworkConfig) -> Tensor:
    """Return the probability that each clip is inside the moment, (N, T), from the logits (N, P) of the proposals."""
    first, last = proposal_edges(clips, logits.device)
    weight = calibrated_logits(logits, last - first, config).softmax(-1)
    change = weight.new_zeros(len(weight), clips + 1).index_add(1, first, weight).index_add(1, last, -weight)
    return change.cumsum(-1)[:, :clips].clamp(0, 1)


def span_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of spans (..., 2) and (..., 2), broadcast."""
    overlap = torch.minimum(first[..., 1], second[..., 1])
    overlap = overlap.sub_(torch.maximum(first[..., 0], second[..., 0])).clamp_min_(0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0])
    return overlap.div_(union.sub_(overlap).clamp_min_(1e-6))


def clip_occupancy(spans: Tensor, clips: int) -> Tensor:
    """Return the share of each clip that is inside spans (..., 2) in clip units: (..., T), 0..1.

    >>> clip_occupancy(torch.tensor([0.5, 2.0]), 3).tolist()
    [0.5, 1.0, 0.0]
    """
    clip = torch.arange(clips, device=spans.device)
    overlap = torch.minimum(clip + 1, spans[..., 1:]) - torch.maximum(clip, spans[..., :1])
    return overlap.clamp(0, 1)


def shared_occupancy(spans: Tensor, sentence_ids: Tensor, clips: int) -> Tensor:
    """Return the share of each clip that is inside any true moment of the same sentence.

    Args:
        spans: (N, 2) in clip units.
        sentence_ids: (N,) see `best_of_sentence`.
        clips: T.

    Returns:
        (N, T), 0..1.
    """
    return best_of_sentence(clip_occupancy(spans, clips), sentence_ids)


def best_of_sentence(values: Tensor, sentence_ids: Tensor) -> Tensor:
    """Return for each true moment the largest values (N, X), at least 0, of all moments of its sentence: (N, X).

    Args:
        values: (N, X) of each moment.
        sentence_ids: (N,) numbers below N, equal for moments of one sentence.
    """
    rows = sentence_ids[:, None].expand_as(values)
    return torch.zeros_like(values).scatter_reduce(0, rows, values, "amax").gather(0, rows)
